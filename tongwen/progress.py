"""What a user sees of running work: a live line in a terminal, now and then a line in a log.

stdout is data and belongs to the commands; everything here goes to stderr.
"""

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

PROGRESS = "progress.json"
"""In a run directory: what was last shown of the running stage, for pages that watch it."""
_RECORD_SECONDS = 2.0  # pages look every few seconds; a network disk need not write more often
_BAR_CELLS = 24  # leaves room on 80 columns for label, counts, rate and time left


def duration_text(seconds: float) -> str:
    """A duration as a person says it: `8 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def _rate_text(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


class Progress:
    """Lines about running work, with rate and time left.

    Args:
        stream: where the lines go.
        every_seconds: at most one plain line in this time when the stream is no terminal.
    """

    def __init__(self, stream: TextIO | None = None, *, every_seconds: float = 10.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = self._stream.isatty()
        self._every_seconds = every_seconds
        self._started = time.monotonic()
        self._drawn = float("-inf")
        self._live = False
        self._record: Path | None = None
        self._recorded = float("-inf")
        self._stage = ""

    def record(self, path: Path | None, stage: str = "") -> None:
        """Also keep what `update` shows in the file `path`, every two seconds; None ends it."""
        self._record, self._stage, self._recorded = path, stage, float("-inf")
        self.start()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        print(text, file=self._stream, flush=True)

    def start(self) -> None:
        """Restart the clock that rate and time left are computed from."""
        self._started = time.monotonic()
        self._drawn = float("-inf")

    def update(self, label: str, done: float, total: float, detail: str = "") -> None:
        """Show that `done` of `total` units are finished; cheap enough to call after every unit."""
        now = time.monotonic()
        elapsed = now - self._started
        left = elapsed / done * (total - done) if done else None
        if self._record is not None and now - self._recorded >= _RECORD_SECONDS:
            self._recorded = now
            self._write(label, done, total, detail, left)
        if now - self._drawn < (0.2 if self._is_terminal else self._every_seconds):
            return
        if not self._is_terminal and (
            # A log does not need a line for work that ends at once.
            (self._drawn == float("-inf") and done < total)
            or (done >= total and elapsed < self._every_seconds)
        ):
            self._drawn = now
            return
        self._drawn = now
        line = self._line(label, done, total, detail, elapsed, left)
        if self._is_terminal:
            self._stream.write("\r\x1b[2K" + line)
            self._stream.flush()
            self._live = True
        else:
            print(line, file=self._stream, flush=True)

    def _line(
        self, label: str, done: float, total: float, detail: str, elapsed: float, left: float | None
    ) -> str:
        share = min(1.0, done / total) if total else 1.0
        parts = [f"  {label}"]
        if self._is_terminal:
            filled = round(share * _BAR_CELLS)
            parts.append("━" * filled + "╌" * (_BAR_CELLS - filled))
        parts += [f"{100 * share:3.0f} %", f"{done:,.0f}/{total:,.0f}"]
        if left is not None:
            if not detail and elapsed > 1:
                parts.append(f"{_rate_text(done / elapsed)}/s")
            parts.append(f"{duration_text(left)} left")
        if detail:
            parts.append(detail)
        line = "  ".join(parts)
        if not self._is_terminal:
            return line
        # A line that wraps is not taken away by the next one.
        return line[: max(20, shutil.get_terminal_size().columns - 1)]

    def end(self) -> None:
        """Take the live line away."""
        self._clear()

    def _write(
        self, label: str, done: float, total: float, detail: str, left: float | None
    ) -> None:
        """Leave out what cannot be written: whether somebody watches must not stop the work."""
        assert self._record is not None
        value = {
            "stage": self._stage,
            "label": label,
            "done": done,
            "total": total,
            "detail": detail,
            "seconds_left": None if left is None else round(left, 1),
            "time": round(time.time(), 3),
        }
        partial = self._record.with_name(f".{self._record.name}.partial")
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
            partial.replace(self._record)

    def _clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._live = False
