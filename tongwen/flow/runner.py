"""What all runners share: which tasks are still to do, and what becomes of one that fails.

A task whose worker died is tried again. When the same item kills two workers, or holds one
longer than the limit twice, it is quarantined: the task runs without it and its manifest says so.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tongwen.errors import TongwenError, WorkerDiedError
from tongwen.files import remove_tree
from tongwen.flow.manifest import Manifest
from tongwen.flow.task import Task, TaskInput
from tongwen.flow.worker import TASK_MANIFEST, Answer, Death, Order
from tongwen.progress import Progress

_DEATHS_BEFORE_QUARANTINE = 2
_DEATHS_BEFORE_FAILURE = 3
_LOST_PLACES_BEFORE_FAILURE = 10


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


@dataclass
class Runner:
    """Finishes tasks; the classes made of it say where.

    Attributes:
        item_seconds: an item that is in hand longer kills its worker (and is tried once more).
        memory_bytes: a worker whose resident set grows beyond is killed likewise.
        quarantined: items that finished tasks had to leave out, so far.
        peak_memory_bytes: largest resident set of a worker during a task, so far.
    """

    item_seconds: float = 60.0
    memory_bytes: int = 4 << 30
    progress: Progress = field(default_factory=Progress)
    quarantined: list[Mapping[str, str]] = field(default_factory=list)
    peak_memory_bytes: int = 0

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        """Finish all `tasks`; each leaves its output in `out/STEP/INDEX/`.

        Tasks whose output is already there (same digest, files intact) are not run again.

        Raises:
            WorkerDiedError: a task killed its worker three times and no item can be blamed.
            TongwenError: what a task function raised.
        """
        todo: list[Task] = []
        results: dict[str, TaskResult] = {}
        for task in tasks:
            directory = _directory(task, out)
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
            self.progress.start()
            try:
                self._finish(Round(todo, results, out, self.progress))
            finally:
                self.progress.end()
        finished = [results[task.name] for task in tasks]
        for result in finished:
            self.quarantined.extend(result.manifest.quarantined)
            self.peak_memory_bytes = max(self.peak_memory_bytes, result.manifest.peak_memory_bytes)
        return finished

    def close(self) -> None:
        """End the workers; a later `run` starts new ones."""

    def _finish(self, work: "Round") -> None:
        """Run what `work` gives out until nothing is left; on an error end what is at work."""
        raise NotImplementedError


def _directory(task: Task, out: Path) -> Path:
    return out / task.step / f"{task.index:05d}"


def _remove_leftovers(tasks: Sequence[Task], out: Path) -> None:
    """Remove half-written folders of a killed run, and outputs of tasks that no longer exist."""
    expected = {f"{task.index:05d}" for task in tasks}
    for step in {task.step for task in tasks}:
        for path in (out / step).glob("*"):
            if path.name not in expected:
                remove_tree(path)


class Round:
    """One call of `run`: the tasks still to do, what has died so far, and the results.

    Attributes:
        todo: tasks that nobody works on.
        out: folder of the outputs.
    """

    def __init__(
        self,
        todo: Sequence[Task],
        results: dict[str, TaskResult],
        out: Path,
        progress: Progress,
    ) -> None:
        self.todo = deque(todo)
        self.out = out
        self._results = results
        self._total = len(todo) + len(results)
        self._progress = progress
        self._deaths: Counter[tuple[str, str]] = Counter()
        self._lost_places: Counter[str] = Counter()
        self._skip: dict[str, dict[str, str]] = {}

    def next_order(self) -> Order | None:
        """The next task to run, None when none is left."""
        if not self.todo:
            return None
        task = self.todo.popleft()
        skip = sorted(self._skip.get(task.name, {}).items())
        return Order(task, _directory(task, self.out), tuple(skip))

    def settle(self, order: Order, answer: Answer) -> None:
        """Take what came of an order: a result, an error to raise, or a task to try again."""
        task = order.task
        if isinstance(answer, TongwenError):
            raise answer
        if isinstance(answer, str):
            raise RuntimeError(f"task {task.name} failed:\n{answer}")
        if isinstance(answer, Manifest):
            self._results[task.name] = TaskResult(task, order.directory, answer)
            self._progress.update(task.step, len(self._results), self._total)
            return
        if answer.place_is_lost:
            self._lose_place(task, answer)
        else:
            self._mourn(task, answer)
        self.todo.appendleft(task)

    def _mourn(self, task: Task, death: Death) -> None:
        self._deaths[task.name, death.mark] += 1
        deaths = self._deaths[task.name, death.mark]
        if death.mark and deaths >= _DEATHS_BEFORE_QUARANTINE:
            reason = f"its worker {death.reason}, twice"
            self._skip.setdefault(task.name, {})[death.mark] = reason
            self._progress.say(f"  quarantined {death.mark}: {reason}")
        elif not death.mark and deaths >= _DEATHS_BEFORE_FAILURE:
            raise _died(task, f"lost its worker {deaths} times, which {death.reason}")
        else:
            item = f" at {death.mark}" if death.mark else ""
            self._progress.say(f"  a worker {death.reason}{item}; trying {task.name} again")

    def _lose_place(self, task: Task, death: Death) -> None:
        self._lost_places[task.name] += 1
        losses = self._lost_places[task.name]
        if losses >= _LOST_PLACES_BEFORE_FAILURE:
            raise _died(task, f"lost the place it ran at {losses} times: {death.reason}")
        self._progress.say(f"  {death.reason}; trying {task.name} again elsewhere")


def _died(task: Task, what: str) -> WorkerDiedError:
    inputs = ", ".join(str(entry.path) for entry in task.inputs[:3])
    return WorkerDiedError(
        f"task {task.name} {what} (inputs: {inputs})",
        hint="is there enough memory? give fewer workers with --set run.workers=1",
    )
