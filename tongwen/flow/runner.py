"""What all runners share: which tasks are still to do, and what happens when one fails.

A task whose worker died is retried. When the same item kills two workers, or exceeds the time
limit twice, it is quarantined: the task runs without it and its manifest says so.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.errors import TongwenError, WorkerDiedError
from tongwen.files import remove_tree
from tongwen.flow.exchange import PARTS
from tongwen.flow.manifest import Manifest
from tongwen.flow.step_names import step_name
from tongwen.flow.store import Store
from tongwen.flow.task import Task, TaskFunction, TaskInput
from tongwen.flow.versions import code_changes
from tongwen.flow.worker import TASK_MANIFEST, Answer, Order, WorkerFailure
from tongwen.progress import Progress

_FAILURES_BEFORE_QUARANTINE = 2  # once may be the machine's memory; twice is the item
_FAILURES_BEFORE_ERROR = 3  # without an item to leave out there is only trying again
_LOSSES_BEFORE_ERROR = 10  # machines come and go: it is not the task's fault, but ten times is


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


RunTasks = Callable[[Sequence[Task]], list[TaskResult]]
"""Finishes the tasks of one step; how the planners of steps are handed a runner."""


def outputs(results: Sequence[TaskResult], name: str) -> tuple[TaskInput, ...]:
    """The output file `name` of each task, in task order."""
    return tuple(result.file(name) for result in results)


def reduce_tasks(
    function: TaskFunction,
    mapped: Sequence[TaskResult],
    partitions: int,
    params: Mapping[str, Any] | None = None,
    *,
    name: str = PARTS,
    turn: int = 0,
    **inputs: TaskInput | Sequence[TaskInput],
) -> list[Task]:
    """A task for each partition: it reads its part of the exchange file of every map task.

    The order is that of the map tasks, not of their end, so a reduce reads the same bytes whatever
    the number of workers.

    Args:
        function: its step reads the exchange files as `parts`, and `inputs`; its parameter
            `partition` says which part of them is its own.
        mapped: the map tasks.
        partitions: how many parts each file has.
        params: more parameters.
        name: of the exchange file.
        turn: as in `Task`.
        inputs: more inputs, the same for all partitions.
    """
    parts = outputs(mapped, name)
    return [
        Task(
            function,
            index,
            {"parts": parts, **inputs},
            {**(params or {}), "partition": index},
            turn=turn,
        )
        for index in range(partitions)
    ]


@dataclass
class Runner:
    """Finishes tasks; subclasses decide where.

    Attributes:
        item_seconds: a worker that takes longer for one item is killed, and the item retried once.
        memory_bytes: a worker whose resident set grows larger is killed likewise.
        store: where the outputs of tasks go instead of their own folders.
        quarantined: items that finished tasks had to leave out, so far.
        peak_memory_bytes: largest resident set of a worker during a task, so far.
    """

    item_seconds: float = 60.0
    memory_bytes: int = 4 << 30
    progress: Progress = field(default_factory=Progress)
    store: Store | None = None
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    peak_memory_bytes: int = 0

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        """Finish all `tasks`; each leaves its output in `out/STEP/INDEX/`.

        Tasks whose output is already there (same digest, files intact) are not run again.

        Raises:
            WorkerDiedError: a task killed its worker three times without naming an item.
            TongwenError: what a task function raised.
        """
        todo: list[Task] = []
        results: dict[str, TaskResult] = {}
        changes: dict[str, None] = {}
        if self.store is not None:
            self.store.register()
            out = out.absolute()
        for task in tasks:
            directory = _directory(task, out, self.store)
            manifest = Manifest.read(directory / TASK_MANIFEST)
            if manifest and manifest.digest == task.digest and self._is_intact(manifest, directory):
                results[task.name] = TaskResult(task, directory, manifest)
            else:
                todo.append(task)
                if manifest and manifest.code != task.code:
                    changes.update(dict.fromkeys(code_changes(manifest.code, task.code)))
        _remove_leftovers(tasks, out, self.store)
        for change in changes:
            self.progress.say(f"  {todo[0].step}: runs again, {change}")
        if tasks and results:
            self.progress.say(
                f"  {tasks[0].step}: {len(results)} of {len(tasks)} tasks are done already"
            )
        if todo:
            self.progress.start()
            try:
                self._finish(Round(todo, results, out, self.progress, self.store))
            finally:
                self.progress.end()
        finished = [results[task.name] for task in tasks]
        for result in finished:
            self.quarantined.extend(result.manifest.quarantined)
            self.peak_memory_bytes = max(self.peak_memory_bytes, result.manifest.peak_memory_bytes)
        return finished

    def _is_intact(self, manifest: Manifest, directory: Path) -> bool:
        if self.store is not None:
            return self.store.is_intact(manifest, directory)
        return manifest.is_intact(directory)

    def close(self) -> None:
        """End the workers; a later `run` starts new ones."""

    def _finish(self, work: "Round") -> None:
        """Run the orders of `work` until none is left; on an error kill what is running."""
        raise NotImplementedError


def _directory(task: Task, out: Path, store: Store | None) -> Path:
    return out / task.name if store is None else store.path(out / task.name)


def _remove_leftovers(tasks: Sequence[Task], out: Path, store: Store | None) -> None:
    """Remove half-written folders of a killed run, and outputs of tasks that no longer exist."""
    expected = {f"{task.index:05d}" for task in tasks}
    for folder in {task.folder for task in tasks}:
        for path in (out / folder).glob("*"):
            if path.name not in expected:
                remove_tree(path)
        if store is not None:
            store.remove_others(out / folder, expected)


class Round:
    """One call of `run`: the tasks still to do, the failures so far, and the results.

    Attributes:
        todo: tasks that are not running.
        out: folder of the outputs.
    """

    def __init__(
        self,
        todo: Sequence[Task],
        results: dict[str, TaskResult],
        out: Path,
        progress: Progress,
        store: Store | None = None,
    ) -> None:
        self.todo = deque(todo)
        self.out = out
        self._store = store
        self._results = results
        self._total = len(todo) + len(results)
        self._progress = progress
        self._failures: Counter[tuple[str, str]] = Counter()
        self._losses: Counter[str] = Counter()
        self._skip: dict[str, dict[str, str]] = {}

    def next_order(self) -> Order | None:
        """The next task to run, None when none is left."""
        if not self.todo:
            return None
        task = self.todo.popleft()
        skip = sorted(self._skip.get(task.name, {}).items())
        return Order(task, _directory(task, self.out, self._store), tuple(skip), self._store)

    def settle(self, order: Order, answer: Answer) -> None:
        """Record the outcome of an order: a result, an error to raise, or a task to retry."""
        task = order.task
        if isinstance(answer, TongwenError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"task {task.name} failed:\n{answer}")
        if isinstance(answer, Manifest):
            if self._store is not None:
                self._store.forget(order.directory)
            self._results[task.name] = TaskResult(task, order.directory, answer)
            self._progress.update(step_name(task.step), len(self._results), self._total)
            return
        if answer.is_lost:
            self._retry_elsewhere(task, answer)
        else:
            self._retry(task, answer)
        self.todo.appendleft(task)

    def _retry(self, task: Task, failure: WorkerFailure) -> None:
        """Count a failure; quarantine the item that caused it for the second time.

        Raises:
            WorkerDiedError: the task keeps failing without naming an item.
        """
        self._failures[task.name, failure.item] += 1
        failures = self._failures[task.name, failure.item]
        if failure.item and failures >= _FAILURES_BEFORE_QUARANTINE:
            reason = f"its worker {failure.reason}, twice"
            self._skip.setdefault(task.name, {})[failure.item] = reason
            self._progress.say(f"  quarantined {failure.item}: {reason}")
        elif not failure.item and failures >= _FAILURES_BEFORE_ERROR:
            raise _gave_up(task, f"failed {failures} times: its worker {failure.reason}")
        else:
            item = f" at {failure.item}" if failure.item else ""
            self._progress.say(f"  a worker {failure.reason}{item}; retrying {task.name}")

    def _retry_elsewhere(self, task: Task, failure: WorkerFailure) -> None:
        self._losses[task.name] += 1
        losses = self._losses[task.name]
        if losses >= _LOSSES_BEFORE_ERROR:
            raise _gave_up(task, f"lost its worker {losses} times: {failure.reason}")
        self._progress.say(f"  {failure.reason}; retrying {task.name} on another one")


def _gave_up(task: Task, what: str) -> WorkerDiedError:
    paths = [str(item.path) for files in task.files.values() for item in files]
    return WorkerDiedError(
        f"task {task.name} {what} (inputs: {', '.join(paths[:3])})",
        hint="if memory ran out, use fewer workers: --set run.workers=1",
    )
