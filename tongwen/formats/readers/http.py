"""An HTTP response as it went over the wire: headers, transfer and content encodings undone."""

import zlib
from dataclasses import dataclass

import brotli
import zstandard

# Only names the reason once the limit of bytes is passed: text packs 3 to 20 times.
_BOMB_RATIO = 100
_ENCODINGS_IN_A_ROW = 4  # servers send one, proxies add another; each can multiply the bytes


class MessageProblem(Exception):
    """The body cannot be decoded; `problem` is the record's problem."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class Message:
    """A response with its payload.

    Attributes:
        status: 0 when there is no status line.
        content_type: value of the header.
        body: the payload, never re-encoded.
        is_whole: False when an encoding ended early.
    """

    status: int
    content_type: str
    body: bytes
    is_whole: bool


def read_message(data: bytes, limit_bytes: int) -> Message:
    """Parse a response and undo its encodings.

    A body that is plainly not in the encoding its header names is taken as it is: crawlers
    often undo an encoding and leave the header.

    Raises:
        MessageProblem: `bomb` or `too_large` (more than `limit_bytes` once decompressed),
            `bad_encoding` (an encoding that is unknown, or data that it cannot be).
    """
    status, headers, body = _split(data)
    is_whole = True
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body, is_whole = _join_chunks(body)
    names = [name.strip().lower() for name in headers.get("content-encoding", "").split(",")]
    names = [name for name in names if name not in ("", "identity", "none", "utf-8")]
    if len(names) > _ENCODINGS_IN_A_ROW:
        raise MessageProblem("bad_encoding")
    for name in reversed(names):
        body, ended = _decompress(name, body, limit_bytes)
        is_whole = is_whole and ended
    return Message(status, headers.get("content-type", ""), body, is_whole)


def _split(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower-case names, the first of a name counts) and the rest."""
    if not data.startswith(b"HTTP/"):
        return 200, {}, data
    ends = [
        (position, len(blank))
        for blank in (b"\r\n\r\n", b"\n\n")
        if (position := data.find(blank)) >= 0
    ]
    position, blank_bytes = min(ends) if ends else (len(data), 0)
    lines = data[:position].decode("latin-1").split("\n")
    words = lines[0].split(None, 2)
    status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return status, headers, data[position + blank_bytes :]


def _join_chunks(body: bytes) -> tuple[bytes, bool]:
    """Undo chunked transfer encoding; False when the last chunk is missing."""
    parts: list[bytes] = []
    position = 0
    while True:
        line_end = body.find(b"\n", position, position + 1024)
        size_text = body[position:line_end].split(b";")[0].strip() if line_end >= 0 else b""
        try:
            size = int(size_text, 16)
        except ValueError:
            if not parts:
                return body, True  # the crawler has joined the chunks already
            return b"".join(parts), False
        if size <= 0:
            return b"".join(parts), size == 0
        start = line_end + 1
        parts.append(body[start : start + size])
        if start + size > len(body):
            return b"".join(parts), False
        position = start + size
        if body[position : position + 2] == b"\r\n":
            position += 2
        elif body[position : position + 1] == b"\n":
            position += 1


def _decompress(name: str, body: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """Undo one content encoding; False when the data ended early."""
    try:
        if name in ("gzip", "x-gzip"):
            if not body.startswith(b"\x1f\x8b"):
                return body, True
            text, ended = _inflate(body, 31, limit_bytes)
        elif name == "deflate":
            text, ended = _inflate_either(body, limit_bytes)
        elif name == "br":
            text, ended = _unbrotli(body, limit_bytes)
        elif name == "zstd":
            if not body.startswith(b"\x28\xb5\x2f\xfd"):
                return body, True
            with zstandard.ZstdDecompressor().stream_reader(
                body, read_across_frames=True
            ) as reader:
                text, ended = reader.read(limit_bytes + 1), True
        else:
            raise MessageProblem("bad_encoding")
    except (zlib.error, zstandard.ZstdError) as error:
        raise MessageProblem("bad_encoding") from error
    if len(text) > limit_bytes:
        is_bomb = len(text) > _BOMB_RATIO * len(body)
        raise MessageProblem("bomb" if is_bomb else "too_large")
    return text, ended


def _inflate(body: bytes, window_bits: int, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = zlib.decompressobj(wbits=window_bits)
    text = decoder.decompress(body, limit_bytes + 1)
    while decoder.eof and decoder.unused_data.startswith(b"\x1f\x8b") and len(text) <= limit_bytes:
        rest = decoder.unused_data
        decoder = zlib.decompressobj(wbits=window_bits)
        text += decoder.decompress(rest, limit_bytes + 1 - len(text))
    return text, decoder.eof


def _inflate_either(body: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    """`deflate` is zlib's format by the standard and raw deflate on many servers."""
    try:
        return _inflate(body, 15, limit_bytes)
    except zlib.error:
        try:
            return _inflate(body, -15, limit_bytes)
        except zlib.error:
            if body.lstrip()[:1] == b"<":
                return body, True
            raise


def _unbrotli(body: bytes, limit_bytes: int) -> tuple[bytes, bool]:
    decoder = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        part = decoder.process(body, output_buffer_limit=limit_bytes + 1)
        while True:
            parts.append(part)
            size += len(part)
            if size > limit_bytes or decoder.is_finished() or decoder.can_accept_more_data():
                break
            part = decoder.process(b"", output_buffer_limit=limit_bytes + 1 - size)
    except brotli.error as error:
        if body.lstrip()[:1] == b"<":  # brotli has no magic number
            return body, True
        raise MessageProblem("bad_encoding") from error
    return b"".join(parts), decoder.is_finished()
