"""Programs judged by workers: what the evaluator calls."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from tongwen.errors import TongwenError
from tongwen.evaluate.sandbox.wire import EndOfFramesError, receive, send

Isolation = Literal["isolated", "no-isolation"]
VERDICTS = ("passed", "wrong", "error", "syntax", "timeout", "memory", "died")
_PACKAGE_FOLDER = Path(__file__).parents[3]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from tongwen.evaluate.sandbox.box import main; main(sys.argv[2] == 'isolated')"
)


class SandboxError(TongwenError):
    """This machine cannot run generated programs the way the settings ask for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: of wall time, for program and tests together.
        cpu_seconds: of CPU time, of each process and (where processes can be listed) of all.
        memory_bytes: address space of each process, and memory of all of them together.
        processes: processes and threads at once; few more are the sandbox's own.
    """

    seconds: float = 15.0
    cpu_seconds: int = 5
    memory_bytes: int = 1 << 30
    processes: int = 32


@dataclass(frozen=True, kw_only=True)
class Program:
    """A generated program and what it must pass.

    Attributes:
        text: run first, in the candidate's process.
        setup: run first in the judge's process; trusted, such as imports that the tests need.
        tests: run in the judge's process; the program passes if they reach their end. Names that
            they and the setup do not define are the program's.
        entry: name that is the program's even where the setup defines it too.
    """

    text: str
    setup: str = ""
    tests: str
    entry: str = ""
    limits: Limits = field(default=Limits())


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    Attributes:
        kind: `passed`; `wrong` (an assert), `error` (another exception, by name in the message),
            `syntax`, `timeout`, `memory`, `died` (its process ended before its tests did).
    """

    kind: str
    message: str

    @property
    def passed(self) -> bool:
        return self.kind == "passed"


class Worker:
    """A process that judges one program at a time.

    Raises:
        SandboxError: the machine does not let programs be isolated.
    """

    def __init__(self, isolation: Isolation) -> None:
        self.isolation = isolation
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", _START, str(_PACKAGE_FOLDER), self.isolation],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            cwd="/",
        )
        try:
            state = receive(self._output)
        except EndOfFramesError:
            state = {"error": "the worker ended at once"}
        if "error" in state:
            self.close()
            raise SandboxError(
                f"generated programs cannot be isolated on this machine: {state['error']}",
                hint="allow user namespaces (sysctl user.max_user_namespaces, on Ubuntu also "
                "kernel.apparmor_restrict_unprivileged_userns=0; in a container its seccomp "
                "profile), or, only inside a machine you can lose, set evaluate.unsafe_code = "
                '"no-isolation"',
            )

    @property
    def _output(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def judge(self, program: Program) -> Verdict:
        """Run one program. A worker that is killed meanwhile is replaced; the program failed."""
        assert self.process.stdin is not None
        sentinel = secrets.token_hex(32)
        first = {"program": program.text, "limits": asdict(program.limits)}
        second = {
            "setup": program.setup,
            "tests": program.tests,
            "entry": program.entry,
            "sentinel": sentinel,
        }
        try:
            send(self.process.stdin.fileno(), first)
            send(self.process.stdin.fileno(), second)
            result = receive(self._output)
        except (EndOfFramesError, OSError):
            self.close()
            self._start()
            return Verdict("died", "the sandbox's worker was killed")
        kind, message = str(result["verdict"]), str(result["message"])
        if kind == "passed" and not secrets.compare_digest(result.get("sentinel", ""), sentinel):
            return Verdict("died", "passed without the sentinel")
        return Verdict(kind, message)

    def close(self) -> None:
        """End the worker and everything it has started."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def sandbox(isolation: Isolation, workers: int | None = None) -> Iterator["Pool"]:
    """Workers that are ready, as many as there are CPUs when not said otherwise.

    Raises:
        SandboxError: the machine does not let programs be isolated.
    """
    count = workers or len(os.sched_getaffinity(0))
    started: list[Worker] = []
    try:
        while len(started) < count:
            started.append(Worker(isolation))
        yield Pool(started)
    finally:
        for worker in started:
            worker.close()


class Pool:
    """Workers that share a list of programs."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers

    def judge(
        self,
        programs: Sequence[Program],
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Verdict]:
        """The verdict on every program, in order; `report` gets the finished and total number."""
        free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            free.put(worker)

        def one(program: Program) -> Verdict:
            worker = free.get()
            try:
                return worker.judge(program)
            finally:
                free.put(worker)

        verdicts = []
        with ThreadPoolExecutor(len(self.workers)) as threads:
            for verdict in threads.map(one, programs):
                verdicts.append(verdict)
                report(len(verdicts), len(programs))
        return verdicts
