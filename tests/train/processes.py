"""Processes of this machine that train, alone or together as torchrun would start them.

Each is a fork of one process that has imported torch and the trainer, which takes 3 s of CPU time:
several times what a test's training takes.
"""

import itertools
import json
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

LIMIT_SECONDS = 280
HERE = Path(__file__).parent


@cache
def _forks() -> ForkServerContext:
    """Where processes are forked; the first call imports what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["preloaded"])
    with pytest.MonkeyPatch.context() as patch:  # it knows nothing of our sys.path
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
        patch.setenv("OMP_NUM_THREADS", "1")  # a process with threads cannot be forked
        forkserver.ensure_running()
    return context


class Forked:
    """A process that calls a function, its environment changed and its output in a file.

    Args:
        function: of a module; called with the arguments.
        environment: changes to this process's environment.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._output = Path(tempfile.mkstemp(suffix=".log")[1])
        call = (function, arguments, {**os.environ, **environment}, str(self._output))
        self._process: ForkServerProcess = _forks().Process(target=_call, args=call)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """As `subprocess` has it: None while it runs, the negative signal that killed it."""
        return self._process.exitcode

    def wait(self, timeout: float = LIMIT_SECONDS) -> int:
        """Its exit code.

        Raises:
            TimeoutError: it still runs after so many seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"a process still runs after {timeout:g} s:\n{self.output()}")
        return self.returncode

    def output(self) -> str:
        """What it wrote to either stream so far."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def end(self) -> None:
        """Kill it if it runs, and forget its output."""
        self._process.kill()
        self._process.join()
        self._output.unlink(missing_ok=True)


def _call(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    environment: Mapping[str, str],
    output: str,
) -> None:
    """What a forked process does."""
    import torch

    os.environ.clear()
    os.environ.update(environment)
    with open(output, "ab") as file:  # noqa: PTH123 - only its descriptor is of use
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # OpenMP has read its variable long ago, when the process was another.
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    function(*arguments)


def command(*words: object) -> None:
    """Be `tongwen` with these words; ends the process."""
    from tongwen.cli.main import main

    sys.argv = ["tongwen", *map(str, words)]
    main()


def stopped_command(rows: int, number: int, rank: int, *words: object) -> None:
    """Be `tongwen`, and a moment after so many rows of metrics send the process of this rank the
    signal, however slow the machine is.
    """
    from tongwen.train.metrics import MetricsLog

    append, written = MetricsLog.append, itertools.count(1)

    def append_and_stop(self: MetricsLog, **row: Any) -> None:
        append(self, **row)
        if next(written) == rows and int(os.environ.get("RANK", "0")) == rank:
            threading.Timer(0.005, os.kill, (os.getpid(), number)).start()

    MetricsLog.append = append_and_stop  # type: ignore[method-assign]
    command(*words)


def start_together(count: int, function: Callable[..., Any], *arguments: Any) -> list[Forked]:
    """`count` processes that call the function and find each other on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        Forked(
            function,
            *arguments,
            environment={
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            },
        )
        for rank in range(count)
    ]


def end_together(processes: Sequence[Forked]) -> None:
    """Wait for all. One that fails takes the others with it.

    Raises:
        AssertionError: the end of what the first process that failed said.
    """
    try:
        for process in processes:
            if process.wait():
                raise AssertionError(process.output()[-3000:])
    finally:
        for process in processes:
            process.end()


def run_tongwen(*words: object) -> None:
    """The command in a process of its own, which must end well."""
    end_together([Forked(command, *words)])


def curves(count: int, out: Path, layouts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Metrics of short runs of one tiny model, one run for each layout; see `layout_worker.py`."""
    from layout_worker import run_all

    out.mkdir(parents=True, exist_ok=True)
    end_together(start_together(count, run_all, out, layouts))
    found: list[list[dict[str, Any]]] = json.loads((out / "curves.json").read_text())
    return found
