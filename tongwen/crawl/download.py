"""One file of the net to one file of a cache, once: resumed, checked, and whole or not there.

Beside a finished file lies `.NAME.json`; while it comes, it is `.NAME.download`, and
`.NAME.download.json` says what the server promised.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

import xxhash

from tongwen.crawl.checks import ChecksumError, DamageError, check_content, promised_checksums
from tongwen.crawl.http import HttpClient, RefusedError, TryAgainError
from tongwen.crawl.secrets import public_url
from tongwen.errors import DiskFullError, InputError
from tongwen.files import disk_errors, read_json, sync_directory, write_json

# 403 says "too fast" (Common Crawl) or "never": worth a few waits, not all of them.
_FORBIDDEN_ATTEMPTS = 4
_PROGRESS_BYTES = 1 << 20
"""An attempt that brought as much was worth it: the count of failures begins again."""


@dataclass(frozen=True)
class Download:
    """A file in the cache.

    Attributes:
        url: where it came from, without query.
        path: in the cache.
        bytes, digest: size and xxh3-128 of its content.
        checked: what its content was held against: names of checksums, `gzip`, `size`;
            `damaged` when it lies damaged on the server, too.
    """

    url: str
    path: Path
    bytes: int
    digest: str
    checked: tuple[str, ...]


def cache_path(cache: Path, url: str) -> Path:
    """Where in the cache the file of an address lies: host, then path.

    Raises:
        InputError: the address names no file.
    """
    parts = urlsplit(url)
    names = [
        quote(unquote(name), safe=" ()[]{}+,=@!~&;%") for name in parts.path.split("/") if name
    ]
    if not names or not parts.hostname or any(name in (".", "..") for name in names):
        raise InputError(
            f"{public_url(url)} names no file", hint="an address ends in a file's name"
        )
    if parts.query:
        names[-1] = f"{xxhash.xxh3_64_hexdigest(parts.query.encode())}-{names[-1]}"
    names = [
        name if len(name) <= 200 else xxhash.xxh3_128_hexdigest(name.encode()) + name[-60:]
        for name in names
    ]
    host = parts.hostname + (f":{parts.port}" if parts.port else "")
    return cache.joinpath(host, *names)


def finished(path: Path) -> Download | None:
    """The download that lies at `path`, if one does, whole."""
    try:
        record = read_json(path.with_name(f".{path.name}.json"))
        if path.stat().st_size != record["bytes"]:
            return None
        return Download(
            record["url"], path, record["bytes"], record["digest"], tuple(record["checked"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def finish(part: Path, download: Download, more: Mapping[str, Any] | None = None) -> Download:
    """Give a checked file its name."""
    path = download.path
    record = {**asdict(download), **(more or {})}
    del record["path"]
    write_json(path.with_name(f".{path.name}.json"), record)
    part.replace(path)
    sync_directory(path.parent)
    part.with_name(part.name + ".json").unlink(missing_ok=True)
    return download


@contextmanager
def locked_part(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """The file that grows to `path`, held against other processes with the same cache."""
    part = path.with_name(f".{path.name}.download")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with part.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    is_same = os.fstat(file.fileno()).st_ino == part.stat().st_ino
                except FileNotFoundError:
                    is_same = False
                if is_same:  # else another process has finished it while we waited
                    try:
                        yield part, file
                    finally:
                        if finished(path) is not None:
                            part.unlink(missing_ok=True)
                    return


def with_attempts(
    client: HttpClient, attempts: int, size: Callable[[], int], once: Callable[[], Download]
) -> Download:
    """Call `once` until it succeeds, or has failed `attempts` times without progress.

    Raises:
        TryAgainError: of the last attempt.
    """
    failures = 0
    while True:
        before = size()
        try:
            return once()
        except TryAgainError as error:
            failures = 1 if size() - before >= _PROGRESS_BYTES else failures + 1
            limit = min(attempts, _FORBIDDEN_ATTEMPTS) if error.status == 403 else attempts
            if failures >= limit:
                raise
            client.back_off(failures, error)


def download(client: HttpClient, url: str, path: Path, attempts: int) -> Download:
    """The file of `url`, at `path`; fetched only if it is not there.

    A file that comes twice with the same bytes and is no sound gzip is damaged on the server: it is
    kept, and what is wrong with it counted when it is read.

    Raises:
        InputError: the server does not have it, forbids it, or goes on failing.
        RefusedError: 404 or 410.
        DiskFullError: no space is left.
    """
    if (done := finished(path)) is not None:
        return done
    with locked_part(path) as (part, file):
        if (done := finished(path)) is not None:
            return done
        transfer = _Transfer(client, url, path, part, file)
        try:
            return with_attempts(client, attempts, transfer.size, transfer.attempt)
        except TryAgainError as error:
            raise failure(url, str(error), error.status) from error
        except RefusedError as error:
            if error.status in (404, 410):
                raise
            raise failure(url, str(error), error.status) from error


def failure(url: str, message: str, status: int) -> InputError:
    """The error for a file that cannot be had."""
    hints = {
        401: "does the address need a key? write it as ${NAME}, an environment variable",
        403: "is it public? Common Crawl also says so to who asks too fast: wait, and lower "
        "crawl.download.connections",
        404: "is the path right? crawls and their file lists are at https://data.commoncrawl.org/",
    }
    hint = hints.get(status, "run the same command again: what is here already is kept")
    return InputError(f"cannot download {public_url(url)}: {message}", hint=hint)


class _Transfer:
    """The attempts at one file."""

    def __init__(
        self, client: HttpClient, url: str, path: Path, part: Path, file: IO[bytes]
    ) -> None:
        self._client = client
        self._url = url
        self._path = path
        self._part = part
        self._file = file
        self._damaged_digest = ""

    def size(self) -> int:
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def _restart(self) -> None:
        self._file.truncate(0)
        self._state_path.unlink(missing_ok=True)

    @property
    def _state_path(self) -> Path:
        return self._part.with_name(self._part.name + ".json")

    def _state(self) -> dict[str, Any]:
        try:
            state = read_json(self._state_path)
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def attempt(self) -> Download:
        """Get what is missing and check the whole."""
        with disk_errors(self._path):
            state = self._state()
            have = self.size()
            validator = state.get("etag") or state.get("last_modified")
            if have and not validator:
                self._restart()
                have = 0
            if not have or have != state.get("total"):
                state = self._receive(have, validator)
            return self._check(state)

    def _receive(self, have: int, validator: str | None) -> dict[str, Any]:
        headers = {"Range": f"bytes={have}-", "If-Range": str(validator)} if have else {}
        with self._client.get(self._url, headers) as response:
            if response.status == 416 or (response.status == 206 and not have):
                self._restart()
                raise TryAgainError("the server gave another range than asked for")
            if response.status == 206:
                state = self._state()
                if not _goes_on(response.headers, have, state):
                    self._restart()
                    raise TryAgainError("the server gave another range or file than asked for")
            else:
                self._restart()
                state = _response_state(response.headers)
                write_json(self._state_path, state)
            self._check_space(state.get("total"))
            for chunk in self._client.chunks(response):
                self._file.write(chunk)
            self._file.flush()
            os.fsync(self._file.fileno())
        total = state.get("total")
        if total is not None and self.size() != total:
            if self.size() > total:
                self._restart()
            raise TryAgainError(f"the connection ended after {self.size():,} of {total:,} bytes")
        return state

    def _check_space(self, total: int | None) -> None:
        missing = (total or 0) - self.size()
        free = shutil.disk_usage(self._part.parent).free
        if missing > free:
            raise DiskFullError(
                f"no space left for {self._path}: {missing:,} bytes are to come, {free:,} are free",
                hint="free some space, or name another folder as crawl.download.cache",
            )

    def _check(self, state: Mapping[str, Any]) -> Download:
        self._file.flush()
        try:
            digest, checked = check_content(
                self._part, state.get("checksums", {}), is_gzip=self._path.name.endswith(".gz")
            )
        except ChecksumError as error:
            self._restart()
            raise TryAgainError(str(error)) from error
        except DamageError as error:
            if error.digest != self._damaged_digest:
                self._damaged_digest = error.digest
                self._restart()
                raise TryAgainError(str(error)) from error
            digest, checked = error.digest, ("damaged",)
        if state.get("total") is not None:
            checked = (*checked, "size")
        found = Download(public_url(self._url), self._path, self.size(), digest, checked)
        return finish(self._part, found)


def _goes_on(headers: Mapping[str, str], have: int, state: Mapping[str, Any]) -> bool:
    """Whether a partial response is the rest of the file that `state` tells of."""
    total = state.get("total")
    is_same = headers.get("ETag", state.get("etag")) == state.get("etag") or not state.get("etag")
    return is_same and headers.get("Content-Range") == f"bytes {have}-{(total or 0) - 1}/{total}"


def _response_state(headers: Mapping[str, str]) -> dict[str, Any]:
    """What a whole response promises: size, checksums, and how to tell the same file again."""
    length = headers.get("Content-Length", "")
    etag = headers.get("ETag", "")
    return {
        "total": int(length) if length.isdecimal() else None,
        "etag": etag if etag.startswith('"') else "",  # a weak one does not promise equal bytes
        "last_modified": headers.get("Last-Modified", ""),
        "checksums": promised_checksums(headers),
    }
