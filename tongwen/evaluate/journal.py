"""What is done of unfinished work, step by step, so that a killed run goes on where it was."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tongwen.files import disk_errors


class Journal:
    """A file with a line of JSON for each finished step of one plan of work.

    A line that a kill cut short is taken away. NaN and infinity are as Python's json has them.

    Args:
        path: the file; entries of another plan in it are lost.
        plan: names the work and everything that decides its steps, as JSON.
    """

    def __init__(self, path: Path, plan: Sequence[str]) -> None:
        self._path = path
        self.entries: list[Any] = []
        """Of the steps that were finished before."""
        kept = 0
        if plan_of(path) == list(plan):
            with path.open("rb") as file:
                kept = len(file.readline())
                for line in file:
                    entry = _entry(line)
                    if entry is None:
                        break
                    self.entries.append(entry)
                    kept += len(line)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("r+b" if kept else "wb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._write(list(plan))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Any) -> None:
        """Keep what a step came to; `entries` does not grow."""
        with disk_errors(self._path):
            self._write(entry)

    def remove(self) -> None:
        """The work is finished and kept elsewhere."""
        self._file.close()
        self._path.unlink()

    def _write(self, value: Any) -> None:
        self._file.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def plan_of(path: Path) -> list[str] | None:
    """The plan of the work that the journal at `path` belongs to; None where there is none."""
    try:
        with path.open("rb") as file:
            plan = _entry(file.readline())
    except OSError:
        return None
    return plan if isinstance(plan, list) else None


def _entry(line: bytes) -> Any:
    """What a line holds; None where it is damaged or cut short."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
