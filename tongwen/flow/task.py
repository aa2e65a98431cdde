"""A task: a step's function over fixed inputs, named by a digest of all that decides its output."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tongwen.files import value_digest
from tongwen.flow.versions import code_of

MARK_BYTES = 1024  # written before every item, so small; a longer name is cut


@dataclass(frozen=True)
class TaskInput:
    """A file a task reads, with the digest of its content."""

    path: Path
    digest: str


@dataclass(frozen=True)
class Step:
    """What `step` declares about a function.

    Attributes:
        name: names outputs, messages and the version of the code. It is not the module's path, so
            moving a file repeats nothing.
        inputs: names of what the function reads, each a number of files.
    """

    name: str
    inputs: tuple[str, ...]


TaskFunction = Callable[["TaskContext"], Mapping[str, int]]
_Function = TypeVar("_Function", bound=TaskFunction)
_STEPS: dict[Any, Step] = {}


def step(name: str, *, inputs: Sequence[str]) -> Callable[[_Function], _Function]:
    """Declare the function of a step; it must be found by name in its module, as worker processes
    look it up there.
    """

    def declare(function: _Function) -> _Function:
        if "<locals>" in function.__qualname__:
            raise TypeError(
                f"the step {name} is defined inside a function, where no worker finds it"
            )
        _STEPS[function] = Step(name, tuple(inputs))
        return function

    return declare


def step_of(function: TaskFunction) -> Step:
    """What is declared about a function.

    Raises:
        TypeError: nothing is.
    """
    if function not in _STEPS:
        raise TypeError(f"{function} is not declared as a step: write @step(...) above it")
    return _STEPS[function]


def declared_steps() -> list[tuple[str, str]]:
    """Name and module of the steps in all modules that have been imported."""
    return [(declared.name, function.__module__) for function, declared in _STEPS.items()]


@dataclass(frozen=True)
class Task:
    """One unit of work. Its output depends on nothing but these fields and the step's code.

    Attributes:
        function: declared by `step`; takes a `TaskContext` and returns counts.
        index: number of the task in its step, counted from 0.
        inputs: name -> the file or files that the function reads under it; all the names that the
            step declares.
        params: JSON values; randomness is keyed by a seed in here, never by time or process.
        turn: how often the step has run before, where it runs several times over different rows;
            each time its outputs have a folder of their own. No part of the digest.
        files: the inputs, each a tuple.

    Raises:
        TypeError: the function is not a step, or reads inputs of other names.
    """

    function: TaskFunction
    index: int
    inputs: Mapping[str, TaskInput | Sequence[TaskInput]]
    params: Mapping[str, Any] = field(default_factory=dict)
    turn: int = 0
    files: Mapping[str, tuple[TaskInput, ...]] = field(init=False)

    def __post_init__(self) -> None:
        declared = step_of(self.function)
        if set(self.inputs) != set(declared.inputs):
            raise TypeError(
                f"the step {declared.name} reads {', '.join(declared.inputs)}; "
                f"it was given {', '.join(self.inputs) or 'nothing'}"
            )
        files = {
            name: (given,) if isinstance(given, TaskInput) else tuple(given)
            for name, given in self.inputs.items()
        }
        object.__setattr__(self, "files", files)

    @property
    def step(self) -> str:
        """Name of the step."""
        return step_of(self.function).name

    @property
    def folder(self) -> str:
        """Folder of the step's outputs."""
        return f"{self.step}-{self.turn}" if self.turn else self.step

    @property
    def code(self) -> dict[str, str]:
        """Name of the step -> version of its code."""
        return {self.step: code_of(self.step, self.function.__module__)}

    @property
    def digest(self) -> str:
        """Names the output: equal digests promise equal bytes. Paths are not part of it."""
        return value_digest(
            {
                "code": self.code,
                "index": self.index,
                "inputs": {
                    name: [item.digest for item in files] for name, files in self.files.items()
                },
                "params": dict(self.params),
            }
        )

    @property
    def name(self) -> str:
        """Also the place of its outputs."""
        return f"{self.folder}/{self.index:05d}"


class _Paths(dict[str, tuple[Path, ...]]):
    """The paths of a task's inputs by name."""

    def __missing__(self, name: str) -> tuple[Path, ...]:
        raise KeyError(f"no input is called {name}; there are {', '.join(self)}")


class TaskContext:
    """What a task function works with, inside its worker process.

    Attributes:
        inputs: name -> paths of the input files.
        out: an empty folder; whatever is written here becomes the task's output.
        params: the task's parameters.
        skip: items that killed a worker twice; the function leaves them out.
    """

    def __init__(
        self, task: Task, out: Path, skip: frozenset[str], mark_descriptor: int | None
    ) -> None:
        self.inputs = _Paths(
            (name, tuple(item.path for item in files)) for name, files in task.files.items()
        )
        self.out = out
        self.params = task.params
        self.skip = skip
        self._mark_descriptor = mark_descriptor

    def file(self, name: str) -> Path:
        """The path of an input that is one file."""
        (path,) = self.inputs[name]
        return path

    def mark(self, item: str) -> None:
        """Name the current item, so that the item, not the whole input, is quarantined if it kills
        the worker or takes longer than the runner's limit. Costs about 1 µs.
        """
        if self._mark_descriptor is not None:
            data = item.encode("utf-8", "surrogateescape")[:MARK_BYTES].ljust(MARK_BYTES, b"\0")
            os.pwrite(self._mark_descriptor, data, 0)
