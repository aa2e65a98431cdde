"""Files that appear whole or not at all, and the digests that name their content."""

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import xxhash

from tongwen.errors import DiskFullError

_CHUNK_BYTES = 1 << 20


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn "no space left on device" and a full quota into a `DiskFullError` that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError(
                f"no space left while writing {path}",
                hint="free some space and run the same command again: finished work is kept",
            ) from error
        raise


def sync_directory(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the name `path` only when the block ends without an error.

    Raises:
        DiskFullError: no space is left; nothing of the file stays behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in a stable key order, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    write_text(path, text + "\n")


def write_jsonl(path: Path, rows: Iterator[Any] | list[Any]) -> int:
    """Write one JSON object a line, whole or not at all. Gives the number of rows."""
    count = 0
    with atomic_writer(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8") + b"\n")
            count += 1
    return count


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[Any]:
    """The values of a JSON Lines file, one at a time."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def file_digest(path: Path) -> str:
    """xxh3-128 of a file's content, 32 hexadecimal digits."""
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
    return state.hexdigest()


def value_digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, 32 hexadecimal digits."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def cache_folder() -> Path | None:
    """Folder of what can be made again: `TONGWEN_CACHE`, else `tongwen` in the user's cache folder.

    None where no folder can be written, as in a container without a home.
    """
    named = os.environ.get("TONGWEN_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else base / "tongwen"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def tree_files(directory: Path) -> list[Path]:
    """All regular files below `directory`, sorted by path, without hidden ones."""
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    )


def remove_tree(path: Path) -> None:
    """Remove a directory we made ourselves; no error when it is not there."""
    shutil.rmtree(path, ignore_errors=True)


def remove_partials(directory: Path) -> None:
    """Remove what a killed process left half-written below `directory`."""
    for path in list(directory.rglob(".*.partial")):
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
