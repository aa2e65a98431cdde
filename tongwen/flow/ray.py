"""The Ray runner: the same tasks on the machines of a Ray cluster, the same bytes.

For each CPU that Ray schedules to us there is a `RemoteWorker`: an actor that starts one worker
process on its node and watches it as the local runner does. The actor runs no task itself, so it
survives what kills a task and can name the current item. When a node is lost, its task is retried
on another one. Ray's own retries are off.

All nodes read and write the run directory and the crawl, at the same paths.
"""

import contextlib
import importlib
import os
import platform
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tongwen
from tongwen.errors import DoesNotFitError, InputError, UsageError
from tongwen.files import file_digest, remove_tree, tree_files, value_digest
from tongwen.flow.manifest import Manifest
from tongwen.flow.runner import Round, Runner
from tongwen.flow.store import StorePath
from tongwen.flow.worker import TASK_MANIFEST, Answer, Order, Worker, WorkerFailure
from tongwen.packages import installed_versions

_OBJECT_STORE_BYTES = 100 << 20
"""We pass only manifests through Ray; its default is a third of the memory."""
_VISIBLE_SECONDS = 30.0  # NFS keeps what it knows of a folder for 30 s by default (acdirmin)
_SAY_SECONDS = 15.0  # a node that is just starting needs no word


def identity() -> dict[str, str]:
    """Name -> version of all that decides bytes on this node: our code, Python, the libraries."""
    code = Path(tongwen.__file__).parent
    files = [path for path in tree_files(code) if "__pycache__" not in path.parts]
    return installed_versions("data") | {
        "tongwen": tongwen.__version__,
        "the code of tongwen": value_digest(
            [[path.relative_to(code).as_posix(), file_digest(path)] for path in files]
        )[:8],
        "Python": platform.python_version(),
    }


class RemoteWorker:
    """A Ray actor with one worker process."""

    def __init__(self, item_seconds: float, memory_bytes: int) -> None:
        self._limits = item_seconds, memory_bytes
        self._marks = Path(tempfile.mkdtemp(prefix="tongwen-marks-"))
        self._worker: Worker | None = None

    def describe(self, probe: str) -> dict[str, Any]:
        """The node and its versions, and whether it sees a file that was just written."""
        return {
            "host": platform.node(),
            "identity": identity(),
            "sees": _is_visible(Path(probe)),
        }

    def run(self, order: Order) -> Answer:
        """Run a task and return its outcome."""
        for files in order.task.files.values():
            for item in files:  # a network file system shows new files a little later
                if order.store is None or not isinstance(item.path, StorePath):
                    _is_visible(item.path)
        if self._worker is None or not self._worker.is_alive:
            self._worker = Worker(*self._limits)
        self._worker.start(order, self._marks)
        while (answer := self._worker.answer(wait_seconds=0.5)) is None:
            pass
        if isinstance(answer, WorkerFailure):
            self._worker = None
        return answer

    def close(self) -> None:
        """End the worker and remove its files on the node."""
        if self._worker is not None:
            self._worker.end()
        remove_tree(self._marks)


def _is_visible(path: Path) -> bool:
    """Whether a file exists, now or within half a minute."""
    until = time.monotonic() + _VISIBLE_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
    return True


