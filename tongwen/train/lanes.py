"""Forward and backward passes that threads of one process work on side by side, on a CPU.

An operator that splits its work over all threads ends when the slowest does, hundreds of times a
pass, and a core's matrix unit rests while all of them are at what needs none. Two passes at once,
each with half the threads, meet only where their gradients do.
"""

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

Pass = Callable[[], Tensor]
"""Forward and backward of some sequences; gives their loss."""

_M_ARENA_MAX = -8  # of glibc's malloc.h


def lanes_for(rows: int, device: torch.device, processes: int) -> int:
    """Into how many lanes so many rows go: two on a CPU that one process has to itself."""
    has_threads = device.type == "cpu" and processes == 1 and torch.get_num_threads() > 1
    return 2 if has_threads and rows % 2 == 0 else 1


class Lanes:
    """Works through passes, as many at once as there are lanes.

    Gradients are added up in the order of the passes, whichever is first: a run repeats bit by bit.

    Args:
        model: which the passes go through; not sharded over processes.
        count: of lanes; each has its share of torch's threads.
    """

    def __init__(self, model: nn.Module, count: int) -> None:
        self.count = count
        if count == 1:
            return
        self._threads = max(1, torch.get_num_threads() // count)
        _share_one_heap()
        self._turns = _Turns(model.parameters())
        self._pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (self._threads,))

    def run(self, passes: Sequence[Pass]) -> list[Tensor]:
        """What the passes give, in their order.

        Raises:
            Exception: what a pass raised; the others are given up.
        """
        if self.count == 1:
            return [work() for work in passes]
        threads = torch.get_num_threads()
        # MKL goes by the number set last, whichever thread set it.
        torch.set_num_threads(self._threads)
        try:
            self._turns.begin()
            lanes = [self._pool.submit(self._work, passes, lane) for lane in range(self.count)]
            wait(lanes)
            if self._turns.failure is not None:
                raise self._turns.failure
            losses_of_lanes = [lane.result() for lane in lanes]
        finally:
            torch.set_num_threads(threads)
        return [losses_of_lanes[n % self.count][n // self.count] for n in range(len(passes))]

    def _work(self, passes: Sequence[Pass], lane: int) -> list[Tensor]:
        losses = []
        for number in range(lane, len(passes), self.count):
            with self._turns.taken_by(number):
                losses.append(passes[number]())
        return losses


def _share_one_heap() -> None:
    """Threads from now on allocate where the main one does. glibc gives each its own heap, so small
    that the memory of most tensors goes back to the system and returns page by page: 290,000
    faults a step of 110M, which took as long as two lanes save.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class _GivenUpError(Exception):
    """Another pass failed."""


class _Turns:
    """Whose turn it is to add to each parameter's gradient: passes do in the order of their
    numbers.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.failure: BaseException | None = None
        self._changed = threading.Condition()
        self._here = threading.local()
        self._next: list[int] = []
        trained = (parameter for parameter in parameters if parameter.requires_grad)
        for place, parameter in enumerate(trained):
            self._next.append(0)
            parameter.register_hook(partial(self._wait, place))  # type: ignore[no-untyped-call]
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                partial(self._leave, place)
            )

    def begin(self) -> None:
        self.failure = None
        self._next = [0] * len(self._next)

    @contextmanager
    def taken_by(self, number: int) -> Iterator[None]:
        """Within it this thread computes the pass of that number."""
        self._here.number = number
        try:
            yield
            for place in range(len(self._next)):  # of parameters that had no gradient
                self._wait(place)
                self._leave(place)
        except _GivenUpError:
            raise
        except BaseException as error:
            with self._changed:
                self.failure = self.failure or error
                self._changed.notify_all()
            raise
        finally:
            del self._here.number

    def _wait(self, place: int, _: Tensor | None = None) -> None:
        number = getattr(self._here, "number", None)
        if number is None:  # a backward pass outside the lanes
            return
        with self._changed:
            self._changed.wait_for(lambda: self.failure or self._next[place] >= number)
            if self.failure:
                raise _GivenUpError

    def _leave(self, place: int, _: Tensor | None = None) -> None:
        number = getattr(self._here, "number", None)
        if number is None:
            return
        with self._changed:
            self._next[place] = max(self._next[place], number + 1)
            self._changed.notify_all()
