"""The local runner: worker processes that may die without taking the work with them.

A worker that is killed is replaced and its task tried again. When the same item (see
`TaskContext.mark`) kills two workers, or holds one longer than the limit twice, it is
quarantined: the task runs without it and its manifest says so.
"""

import contextlib
import ctypes
import ctypes.util
import multiprocessing
import os
import signal
import sys
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from tongwen.errors import TongwenError, WorkerDiedError
from tongwen.files import disk_errors, remove_tree, sync_directory, tree_files
from tongwen.flow.manifest import Manifest, OutputFile, describe_outputs
from tongwen.flow.task import MARK_BYTES, Task, TaskContext, TaskInput, resolve_function
from tongwen.progress import Progress

TASK_MANIFEST = "task.json"
_MARKS = ".marks"
_DEATHS_BEFORE_QUARANTINE = 2
_DEATHS_BEFORE_FAILURE = 3


@dataclass(frozen=True)
class TaskResult:
    """A finished task: its folder and its manifest."""

    task: Task
    directory: Path
    manifest: Manifest

    def file(self, name: str) -> TaskInput:
        """An output file as the input of a later task."""
        for item in self.manifest.outputs:
            if item.path == name:
                return TaskInput(self.directory / name, item.digest)
        raise KeyError(f"{self.task.name} has no output {name}")


