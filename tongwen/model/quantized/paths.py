"""Which instructions quantized products are computed with, and the threads that compute them."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from tongwen.errors import InputError

VARIABLE = "TONGWEN_CPU_PATH"
"""Environment variable that forces a path by its name."""

TORCH = "torch"
NAMES = ("generic", "avx2", "avx-vnni", "avx512-vnni")
"""By the numbers of `instructions.py`."""

_MEANINGFUL_WORK = 1 << 20
"""Weights times rows below which waking another thread costs more than it saves: 30 us or so."""

_forced: list[str] = []


@cache
def available() -> tuple[str, ...]:
    """Names of the paths that this machine has, the fastest first; "torch" is always the last."""
    try:
        from tongwen.model.quantized import instructions
    except ImportError:  # numba comes with the extras "data" and "train"
        return (TORCH,)
    found = instructions.available_paths(instructions.cpu_features())
    return (*(NAMES[number] for number in found), TORCH)


def chosen() -> str:
    """The name of the path in use: the fastest, unless `TONGWEN_CPU_PATH` or `forced` names one.

    Raises:
        InputError: the variable names a path that this machine lacks.
    """
    name = _forced[-1] if _forced else os.environ.get(VARIABLE, "auto")
    if name == "auto":
        return available()[0]
    if name not in available():
        raise InputError(
            f"{VARIABLE} is {name!r}; this machine has {', '.join(available())}",
            hint=f"unset {VARIABLE} to take the fastest",
        )
    return name


@contextmanager
def forced(name: str) -> Iterator[None]:
    """Compute on the path of that name."""
    _forced.append(name)
    try:
        chosen()
        yield
    finally:
        _forced.pop()


def threads_for(work: int) -> int:
    """Threads worth using for so many multiplications; torch's number at most."""
    return torch.get_num_threads() if work >= _MEANINGFUL_WORK else 1


class _Team:
    """Threads that wait for a kernel to compute their part of. One caller at a time."""

    def __init__(self) -> None:
        self._caller = threading.Lock()
        self._go: list[threading.Semaphore] = []
        self._done = threading.Semaphore(0)
        self._task: Callable[[int, int], object] = lambda thread, threads: None
        self._threads = 1
        self._errors: list[BaseException] = []

    def run(self, threads: int, task: Callable[[int, int], object]) -> None:
        """Call `task(thread, threads)` for each thread number, and wait for all."""
        if threads == 1:
            task(0, 1)
            return
        with self._caller:
            self._grow(threads)
            self._task, self._threads = task, threads
            for go in self._go[: threads - 1]:
                go.release()
            try:
                task(0, threads)
            finally:
                for _ in range(threads - 1):
                    self._done.acquire()
            if self._errors:
                raise self._errors.pop()

    def _grow(self, threads: int) -> None:
        while len(self._go) < threads - 1:
            number = len(self._go) + 1
            self._go.append(threading.Semaphore(0))
            arguments = (number, self._go[-1])
            name = f"product-{number}"
            threading.Thread(target=self._work, args=arguments, name=name, daemon=True).start()

    def _work(self, number: int, go: threading.Semaphore) -> None:
        while True:
            go.acquire()
            try:
                self._task(number, self._threads)
            except BaseException as error:  # handed to the caller, who raises it
                self._errors.append(error)
            self._done.release()


_team = _Team()


def _renew_team() -> None:
    """A forked child has none of its parent's threads."""
    global _team
    _team = _Team()


os.register_at_fork(after_in_child=_renew_team)


def run_on_team(threads: int, task: Callable[[int, int], object]) -> None:
    """Call `task(thread, threads)` on so many threads at once, this one among them."""
    _team.run(threads, task)


def share(count: int, thread: int, threads: int) -> tuple[int, int]:
    """The part of `count` things that a thread computes: from, up to."""
    return count * thread // threads, count * (thread + 1) // threads
