"""Checkpoints: a run's whole state, complete or absent.

Below `checkpoints/`, one folder a run, named by its identity:

    <identity>/identity.json            what decides the run (`identity.py`)
    <identity>/step-<n>/*.distcp        weights and optimizer (torch.distributed.checkpoint)
    <identity>/step-<n>/_COMPLETE       position, and size and digest of every file; written last
    <identity>/_FINISHED                the run has come to its end: which code ended it, its counts
                                        and the digests of its model's files
    <identity>/retention.json           which checkpoints are kept (`retention.py`)
    <identity>/metrics.jsonl            of a run that is not the current one (`curves.py`)
    _CURRENT                            which run the metrics and the model beside are of

Each process writes and reads its own part of every tensor, so that a checkpoint can be read by
any number of processes.
"""

import errno
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

from tongwen.errors import InputError
from tongwen.files import (
    disk_errors,
    file_digest,
    read_json,
    remove_tree,
    sync_directory,
    value_digest,
    write_json,
)
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.train.curves import keep_curve
from tongwen.train.identity import changes
from tongwen.train.optim.build import Optimizer
from tongwen.train.parallel.mesh import Processes
from tongwen.train.retention import FINISHED, Retention, by_step, size_of, step_folder, step_of

COMPLETE = "_COMPLETE"
IDENTITY = "identity.json"
_METADATA = ".metadata"
_LEAST_FREE_BYTES = 16 << 20


@dataclass
class Position:
    """How far a run has come; everything else in it is a function of this and its inputs.

    Attributes:
        step: optimizer steps done, skipped ones included.
        samples: sequences consumed.
        targets: tokens that were in the loss.
        skipped_steps: steps left out because the loss or gradient was not finite, or a spike.
        skipped_in_a_row: of these, the ones since the last good step.
        seconds: time spent training, over all resumptions.
        wall_seconds: from the first start, time between resumptions left out.
        ledger: seconds by part (`ledger.PARTS`).
        rollbacks: how often the run went back to a checkpoint.
        recent_losses: of the last accepted steps, for the guard.
        recent_norms: their gradients'.
        best_loss: smallest held-out loss, where the best weights are kept; else None.
        best_step: after which step it was measured.
        without_gain: measurements since then.
    """

    step: int = 0
    samples: int = 0
    targets: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0
    ledger: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0
    recent_losses: list[float] = field(default_factory=list)
    recent_norms: list[float] = field(default_factory=list)
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        known = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        return cls(**{"step": values["step"], "samples": values["samples"], **known})


