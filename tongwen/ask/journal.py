"""Answers received so far: a line each, written as soon as it arrives.

A question is named by the digest of all that is sent, so a command that was killed asks nothing
twice, and a question that has changed is asked again.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import IO

from tongwen.ask.server import Answer
from tongwen.errors import InputError, UsageError
from tongwen.files import disk_errors


class Journal:
    """The answers known so far, by the question's digest; made by `open_journal`."""

    def __init__(self, path: Path, file: IO[bytes], answers: dict[str, Answer]) -> None:
        self._path = path
        self._file = file
        self._lock = Lock()
        self.answers = answers

    def add(self, name: str, answer: Answer) -> None:
        """Keep an answer, on disk before anything else happens."""
        line = json.dumps({"question": name, **asdict(answer)}, ensure_ascii=False)
        with self._lock, disk_errors(self._path):
            self._file.write(line.encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self.answers[name] = answer


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """The journal at `path`, created if missing. A truncated last line is removed.

    Raises:
        UsageError: another process writes to it.
        InputError: it is not a journal.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"another command writes to {path}", hint="wait for it, or give another --out"
            ) from error
        file.seek(0)
        yield Journal(path, file, _read(path, file))


def _read(path: Path, file: IO[bytes]) -> dict[str, Answer]:
    answers = {}
    whole = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            name = str(row.pop("question"))
            answers[name] = Answer(**row)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"line {number} of {path} is not an answer of this command",
                hint="move the file away, or give another --out",
            ) from error
        whole += len(line)
    file.truncate(whole)
    return answers
