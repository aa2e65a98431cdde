"""What ends a run from outside: a signal, or a step that does not end."""

import faulthandler
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the step in hand ends before the run does."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: event.set())
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
