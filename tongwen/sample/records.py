"""WARC/1.0 records with the same bytes on every run: one gzip member a record."""

import struct
import uuid
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

CRAWL_START = datetime(2025, 3, 14, 6, 0, 0, tzinfo=UTC)
"""Every date in the sample web counts from here, so that the bytes do not depend on the day."""

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, time 0, unknown OS


def gzip_member(data: bytes) -> bytes:
    """One gzip member (RFC 1952) without a time stamp or the name of the machine's system."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(data) + deflate.flush()
    return _GZIP_HEADER + body + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)


def http_response(status: str, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """The bytes a server sent: status line, headers, body."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _record(headers: Sequence[tuple[str, str]], block: bytes) -> bytes:
    lines = ["WARC/1.0", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(block)}", "", ""]
    return "\r\n".join(lines).encode("utf-8") + block + b"\r\n\r\n"


def _record_id(name: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"


def _date(seconds: int) -> str:
    return (CRAWL_START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def warcinfo_record(file_name: str) -> bytes:
    """The first record of a file: who wrote it and how."""
    block = (
        b"software: tongwen sample web\r\n"
        b"format: WARC File Format 1.0\r\n"
        b"description: a small invented bilingual web with known truth\r\n"
    )
    headers = [
        ("WARC-Type", "warcinfo"),
        ("WARC-Date", _date(0)),
        ("WARC-Filename", file_name),
        ("WARC-Record-ID", _record_id(f"warcinfo:{file_name}")),
        ("Content-Type", "application/warc-fields"),
    ]
    return _record(headers, block)


def response_record(url: str, response: bytes, *, seconds: int, truncated: bool = False) -> bytes:
    """A response record; `truncated` says in its header that the crawler stopped reading."""
    headers = [
        ("WARC-Type", "response"),
        ("WARC-Target-URI", url),
        ("WARC-Date", _date(seconds)),
        ("WARC-Record-ID", _record_id(url)),
        ("WARC-IP-Address", "192.0.2.7"),
        ("Content-Type", "application/http; msgtype=response"),
    ]
    if truncated:
        headers.append(("WARC-Truncated", "length"))
    return _record(headers, response)
