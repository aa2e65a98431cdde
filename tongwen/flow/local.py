"""The local runner: tasks in worker processes on this machine."""

from dataclasses import dataclass, field
from multiprocessing.connection import wait

from tongwen.errors import TongwenError
from tongwen.files import remove_tree
from tongwen.flow.runner import Round, Runner, TaskResult
from tongwen.flow.worker import TASK_MANIFEST, Answer, Order, Worker, WorkerFailure, run_task

__all__ = ["TASK_MANIFEST", "InProcessRunner", "LocalRunner", "TaskResult"]
_MARKS = ".marks"


@dataclass
class LocalRunner(Runner):
    """Runs tasks in worker processes on this machine.

    Workers start with the first task and stay for the next call of `run`, because importing
    what a task needs takes longer than many tasks; `close` ends them.

    Attributes:
        workers: number of worker processes.
    """

    workers: int = 1
    _idle: list[Worker] = field(default_factory=list)

    def close(self) -> None:
        """End the workers; a later `run` starts new ones."""
        while self._idle:
            self._idle.pop().end()

    def _finish(self, work: Round) -> None:
        busy: dict[Worker, Order] = {}
        marks = work.out / _MARKS
        try:
            while work.todo or busy:
                while len(busy) < self.workers and (order := work.next_order()):
                    worker = self._idle_worker()
                    worker.start(order, marks)
                    busy[worker] = order
                wait([worker.connection for worker in busy], timeout=0.5)
                for worker in list(busy):
                    answer = worker.answer()
                    if answer is None:
                        continue
                    order = busy.pop(worker)
                    if not isinstance(answer, WorkerFailure):
                        self._idle.append(worker)
                    work.settle(order, answer)
        finally:
            for worker in busy:
                worker.kill()
            remove_tree(marks)

    def _idle_worker(self) -> Worker:
        """A worker without a task: one that is waiting, or a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            worker.kill()
        return Worker(self.item_seconds, self.memory_bytes)


@dataclass
class InProcessRunner(Runner):
    """Runs tasks one after the other in this process, for small inputs.

    Nothing watches them: an item that hangs or kills the process is not quarantined.
    """

    def _finish(self, work: Round) -> None:
        marks = work.out / _MARKS
        try:
            while order := work.next_order():
                answer: Answer
                try:
                    answer = run_task(order, marks / "item", own_process=False)
                except TongwenError as error:
                    answer = error
                work.settle(order, answer)
        finally:
            remove_tree(marks)
