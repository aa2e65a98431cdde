"""A task: one function over fixed inputs, named by a digest of all that decides its output."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tongwen.files import value_digest

MARK_BYTES = 1024


@dataclass(frozen=True)
class TaskInput:
    """A file a task reads, with the digest of its content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Task:
    """One unit of work. Its output depends on nothing but these fields.

    Attributes:
        step: name of the step inside the stage; also the folder of its outputs.
        index: number of the task in its step, counted from 0.
        function: `module:name` of a function that takes a `TaskContext` and gives counts.
        inputs: files to read, in order.
        params: JSON values; randomness is keyed by a seed in here, never by time or process.
        version: raise it when the function's output changes for the same inputs.
    """

    step: str
    index: int
    function: str
    inputs: tuple[TaskInput, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    @property
    def digest(self) -> str:
        """Names the output: equal digests promise equal bytes. Paths are not part of it."""
        return value_digest(
            {
                "function": self.function,
                "version": self.version,
                "index": self.index,
                "inputs": [item.digest for item in self.inputs],
                "params": dict(self.params),
            }
        )

    @property
    def name(self) -> str:
        return f"{self.step}/{self.index:05d}"


class TaskContext:
    """What a task function works with, inside its worker process.

    Attributes:
        inputs: the input files.
        out: an empty folder; whatever is written here becomes the task's output.
        params: the task's parameters.
        skip: marks that killed a worker twice; the function leaves these items out.
    """

    def __init__(
        self, task: Task, out: Path, skip: frozenset[str], mark_descriptor: int | None
    ) -> None:
        self.inputs = [item.path for item in task.inputs]
        self.out = out
        self.params = task.params
        self.skip = skip
        self._mark_descriptor = mark_descriptor

    def mark(self, item: str) -> None:
        """Say which item is in hand, so that the item, not the whole input, is quarantined
        if it kills the worker or takes longer than the runner's limit. Costs about 1 µs.
        """
        if self._mark_descriptor is not None:
            data = item.encode("utf-8", "surrogateescape")[:MARK_BYTES].ljust(MARK_BYTES, b"\0")
            os.pwrite(self._mark_descriptor, data, 0)


TaskFunction = Callable[[TaskContext], Mapping[str, int]]


def resolve_function(name: str) -> Any:
    """The object that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