@dataclass
class RayRunner(Runner):
    """Runs tasks on a Ray cluster.

    Attributes:
        address: `HOST:PORT` of the cluster's head, "auto" for the one this machine belongs to;
            None starts Ray on this machine, and ends it with `close`.
        workers: remote workers at most; None for one a CPU of the cluster, CPUs that join later
            included.
        patience_seconds: how long to wait while the cluster has no free CPU at all.
    """

    address: str | None = None
    workers: int | None = None
    patience_seconds: float = 600.0
    _ray: Any = None
    _owns_session: bool = False
    _starting: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """Stop the remote workers, and Ray if this runner started it."""
        if self._ray is None:
            return
        with contextlib.suppress(Exception):  # a worker on a lost node cannot answer
            self._ray.get([worker.close.remote() for worker in self._idle], timeout=10)
        for worker in [*self._idle, *self._starting.values()]:
            self._ray.kill(worker)
        self._idle.clear()
        self._starting.clear()
        if self._owns_session:
            self._ray.shutdown()
        self._ray = None

    def _finish(self, work: Round) -> None:
        self._connect()
        work.out.mkdir(parents=True, exist_ok=True)
        probe = work.out / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        busy: dict[Any, tuple[Any, Order]] = {}
        since = time.monotonic()
        try:
            while work.todo or busy:
                while self._idle and (order := work.next_order()):
                    worker = self._idle.pop()
                    busy[worker.run.remote(order)] = worker, order
                self._start_workers(len(work.todo) + len(busy), len(busy), probe)
                if busy:
                    since = time.monotonic()
                self._check_patience(since)
                done, _ = self._ray.wait([*busy, *self._starting], timeout=1.0)
                for answered in done:
                    if answered in self._starting:
                        self._register(answered, work.out)
                    else:
                        self._settle(work, answered, *busy.pop(answered))
        finally:
            for worker, _ in busy.values():
                self._ray.kill(worker)
            probe.unlink(missing_ok=True)

    def _connect(self) -> None:
        """Join the cluster, or start one.

        Raises:
            UsageError: Ray is not installed, or there is no cluster at the address.
        """
        if self._ray is not None:
            return
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UsageError(
                "the runner `ray` needs the package ray, which is not installed",
                hint="pip install 'tongwen[ray]' on every node of the cluster",
            ) from error
        self._owns_session = not ray.is_initialized()
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self._owns_session and self.address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing goes out
                ray.init(
                    address="local",
                    num_cpus=self.workers or os.cpu_count() or 1,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    **quiet,
                )
            elif self._owns_session:
                ray.init(address=self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"run.ray_address {self.address!r} does not lead to a Ray cluster: {reason}",
                hint="start one with `ray start --head`, or leave the address out",
            ) from error
        self._ray = ray

    def _start_workers(self, wanted: int, busy: int, probe: Path) -> None:
        """Ask Ray for as many workers as there are tasks; it starts them as CPUs become free."""
        limit = self.workers or int(self._ray.cluster_resources().get("CPU", 0)) or 1
        missing = min(wanted, limit) - busy - len(self._idle) - len(self._starting)
        for _ in range(missing):
            worker = (
                self._ray.remote(RemoteWorker)
                .options(
                    num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
                )
                .remote(self.item_seconds, self.memory_bytes)
            )
            self._starting[worker.describe.remote(str(probe))] = worker

    def _register(self, answered: Any, out: Path) -> None:
        """Add a worker that has described itself to the idle ones.

        Raises:
            InputError: its node has another tongwen or none, or does not see our files.
        """
        worker = self._starting.pop(answered)
        errors = self._ray.exceptions
        try:
            found = self._ray.get(answered)
        except errors.RayActorError as error:
            if "ModuleNotFoundError" in str(error) or "AttributeError" in str(error):
                raise InputError(
                    f"a node of the Ray cluster cannot import tongwen: {_last_line(error)}",
                    hint="install the same tongwen, with [ray,data], on every node",
                ) from error
            self.progress.say("  a Ray worker was lost while it started; starting another")
            return
        check_identity(found["host"], found["identity"], identity())
        if not found["sees"]:
            raise InputError(
                f"{found['host']} does not see {out}, where the results go",
                hint="put the run directory on a file system that all nodes share",
            )
        self._idle.append(worker)

    def _settle(self, work: Round, answered: Any, worker: Any, order: Order) -> None:
        try:
            answer: Answer = self._ray.get(answered)
        except self._ray.exceptions.RayActorError:
            work.settle(order, WorkerFailure("", "a Ray worker was lost", is_lost=True))
            return
        self._idle.append(worker)
        if isinstance(answer, Manifest):
            last = order.directory / TASK_MANIFEST
            if not _is_visible(last):
                raise InputError(
                    f"{order.task.name} finished on another node, but {last} is not visible here",
                    hint="put the run directory on a file system that all nodes share",
                )
        work.settle(order, answer)

    def _check_patience(self, since: float) -> None:
        """Report that the cluster is full; fail after a while.

        Raises:
            DoesNotFitError: the cluster had no free CPU for `patience_seconds`.
        """
        waited = time.monotonic() - since
        if waited > self.patience_seconds:
            raise DoesNotFitError(
                f"the Ray cluster has had no free CPU for {waited:.0f} s",
                hint="see `ray status`; add nodes, or stop what uses them",
            )
        if waited > _SAY_SECONDS:
            self.progress.update("waiting for a free CPU of the Ray cluster", 0, 1)


def check_identity(host: str, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """Refuse a node on which the same task could write other bytes.

    Raises:
        InputError: something has another version on it.
    """
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise InputError(
                f"{host} has {name} {theirs.get(name, 'missing')}, this machine has {version}",
                hint="install the same versions on every node of the cluster (constraints.txt)",
            )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