class Checkpoints:
    """The checkpoints of one run. All methods are called by all processes, at the same step.

    Args:
        folder: of all runs' checkpoints.
        identity: of this run.
        processes: that train it.
        retention: which to keep.
        in_background: keep training while a checkpoint is written; it is staged in main memory.
        progress: what the user sees.

    Attributes:
        identity: of this run.
        folder: of this run's checkpoints.
        damaged: checkpoints that `load` passed over, and what is wrong with them.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        processes: Processes,
        *,
        retention: Retention,
        in_background: bool,
        progress: Progress,
    ) -> None:
        self._all = folder
        self.identity = identity
        self.folder = folder / value_digest(identity)[:12]
        self._processes = processes
        self._retention = retention
        self._in_background = in_background
        self._progress = progress
        self.damaged: dict[str, str] = {}
        self._writing: _Writing | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def open(self, *, restart: bool, code: str) -> None:
        """Claim the folder; those of other runs stay next to it and are never removed.

        A run that is not finished goes on, also under new code. One that other code has finished
        makes room for a new one.

        Args:
            restart: begin anew although the folder holds another, unfinished run.
            code: names the code that trains.

        Raises:
            InputError: it holds an unfinished run with other settings or data, and `restart` does
                not say to begin anew beside it.
        """
        problem = None
        if self._processes.is_first:
            self._set_aside(code)
            others = [
                path
                for path in sorted(self._all.glob("*/"))
                if path != self.folder and any(path.glob("step-*"))
            ]
            unfinished = [path for path in others if not (path / FINISHED).exists()]
            if unfinished and not restart and not self.folder.exists():
                problem = _refusal(unfinished[-1], self.identity)
            elif others:
                self._progress.say(_about(others, self._all))
            if problem is None:
                for leftover in self.folder.glob(".*.partial"):
                    remove_tree(leftover)
                write_json(self.folder / IDENTITY, self.identity)
                self._retention.write(self.folder)
        message = self._processes.broadcast(problem)
        if message:
            raise InputError(
                message,
                hint="give the old values back, choose another folder with --out, or "
                'begin anew beside it with changed_run = "restart" in the stage\'s section; only '
                "a constant rate (wsd before its decay) goes on with another length",
            )

    def _set_aside(self, code: str) -> None:
        """Rename this run's folder if other code has finished it, or it would count as done."""
        end = self._read_end()
        if end is None or (before := end["code"]) == code:
            return
        aside = self.folder.with_name(f"{self.folder.name}-{before[:8] or 'before'}")
        remove_tree(aside)
        self.folder.rename(aside)
        keep_curve(self._all.parent, aside)
        sync_directory(self._all)
        self._progress.say(f"  the code has changed since this run was finished: kept in {aside}")

    def save(self, position: Position, model: nn.Module, optimizer: Optimizer) -> None:
        """Begin to write a checkpoint; it counts when `finish` has been called.

        Raises:
            DiskFullError: as `finish`, for one that was still being written.
        """
        self.finish()
        path = step_folder(self.folder, position.step)
        name = self._processes.broadcast(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
        partial = self.folder / name
        state = _state(model, optimizer)
        # A folder of its own for each checkpoint, so nothing is overwritten.
        writer = _Writer(partial)
        options: dict[str, Any] = {
            "storage_writer": writer,
            "process_group": self._processes.background,
        }
        done: Future[Any]
        if self._in_background:
            done = async_save(state, **options)  # type: ignore[assignment]
        else:
            done = Future()
            try:
                done.set_result(save(state, **options))
            except BaseException as error:  # torch's CheckpointException is a BaseException
                done.set_exception(error)
        described = self._thread.submit(_describe, done, partial, self._processes.rank)
        self._writing = _Writing(path, partial, asdict(position), writer, described)

    @property
    def is_written(self) -> bool:
        """Whether this process's part of a begun checkpoint is on disk."""
        return self._writing is not None and self._writing.files.done()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, make it valid, and remove old ones.

        Raises:
            DiskFullError: no space is left; the checkpoints before it stay valid.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        error: BaseException | None = None
        files: dict[str, list[Any]] = {}
        try:
            files = writing.files.result()
        except BaseException as found:  # as above
            error = _cause(writing.writer.error or found, self._all)
        failed = any(self._processes.gather(error is not None))
        parts = self._processes.gather(files)
        if failed:
            if self._processes.is_first:
                remove_tree(writing.partial)
            with disk_errors(writing.path):
                raise error or OSError(errno.EIO, "another process could not write its part")
        if self._processes.is_first:
            marker = {
                "position": writing.position,
                "processes": self._processes.count,
                "files": {name: item for part in parts for name, item in part.items()},
            }
            with disk_errors(writing.path):
                remove_tree(writing.path)
                writing.partial.rename(writing.path)
                sync_directory(self.folder)
                write_json(writing.path / COMPLETE, marker)
            self._remove_superfluous(best_step=writing.position["best_step"])

    def _remove_superfluous(self, *, is_finished: bool = False, best_step: int = 0) -> list[Path]:
        """Remove what is not kept; gives what stays.

        Args:
            is_finished: whether the run is at its end.
            best_step: of a checkpoint that a run with patience may come back to.
        """
        paths = {step_of(path): path for path in by_step(self.folder)}
        for step in self._retention.superfluous(paths, is_finished=is_finished):
            if step != best_step:
                remove_tree(paths.pop(step))
        return list(paths.values())

    def load(self, model: nn.Module, optimizer: Optimizer) -> Position | None:
        """Bring model and optimizer to the newest valid checkpoint; None when there is none.

        Damaged ones are passed over with a message.
        """
        self.finish()
        newest_first = [path.name for path in reversed(by_step(self.folder))]
        for name in self._processes.broadcast(newest_first):
            position = self.load_from(self.folder / name, model, optimizer)
            if position is not None:
                return position
        return None

    def load_weights(self, step: int, model: nn.Module) -> str:
        """Bring the model's trained weights to the checkpoint of a step; says what is wrong with
        it, nothing if it is whole.
        """
        self.finish()
        path = step_folder(self.folder, step)
        position, problem = self._check(path)
        if position is not None:
            load(
                {"model": _weights(model)},
                storage_reader=FileSystemReader(path),
                process_group=self._processes.background,
            )
        return problem

    def load_from(self, path: Path, model: nn.Module, optimizer: Optimizer) -> Position | None:
        """Bring model and optimizer to a checkpoint, which may be another run's; None when it is
        damaged.
        """
        position, problem = self._check(path)
        if position is None:
            self._progress.say(f"  {path.name} is damaged and passed over: {problem}")
            self.damaged[path.name] = problem
            return None
        load(
            _state(model, optimizer),
            storage_reader=FileSystemReader(path),
            process_group=self._processes.background,
        )
        return position

    def weights_at(
        self, step: int, config: ModelConfig
    ) -> Callable[[Sequence[str]], dict[str, Tensor]]:
        """What reads whole tensors by name from the checkpoint of a step, in this process alone."""
        return read_weights(step_folder(self.folder, step), config)

    def averaged_steps(self) -> list[int]:
        """Of the checkpoints there are those whose weights make up the model; none without."""
        steps = [step_of(path) for path in by_step(self.folder)]
        averaged: list[int] = self._processes.broadcast(self._retention.averaged_steps(steps))
        return averaged

    def mark_finished(self, code: str, model: Path, counts: dict[str, float]) -> None:
        """Say that the run has come to its end: what follows may have other settings.

        From then on only what is kept for good stays of its checkpoints.

        Args:
            code: names the code that trained.
            model: folder with the trained model.
            counts: that the stage's manifest records.
        """
        if not self._processes.is_first:
            return
        end = {
            "code": code,
            "averaged": self._retention.averaged,
            "counts": counts,
            "files": {path.name: file_digest(path) for path in _files(model)},
        }
        write_json(self.folder / FINISHED, end)
        before = size_of(by_step(self.folder))
        kept = self._remove_superfluous(is_finished=True)
        self._progress.say(
            f"  checkpoints of the finished run removed: {(before - size_of(kept)) / 2**20:,.0f} "
            f"MiB; kept for good: {', '.join(path.name for path in kept) or 'none'}"
        )

    def finished_counts(self, code: str, model: Path) -> dict[str, float] | None:
        """What the manifest records of a run that this code has finished, if its model is still
        what it wrote; its checkpoints need not be there.
        """
        end = self._read_end() if self._processes.is_first else None
        counts: dict[str, float] | None = None
        if end is not None and end["code"] == code and end["counts"] is not None:
            found = {path.name: file_digest(path) for path in _files(model)}
            is_same = found == end["files"] and end["averaged"] == self._retention.averaged
            counts = end["counts"] if is_same else None
        agreed: dict[str, float] | None = self._processes.broadcast(counts)
        return agreed

    def _read_end(self) -> dict[str, Any] | None:
        """What `mark_finished` wrote; older releases wrote the code alone."""
        path = self.folder / FINISHED
        if not path.exists():
            return None
        text = path.read_text("utf-8").strip()
        try:
            end = json.loads(text)
        except ValueError:
            end = None
        return end if isinstance(end, dict) else {"code": text, "counts": None}

    def _check(self, path: Path) -> tuple[Position | None, str]:
        """The position of a whole checkpoint; each process reads its part of the files."""
        position, problem = None, ""
        try:
            marker = read_json(path / COMPLETE)
            position = Position.from_json(marker["position"])
            names = sorted(marker["files"])
            for name in names[self._processes.rank :: self._processes.count]:
                if [(path / name).stat().st_size, file_digest(path / name)] != marker["files"][
                    name
                ]:
                    raise ValueError(f"{name} has changed since it was written")
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = str(error) or type(error).__name__
        problems = [text for text in self._processes.gather(problem) if text]
        return (None, problems[0]) if problems else (position, "")


def read_weights(path: Path, config: ModelConfig) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    """What reads whole tensors by name from a checkpoint, in this process alone."""
    reader = FileSystemReader(path)
    with torch.device("meta"):
        shapes = {name: item.shape for name, item in Llama(config).named_parameters()}

    def read(names: Sequence[str]) -> dict[str, Tensor]:
        tensors = {name: torch.empty(shapes[name]) for name in names}
        with warnings.catch_warnings():  # that it reads in this process alone is meant so
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load({"model": tensors}, storage_reader=reader, no_dist=True)
        return tensors

    return read


class _Writer(FileSystemWriter):
    """Remembers why a write failed: on its way through the group torch loses what was behind it."""

    error: BaseException | None = None

    def write_data(self, *arguments: Any) -> Any:
        try:
            return super().write_data(*arguments)
        except BaseException as error:
            self.error = error
            raise


@dataclass(frozen=True)
class _Writing:
    """A checkpoint on its way to disk. `files` gives name -> [size, digest] of this process's."""

    path: Path
    partial: Path
    position: dict[str, Any]
    writer: _Writer
    files: Future[dict[str, list[Any]]]


def _state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    return {"model": _weights(model), "optimizer": optimizer.state()}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """What is trained of the model: frozen weights are where they came from."""
    return {
        name: parameter.detach()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def _describe(done: Future[Any], partial: Path, rank: int) -> dict[str, list[Any]]:
    """Wait until all is written; name, size and digest of the files that this process wrote."""
    done.result()
    mine = [*partial.glob(f"__{rank}_*.distcp"), *([partial / _METADATA] if rank == 0 else [])]
    return {path.name: [path.stat().st_size, file_digest(path)] for path in sorted(mine)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file())


def _cause(error: BaseException, folder: Path) -> BaseException:
    """The failed write behind torch's errors, which do not always carry it."""
    seen: list[BaseException] = [error]
    for item in seen:
        if isinstance(item, OSError):
            return item
        behind = (item.__cause__, item.__context__)
        seen += [other for other in behind if other is not None and other not in seen]
    if shutil.disk_usage(folder).free < _LEAST_FREE_BYTES:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error


def _refusal(other: Path, identity: dict[str, Any]) -> str:
    """Why the run in `other` is not continued."""
    last = by_step(other)[-1].name
    try:
        changed = changes(read_json(other / IDENTITY), identity)
    except (OSError, ValueError):
        changed = f"its {IDENTITY} cannot be read"
    return f"{other} holds an unfinished run ({last}) that is not this one: {changed}"


def _about(others: list[Path], folder: Path) -> str:
    steps = [path for other in others for path in by_step(other)]
    size = size_of(steps)
    return (
        f"  {len(steps)} checkpoints of other models, settings or data stay in {folder} "
        f"({size / 2**20:,.0f} MiB); `tongwen prune {folder.parent} --others` removes them"
    )
