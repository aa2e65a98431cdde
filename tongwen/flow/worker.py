"""A worker: a process that runs tasks and may die without losing the work.

Whoever starts a worker watches its current item (see `TaskContext.mark`) and its memory. All
runners use this one kind of worker, so a task runs in the same way on each of them.
"""

import contextlib
import ctypes
import ctypes.util
import errno
import multiprocessing
import os
import signal
import sys
import time
import traceback
import types
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from tongwen.errors import TongwenError
from tongwen.files import disk_errors, remove_tree, sync_directory, tree_files, value_digest
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.memory import peak_memory_bytes, reset_peak_memory
from tongwen.flow.store import Store, clear_copies
from tongwen.flow.task import MARK_BYTES, Task, TaskContext

TASK_MANIFEST = "task.json"
# Two workers may finish the same task at once: the other's folder is back before the rename.
_RENAMES = 5


@dataclass(frozen=True)
class Order:
    """A task to run, where its output goes, the items to leave out, each with the reason, and the
    store that takes the place of the output's folder.
    """

    task: Task
    directory: Path
    skip: tuple[tuple[str, str], ...] = ()
    store: Store | None = None


@dataclass(frozen=True)
class WorkerFailure:
    """How a worker ended.

    Attributes:
        item: its current item; empty when the task had named none.
        reason: what happened to the worker.
        is_lost: it disappeared with its node or its Ray actor, so the task is not to blame.
    """

    item: str
    reason: str
    is_lost: bool = False


Answer = Manifest | TongwenError | str | WorkerFailure
"""The outcome of an order; `str` is the traceback of a bug."""


def run_task(order: Order, mark_path: Path, *, own_process: bool = True) -> Manifest:
    """Run one task in this process; its folder takes its final name when all is written.

    Unless the process is a worker's own, its peak memory is not counted anew for each task, which
    collects garbage first: in a user's program that took 9 of the 12 s of a small curation.
    """
    started = time.monotonic()
    task, directory = order.task, Path(order.directory)
    if order.store is not None:
        order.store.register()
    partial = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    mark_path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(mark_path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    if own_process:
        reset_peak_memory()
    try:
        with disk_errors(directory):
            skip = frozenset(item for item, _ in order.skip)
            context = TaskContext(task, partial, skip, descriptor)
            counts = task.function(context)
            context.mark("")  # what follows is not the last item's fault
            for path in tree_files(partial):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            manifest = Manifest(
                digest=task.digest,
                code=task.code,
                # One digest a name: a row for each file would be tasks x partitions rows in all.
                inputs={
                    name: value_digest([item.digest for item in files])
                    for name, files in task.files.items()
                },
                outputs=describe_outputs(partial),
                counts=dict(counts),
                quarantined=tuple({"item": item, "reason": reason} for item, reason in order.skip),
                seconds=time.monotonic() - started,
                peak_memory_bytes=peak_memory_bytes(),
            )
            manifest.write(partial / TASK_MANIFEST)
            _publish(partial, directory)
            if order.store is not None:
                order.store.put(directory, last=TASK_MANIFEST)
        return manifest
    finally:
        os.close(descriptor)
        remove_tree(partial)
        if order.store is not None and own_process:
            clear_copies()


def _publish(partial: Path, directory: Path) -> None:
    """Rename a finished folder to its final name, where an older one may be.

    A worker that was presumed lost may still finish the same task on its own machine; the later
    one then replaces equal bytes by equal bytes.
    """
    for attempt in range(1, _RENAMES + 1):
        remove_tree(directory)
        try:
            partial.rename(directory)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == _RENAMES:
                raise
    sync_directory(directory.parent)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that no orphan keeps writing."""
    if sys.platform == "linux":
        library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        library.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() == 1:
            os._exit(1)


def _work(connection: Connection) -> None:
    """The worker process: receive a task, run it, send back its manifest or its error."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while (order := connection.recv()) is not None:
            try:
                connection.send(run_task(*order))
            except TongwenError as error:
                connection.send(error)
            except Exception:
                connection.send(traceback.format_exc())


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the main module, which a spawned process would import needlessly: Ray's takes 3 s."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Worker:
    """A worker process, seen from the process that started it.

    Args:
        item_seconds: a worker that takes longer for one item is killed.
        memory_bytes: so is one whose resident set grows larger.
    """

    def __init__(self, item_seconds: float, memory_bytes: int) -> None:
        self._item_seconds = item_seconds
        self._memory_bytes = memory_bytes
        self._mark_path = Path()
        self._item, self._item_since = "", 0.0
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(theirs,), daemon=True)
        with _no_main_module():
            self._process.start()
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can run a task."""
        return self._process.is_alive()

    def start(self, order: Order, marks: Path) -> None:
        """Send it a task; `answer` returns the outcome.

        Args:
            order: the task.
            marks: folder on this machine for the file that names the current item.
        """
        self._item, self._item_since = "", time.monotonic()
        self._mark_path = marks / uuid.uuid4().hex
        with contextlib.suppress(OSError):  # it died before this: `answer` notices
            self.connection.send((order, self._mark_path))

    def answer(self, wait_seconds: float = 0.0) -> Answer | None:
        """The outcome of the order, None while it runs. After a failure the worker is gone."""
        try:
            if self.connection.poll(wait_seconds):
                found: Answer = self.connection.recv()
                self._mark_path.unlink(missing_ok=True)
                return found
        except (EOFError, OSError):
            return self._fail("was killed")
        item = self._current_item()
        now = time.monotonic()
        if item != self._item:
            self._item, self._item_since = item, now
        if item and now - self._item_since > self._item_seconds:
            return self._fail(f"took longer than {self._item_seconds:g} s")
        if self._resident_bytes() > self._memory_bytes:
            return self._fail(f"used more than {self._memory_bytes / 2**30:.3g} GiB")
        return None

    def end(self) -> None:
        """Ask it to exit, and kill it if it does not."""
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self._process.join(timeout=5)
        self.kill()

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _fail(self, reason: str) -> WorkerFailure:
        self.kill()
        item = self._current_item()
        self._mark_path.unlink(missing_ok=True)
        return WorkerFailure(item, reason)

    def _current_item(self) -> str:
        try:
            data = self._mark_path.read_bytes()[:MARK_BYTES]
        except OSError:
            return ""
        return data.rstrip(b"\0").decode("utf-8", "surrogateescape")

    def _resident_bytes(self) -> int:
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0