def exchange(results: Sequence[TaskResult], partitions: int) -> list[tuple[TaskInput, ...]]:
    """For each partition the files `part-00000`, ... of every map task, in task order.

    The order is that of the tasks, not of their end, so a reduce reads the same bytes
    whatever the number of workers.
    """
    return [
        tuple(result.file(f"part-{partition:05d}") for result in results)
        for partition in range(partitions)
    ]


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that no orphan goes on writing."""
    if sys.platform == "linux":
        library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        library.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)


def _run_task(task: Task, directory: Path, skip: frozenset[str], mark_path: Path) -> Manifest:
    """Run one task in this process; its folder takes its final name when all is written."""
    started = time.monotonic()
    partial = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    mark_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(mark_path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    try:
        with disk_errors(directory):
            context = TaskContext(task, partial, skip, descriptor)
            counts = resolve_function(task.function)(context)
            for path in tree_files(partial):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            manifest = Manifest(
                digest=task.digest,
                inputs={str(n): item.digest for n, item in enumerate(task.inputs)},
                outputs=describe_outputs(partial),
                counts=dict(counts),
                quarantined=tuple(
                    {"item": item, "reason": "killed its worker twice"} for item in sorted(skip)
                ),
                seconds=time.monotonic() - started,
                peak_memory_bytes=psutil.Process().memory_info().rss,
            )
            manifest.write(partial / TASK_MANIFEST)
            remove_tree(directory)
            partial.rename(directory)
            sync_directory(directory.parent)
        return manifest
    finally:
        os.close(descriptor)
        remove_tree(partial)


def _work(connection: Connection) -> None:
    """A worker's life: receive a task, run it, send back its manifest or its error."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (order := connection.recv()) is not None:
            try:
                connection.send(_run_task(*order))
            except TongwenError as error:
                connection.send(error)
            except Exception:
                connection.send(traceback.format_exc())


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Task | None = None
    mark_path: Path = Path()
    mark: str = ""
    mark_since: float = 0.0

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@dataclass
class LocalRunner:
    """Runs tasks in worker processes on this machine.

    Workers start with the first task and stay for the next call of `run`, because importing
    what a task needs takes longer than many tasks; `close` ends them.

    Attributes:
        workers: number of worker processes.
        item_seconds: an item that is in hand longer kills its worker (and is tried once more).
        memory_bytes: a worker whose resident set grows beyond is killed likewise.
        quarantined: items that finished tasks had to leave out, so far.
        peak_memory_bytes: largest resident set of a worker at the end of a task, so far.
    """

    workers: int = 1
    item_seconds: float = 60.0
    memory_bytes: int = 4 << 30
    progress: Progress = field(default_factory=Progress)
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    _idle: list[_Worker] = field(default_factory=list)

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        """Finish all `tasks`; each leaves its output in `out/STEP/INDEX/`.

        Tasks whose output is already there (same digest, files intact) are not run again.

        Raises:
            WorkerDiedError: a task killed its worker three times and no item can be blamed.
            TongwenError: what a task function raised.
        """
        results: dict[str, TaskResult] = {}
        todo: deque[Task] = deque()
        for task in tasks:
            directory = out / task.step / f"{task.index:05d}"
            manifest = Manifest.read(directory / TASK_MANIFEST)
            if manifest and manifest.digest == task.digest and manifest.is_intact(directory):
                results[task.name] = TaskResult(task, directory, manifest)
            else:
                todo.append(task)
        _remove_leftovers(tasks, out)
        if tasks and results:
            self.progress.say(
                f"  {tasks[0].step}: {len(results)} of {len(tasks)} tasks are done already"
            )
        if todo:
            _Round(self, out, results, todo, len(tasks)).finish()
        finished = [results[task.name] for task in tasks]
        for result in finished:
            self.quarantined.extend(result.manifest.quarantined)
            self.peak_memory_bytes = max(self.peak_memory_bytes, result.manifest.peak_memory_bytes)
        return finished

    def close(self) -> None:
        """End the workers; a later `run` starts new ones."""
        for worker in self._idle:
            with contextlib.suppress(OSError):
                worker.connection.send(None)
        for worker in self._idle:
            worker.process.join(timeout=5)
            worker.kill()
        self._idle.clear()

    def take_worker(self) -> _Worker:
        """A worker without a task: one that waits, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.is_alive():
                return worker
            worker.kill()
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def keep_worker(self, worker: _Worker) -> None:
        """Take a worker back that has no task."""
        self._idle.append(worker)


def _remove_leftovers(tasks: Sequence[Task], out: Path) -> None:
    """Remove half-written folders of a killed run, and outputs of tasks that no longer exist."""
    expected = {f"{task.index:05d}" for task in tasks}
    for step in {task.step for task in tasks}:
        for path in (out / step).glob("*"):
            if path.name not in expected:
                remove_tree(path)


class _Round:
    """One call of `LocalRunner.run`: its busy workers, its queue and what has died so far."""

    def __init__(
        self,
        runner: LocalRunner,
        out: Path,
        results: dict[str, TaskResult],
        todo: deque[Task],
        total: int,
    ) -> None:
        self.runner = runner
        self.out = out
        self.results = results
        self.todo = todo
        self.total = total
        self.deaths: Counter[tuple[str, str]] = Counter()
        self.skip: dict[str, set[str]] = {}
        self.busy: list[_Worker] = []

    def finish(self) -> None:
        """Run until every task has its result; on an error kill what is still at work."""
        self.runner.progress.start()
        try:
            for _ in range(min(self.runner.workers, len(self.todo))):
                self._give_task(self.runner.take_worker())
            while self.busy:
                self._wait()
        finally:
            for worker in self.busy:
                worker.kill()
            remove_tree(self.out / _MARKS)
            self.runner.progress.end()

    def _give_task(self, worker: _Worker) -> None:
        worker.task = self.todo.popleft() if self.todo else None
        worker.mark, worker.mark_since = "", time.monotonic()
        worker.mark_path = self.out / _MARKS / uuid.uuid4().hex
        if worker.task is None:
            self.runner.keep_worker(worker)
            return
        self.busy.append(worker)
        directory = self.out / worker.task.step / f"{worker.task.index:05d}"
        skip = frozenset(self.skip.get(worker.task.name, ()))
        with contextlib.suppress(OSError):  # it died before it got anything: seen in _wait
            worker.connection.send((worker.task, directory, skip, worker.mark_path))

    def _wait(self) -> None:
        by_connection = {worker.connection: worker for worker in self.busy}
        for connection in wait(list(by_connection), timeout=0.5):
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                answer = connection.recv()
            except (EOFError, OSError):
                self._bury(worker, "was killed")
                continue
            self._accept(worker, answer)
        self._watch()

    def _accept(self, worker: _Worker, answer: object) -> None:
        task = worker.task
        assert task is not None
        if isinstance(answer, TongwenError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"task {task.name} failed:\n{answer}")
        assert isinstance(answer, Manifest)
        directory = self.out / task.step / f"{task.index:05d}"
        self.results[task.name] = TaskResult(task, directory, answer)
        self.runner.progress.update(task.step, len(self.results), self.total)
        self.busy.remove(worker)
        self._give_task(worker)

    def _watch(self) -> None:
        """Kill workers that hold one item too long or have grown too large."""
        now = time.monotonic()
        for worker in list(self.busy):
            mark = _read_mark(worker.mark_path)
            if mark != worker.mark:
                worker.mark, worker.mark_since = mark, now
            if worker.mark and now - worker.mark_since > self.runner.item_seconds:
                self._bury(worker, f"took longer than {self.runner.item_seconds:g} s")
            elif _resident_bytes(worker.process.pid) > self.runner.memory_bytes:
                self._bury(worker, f"used more than {self.runner.memory_bytes / 2**30:.1f} GiB")

    def _bury(self, worker: _Worker, reason: str) -> None:
        """End a worker, decide about its task, and go on with another worker."""
        task = worker.task
        assert task is not None
        worker.kill()
        self.busy.remove(worker)
        mark = _read_mark(worker.mark_path)
        item = f" at {mark}" if mark else ""
        self.deaths[task.name, mark] += 1
        deaths = self.deaths[task.name, mark]
        if mark and deaths >= _DEATHS_BEFORE_QUARANTINE:
            self.skip.setdefault(task.name, set()).add(mark)
            self.runner.progress.say(f"  quarantined {mark}: a worker {reason} twice")
        elif not mark and deaths >= _DEATHS_BEFORE_FAILURE:
            inputs = ", ".join(str(entry.path) for entry in task.inputs[:3])
            raise WorkerDiedError(
                f"task {task.name} lost its worker {deaths} times (inputs: {inputs})",
                hint="is there enough memory? give fewer workers with --set run.workers=1",
            )
        else:
            self.runner.progress.say(f"  a worker {reason}{item}; trying {task.name} again")
        self.todo.appendleft(task)
        self._give_task(self.runner.take_worker())


def _read_mark(path: Path) -> str:
    try:
        data = path.read_bytes()[:MARK_BYTES]
    except OSError:
        return ""
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _resident_bytes(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def outputs_of(results: Sequence[TaskResult]) -> list[OutputFile]:
    """All output files of finished tasks, in task order."""
    return [item for result in results for item in result.manifest.outputs]
