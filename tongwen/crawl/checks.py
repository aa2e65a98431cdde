"""Is a downloaded file what its server promised, and sound?"""

import base64
import binascii
import contextlib
import hashlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

_CHUNK_BYTES = 1 << 20
_MD5 = re.compile(r'"([0-9a-f]{32})"')


class ChecksumError(Exception):
    """The bytes are not those that the server has."""


class DamageError(Exception):
    """A gzip file that is not sound; `digest` is of the bytes."""

    def __init__(self, message: str, digest: str) -> None:
        super().__init__(message)
        self.digest = digest


def promised_checksums(headers: Mapping[str, str]) -> dict[str, str]:
    """Checksums of the whole file in a response's headers: name -> hexadecimal digits.

    `Content-MD5` (RFC 1864), `x-amz-checksum-*` of S3 and `x-goog-hash` of Google; S3's ETag is
    an MD5 if the file was stored in one part and without a key of its own.
    """
    found: dict[str, str] = {}

    def add(name: str, value: str) -> None:
        with contextlib.suppress(binascii.Error):  # of several parts, or nothing we know
            found[name] = base64.b64decode(value, validate=True).hex()

    if value := headers.get("Content-MD5"):
        add("md5", value)
    for name in ("sha256", "sha1", "crc32"):
        if value := headers.get(f"x-amz-checksum-{name}"):
            add(name, value)
    for item in headers.get("x-goog-hash", "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "md5":
            add("md5", value)
    etag = _MD5.fullmatch(headers.get("ETag", ""))
    is_s3 = "x-amz-request-id" in headers or headers.get("Server", "") == "AmazonS3"
    is_keyed = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    if etag and is_s3 and not is_keyed:
        found.setdefault("md5", etag.group(1))
    return found


def check_content(
    path: Path, checksums: Mapping[str, str], *, is_gzip: bool
) -> tuple[str, tuple[str, ...]]:
    """The xxh3-128 of a file and the names of what it was held against, in one reading.

    gzip's own checksums are looked at only where there is no other.

    Raises:
        ChecksumError: a checksum differs.
        DamageError: not sound as gzip.
    """
    content = xxhash.xxh3_128()
    states = {name: _Crc32() if name == "crc32" else hashlib.new(name) for name in checksums}
    gzip = _GzipCheck() if is_gzip and not checksums else None
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            content.update(chunk)
            for state in states.values():
                state.update(chunk)
            if gzip is not None:
                gzip.update(chunk)
    for name, state in states.items():
        if state.hexdigest() != checksums[name]:
            raise ChecksumError(
                f"its {name} is {state.hexdigest()}, the server promised {checksums[name]}"
            )
    if gzip is not None and (problem := gzip.problem()):
        raise DamageError(problem, content.hexdigest())
    return content.hexdigest(), (*states, *(["gzip"] if gzip is not None else []))


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _GzipCheck:
    """Walks through all members, comparing length and CRC of each, in bounded memory."""

    def __init__(self) -> None:
        self._decoder: Any = zlib.decompressobj(wbits=31)
        self._members = 0
        self._is_within = False
        self._damage = ""

    def update(self, data: bytes) -> None:
        while data and not self._damage:
            try:
                self._decoder.decompress(data, 1 << 20)
            except zlib.error as error:
                self._damage = f"its gzip member {self._members} is damaged: {error}"
                return
            self._is_within = True
            if self._decoder.eof:
                self._members += 1
                self._is_within = False
                data = self._decoder.unused_data
                self._decoder = zlib.decompressobj(wbits=31)
            else:
                data = self._decoder.unconsumed_tail

    def problem(self) -> str:
        if self._is_within and not self._damage:
            return f"its gzip member {self._members} is cut off"
        return self._damage
