"""What a run does about a step that would harm it: leave it out, or go back.

A step is left out when its loss or gradient norm is not finite, or lies further above the recent
ones than so many standard deviations (as in OLMo 2, Walsh et al. 2025, arXiv:2501.00656, section
3.1). The window is part of the checkpoint, so a resumed run decides as an undisturbed one.
"""

import faulthandler
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean, pstdev

WINDOW_STEPS = 128  # long enough for a spread, short enough to follow the falling loss
_LEAST_STEPS = 64
"""With fewer the spread is not known: early training falls fast."""
_LEAST_DEVIATION_SHARE = 0.01
"""A very even stretch must not make an ordinary step look like a spike."""


def is_spike(value: float, recent: Sequence[float], sigmas: float | None) -> bool:
    """Whether a value is not finite or far above the recent ones."""
    if not math.isfinite(value):
        return True
    if sigmas is None or len(recent) < _LEAST_STEPS:
        return False
    mean = fmean(recent)
    deviation = max(pstdev(recent, mean), _LEAST_DEVIATION_SHARE * abs(mean))
    return value > mean + sigmas * deviation


def remember(recent: list[float], value: float) -> None:
    """Add an accepted value; forget what is older than the window."""
    recent.append(value)
    del recent[:-WINDOW_STEPS]


def checkpoint_steps(save_seconds: float, step_seconds: float, failure_seconds: float) -> int:
    """Steps between checkpoints that lose the least time: to saving, and to work done again.

    Young 1974: sqrt(2 x time to save x mean time between failures).
    """
    interval = math.sqrt(2 * save_seconds * failure_seconds)
    return max(1, round(interval / max(1e-9, step_seconds)))


@contextmanager
def stop_requested(say: Callable[[str], None] = lambda text: None) -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the current step finishes before the end.

    `say` tells the user so at once; a second signal ends the process there and then.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def request(number: int, frame: object) -> None:
        if event.is_set():
            for again in numbers:
                signal.signal(again, signal.SIG_DFL)
            raise KeyboardInterrupt
        event.set()
        say(
            "  finishing this step and saving a checkpoint; "
            f"{'Ctrl-C' if number == signal.SIGINT else 'a second signal'} again ends at once"
        )

    for number in numbers:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hang_watch(minutes: float | None) -> Iterator[None]:
    """End the process with the traceback of every thread when the body takes longer.

    A collective that waits for a dead peer holds the interpreter: only a watchdog outside of
    Python code gets through (faulthandler runs in a thread of its own).
    """
    if minutes is None:
        yield
        return
    faulthandler.dump_traceback_later(60 * minutes, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def time_limit(minutes: float | None) -> Iterator[Callable[[], bool]]:
    """Interrupts the body, as Ctrl-C would, after so many minutes; gives what says if it did."""
    over = threading.Event()

    def end() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGINT)

    if minutes is None:
        yield over.is_set
        return
    timer = threading.Timer(60 * minutes, end)
    timer.daemon = True
    # A command that a shell started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        yield over.is_set
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
