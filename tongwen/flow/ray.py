"""The Ray runner: the same tasks on the machines of a Ray cluster, the same bytes.

Each processor that Ray lends us is a *place*: an actor that keeps one worker process on its
machine and watches it as the local runner does. The actor runs no task itself, so what kills a
task leaves it alive to say which item was in hand. A place that is lost with its machine is
noticed here; its task goes to another one. Ray itself tries nothing again.

The run directory and the crawl are read and written by all machines, at the same paths.
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
from tongwen.flow.worker import TASK_MANIFEST, Answer, Death, Order, Worker
from tongwen.versions import installed_versions

_OBJECT_STORE_BYTES = 100 << 20
"""We pass only manifests through Ray; its default is a third of the memory."""
_VISIBLE_SECONDS = 30.0
_SAY_SECONDS = 15.0


def identity() -> dict[str, str]:
    """Name -> version of all that decides bytes here: our code, Python, the libraries we need."""
    code = Path(tongwen.__file__).parent
    files = [path for path in tree_files(code) if "__pycache__" not in path.parts]
    return installed_versions("data") | {
        "tongwen": tongwen.__version__,
        "the code of tongwen": value_digest(
            [[path.relative_to(code).as_posix(), file_digest(path)] for path in files]
        )[:8],
        "Python": platform.python_version(),
    }


class Place:
    """A Ray actor with one worker process."""

    def __init__(self, item_seconds: float, memory_bytes: int) -> None:
        self._limits = item_seconds, memory_bytes
        self._marks = Path(tempfile.mkdtemp(prefix="tongwen-marks-"))
        self._worker: Worker | None = None

    def introduce(self, witness: str) -> dict[str, Any]:
        """What this place is, and whether it sees a file that we have just written."""
        return {
            "host": platform.node(),
            "identity": identity(),
            "sees": _is_visible(Path(witness)),
        }

    def work(self, order: Order) -> Answer:
        """Run a task and tell what came of it."""
        for item in order.task.inputs:  # a network file system shows new files a little later
            _is_visible(item.path)
        if self._worker is None or not self._worker.is_alive:
            self._worker = Worker(*self._limits)
        self._worker.give(order, self._marks)
        while (answer := self._worker.answer(wait_seconds=0.5)) is None:
            pass
        if isinstance(answer, Death):
            self._worker = None
        return answer

    def leave(self) -> None:
        """End the worker and remove what this place has put on its machine."""
        if self._worker is not None:
            self._worker.end()
        remove_tree(self._marks)


def _is_visible(path: Path) -> bool:
    """Whether a file is there, now or within half a minute."""
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
        workers: places at most; None for as many as the cluster has processors, also
            those that join later.
        patience_seconds: how long to wait when the cluster has no processor for us at all.
    """

    address: str | None = None
    workers: int | None = None
    patience_seconds: float = 600.0
    _ray: Any = None
    _owns_session: bool = False
    _starting: dict[Any, Any] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)

    def close(self) -> None:
        """Give the places back; end Ray where we have started it."""
        if self._ray is None:
            return
        with contextlib.suppress(Exception):  # a place that is lost need not be told
            self._ray.get([place.leave.remote() for place in self._idle], timeout=10)
        for place in [*self._idle, *self._starting.values()]:
            self._ray.kill(place)
        self._idle.clear()
        self._starting.clear()
        if self._owns_session:
            self._ray.shutdown()
        self._ray = None

    def _finish(self, work: Round) -> None:
        self._connect()
        work.out.mkdir(parents=True, exist_ok=True)
        witness = work.out / f".witness-{uuid.uuid4().hex}"
        witness.touch()
        busy: dict[Any, tuple[Any, Order]] = {}
        since = time.monotonic()
        try:
            while work.todo or busy:
                while self._idle and (order := work.next_order()):
                    place = self._idle.pop()
                    busy[place.work.remote(order)] = place, order
                self._hire(len(work.todo) + len(busy), len(busy), witness)
                if busy:
                    since = time.monotonic()
                self._check_patience(since)
                done, _ = self._ray.wait([*busy, *self._starting], timeout=1.0)
                for answered in done:
                    if answered in self._starting:
                        self._welcome(answered, work.out)
                    else:
                        self._settle(work, answered, *busy.pop(answered))
        finally:
            for place, _ in busy.values():
                self._ray.kill(place)
            witness.unlink(missing_ok=True)

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
                hint="pip install 'tongwen[ray]', on every machine of the cluster",
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
                f"run.ray_address {self.address!r} gives no Ray cluster: {reason}",
                hint="start one with `ray start --head`, or leave the address out",
            ) from error
        self._ray = ray

    def _hire(self, wanted: int, busy: int, witness: Path) -> None:
        """Ask Ray for as many places as there is work for; they come when there is room."""
        limit = self.workers or int(self._ray.cluster_resources().get("CPU", 0)) or 1
        missing = min(wanted, limit) - busy - len(self._idle) - len(self._starting)
        for _ in range(missing):
            place = (
                self._ray.remote(Place)
                .options(
                    num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
                )
                .remote(self.item_seconds, self.memory_bytes)
            )
            self._starting[place.introduce.remote(str(witness))] = place

    def _welcome(self, answered: Any, out: Path) -> None:
        """Take a place that has introduced itself.

        Raises:
            InputError: it has another tongwen or none, or does not see our files.
        """
        place = self._starting.pop(answered)
        errors = self._ray.exceptions
        try:
            found = self._ray.get(answered)
        except errors.RayActorError as error:
            if "ModuleNotFoundError" in str(error) or "AttributeError" in str(error):
                raise InputError(
                    f"a machine of the Ray cluster cannot start our code: {_last_line(error)}",
                    hint="install the same tongwen, with [ray,data], on every machine",
                ) from error
            self.progress.say("  a Ray place was lost before it began; asking for another")
            return
        check_identity(found["host"], found["identity"], identity())
        if not found["sees"]:
            raise InputError(
                f"{found['host']} does not see {out}, where the results go",
                hint="put the run directory on a file system that all machines share",
            )
        self._idle.append(place)

    def _settle(self, work: Round, answered: Any, place: Any, order: Order) -> None:
        try:
            answer: Answer = self._ray.get(answered)
        except self._ray.exceptions.RayActorError:
            work.settle(order, Death("", "a Ray place was lost", place_is_lost=True))
            return
        self._idle.append(place)
        if isinstance(answer, Manifest):
            last = order.directory / TASK_MANIFEST
            if not _is_visible(last):
                raise InputError(
                    f"{order.task.name} is finished elsewhere, but {last} is not to be seen here",
                    hint="is the run directory on a file system that all machines share?",
                )
        work.settle(order, answer)

    def _check_patience(self, since: float) -> None:
        """Say now and then that nothing goes on, and give up in the end.

        Raises:
            DoesNotFitError: the cluster had no processor for us for `patience_seconds`.
        """
        waited = time.monotonic() - since
        if waited > self.patience_seconds:
            raise DoesNotFitError(
                f"the Ray cluster has had no free processor for {waited:.0f} s",
                hint="see `ray status`; start more workers, or end what holds them",
            )
        if waited > _SAY_SECONDS:
            self.progress.update("waiting for a free processor of the Ray cluster", 0, 1)


def check_identity(host: str, theirs: dict[str, str], ours: dict[str, str]) -> None:
    """Refuse a machine on which the same task could give other bytes.

    Raises:
        InputError: something has another version there.
    """
    for name, version in ours.items():
        if theirs.get(name) != version:
            raise InputError(
                f"{host} has {name} {theirs.get(name, 'missing')}, this machine has {version}",
                hint="install the same versions on every machine of the cluster (constraints.txt)",
            )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
