"""WARC and WET files (ISO 28500) and the older ARC, plain or compressed, whole or damaged.

We parse the format ourselves: of two libraries tried on 43 real files one stops at the first
malformed record and ends a clipped file without a word, the other refuses several of them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from tongwen.errors import InputError
from tongwen.formats.readers.arc import read_arc_head
from tongwen.formats.readers.http import MessageProblem, read_message
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, Piece, ReadOptions
from tongwen.formats.readers.packed import PackedFile, opened
from tongwen.formats.readers.stream import ARC_START, RecordStream
from tongwen.formats.records import RawRecord

_PAGE_TYPES = frozenset({"response", "resource", "conversion"})
_TEXT_TYPES = frozenset({"", "text/html", "application/xhtml+xml", "text/plain"})
_CRAWLER_SCHEMES = ("metadata:", "urn:", "dns:", "whois:")  # the crawler's own notes, no pages
_MAXIMUM_HEAD_BYTES = 1 << 20
_OTHER_FORMATS = {b"BZh": "compressed with bzip2", b"PK\x03\x04": "a ZIP archive"}
_FieldReader = Callable[[RecordStream], dict[str, str] | None]
"""Reads the head of the current record; returns its fields, or None when it makes no sense."""


def read_warc(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The pages of a WARC, WET or ARC file, or of a piece of it.

    Records of type response, resource and conversion are returned; the others are counted in
    `options.counts.skipped`. Problems: `truncated` (the body as far as it goes), `malformed`,
    `too_large`, `bomb`, `content_type`, `http_status`, `bad_encoding`, `quarantined`.

    Raises:
        InputError: the file cannot be opened or holds no record.
    """
    with opened(path) as file:
        stream, read_fields = _stream(file, options.piece)
        seen, cut_is_told = 0, False
        while True:
            has_record = stream.next_record()
            for offset in stream.take_lost():
                yield options.record(path, offset, url="", problem="malformed")
            if not has_record:
                break
            fields = read_fields(stream)
            if fields is not None:
                seen += 1
                for record in _records_of(path, stream, fields, options):
                    cut_is_told = record.problem == "truncated"
                    yield record
                stream.skip_rest()
                continue
            if not seen and options.piece.is_first:
                _refuse_other_formats(path, stream.peek(8))
            else:
                cut_is_told = stream.at_end
                problem = "truncated" if stream.at_end else "malformed"
                yield options.record(path, stream.offset, url="", problem=problem)
            stream.resynchronize()
        if not seen and options.piece.is_first:
            raise InputError(
                f"{path} holds no WARC record",
                hint="is it a .warc, .warc.gz, .wet.gz or .arc.gz file, downloaded whole?",
            )
        if stream.is_cut and not cut_is_told:
            yield options.record(path, stream.cut_offset, url="", problem="truncated")


def warc_piece_starts(path: Path, piece_bytes: int) -> Iterator[int]:
    """Where the pieces of a file begin after the first: every `piece_bytes`, at a record.

    The whole file is read as `read_warc` reads it, because nothing less distinguishes a record from
    one inside another's body. A compressed file is cut between gzip members only.

    Raises:
        InputError: the file cannot be opened.
    """
    with opened(path) as file:
        if isinstance(file, PackedFile):
            return  # nothing in it can be reached without what stands before
        stream, read_fields = _stream(file, Piece())
        target = piece_bytes
        while stream.next_record():
            if stream.offset >= target and stream.begins_member:
                yield stream.offset
                target = stream.offset + piece_bytes
            fields = read_fields(stream)
            if fields is None:
                stream.resynchronize()
            else:
                stream.begin_body(int(fields["content-length"]))
                stream.skip_rest()


def _stream(file: BinaryIO, piece: Piece) -> tuple[RecordStream, _FieldReader]:
    """The records of a file, and how to read the head of one."""
    beginning = RecordStream(file)
    if beginning.next_record() and beginning.peek(9) == b"filedesc:":
        return RecordStream(file, ARC_START, start=piece.start, end=piece.end), read_arc_head
    return RecordStream(file, start=piece.start, end=piece.end), _read_head


def _read_head(stream: RecordStream) -> dict[str, str] | None:
    return _parse_head(stream.read_head(_MAXIMUM_HEAD_BYTES))


def _parse_head(head: bytes) -> dict[str, str] | None:
    """The named fields of a record in lower case, None when this is not a record head."""
    lines = head.split(b"\n")
    if not lines[0].startswith(b"WARC/") or not head.endswith(b"\n"):
        return None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            key = name.decode("latin-1").strip().lower()
            fields.setdefault(key, value.decode("utf-8", "replace").strip())
    return fields if fields.get("content-length", "").isdecimal() else None


def _records_of(
    path: Path, stream: RecordStream, fields: dict[str, str], options: ReadOptions
) -> Iterator[RawRecord]:
    """The page in the current record, if it has one."""
    stream.begin_body(int(fields["content-length"]))
    kind = fields.get("warc-type", "").lower()
    url = fields.get("warc-target-uri", "").strip("<>").replace(" ", "%20")
    if kind not in _PAGE_TYPES or url.startswith(_CRAWLER_SCHEMES):
        options.counts.skipped[kind or "unknown"] += 1
        return
    date = fields.get("warc-date", "")
    offset = stream.offset
    if options.is_quarantined(path, offset):
        yield options.record(path, offset, url=url, date=date, problem="quarantined")
        return
    if stream.body_left > MAXIMUM_BODY_BYTES + _MAXIMUM_HEAD_BYTES:
        yield options.record(path, offset, url=url, date=date, problem="too_large")
        return
    payload, is_whole = stream.read_body()
    problem = None if is_whole and "warc-truncated" not in fields else "truncated"
    content_type, charset = _media_type(fields.get("content-type", ""))
    body = payload
    if kind == "response" and content_type == "application/http":
        try:
            message = read_message(payload, MAXIMUM_BODY_BYTES)
        except MessageProblem as error:
            yield options.record(path, offset, url=url, date=date, problem=problem or error.problem)
            return
        content_type, charset = _media_type(message.content_type)
        body = message.body
        if not message.is_whole:
            problem = "truncated"
        if problem is None and not 200 <= message.status < 300:
            problem = "http_status"
    if problem is None and content_type not in _TEXT_TYPES:
        problem = "content_type"
    if len(body) > MAXIMUM_BODY_BYTES:
        problem = "too_large"
    yield options.record(
        path,
        offset,
        url=url,
        date=date,
        content_type=content_type,
        charset=charset,
        body=body if problem in (None, "truncated") else b"",
        is_text=kind == "conversion",
        problem=problem,
    )


def _media_type(value: str) -> tuple[str, str]:
    """Content type in lower case and charset of a `Content-Type` value."""
    content_type, *parameters = value.split(";")
    charset = ""
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset" and not charset:
            charset = text.strip().strip("\"'").strip()
    return content_type.strip().lower(), charset


def _refuse_other_formats(path: Path, head: bytes) -> None:
    for magic, name in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise InputError(
                f"{path} is {name}, which is not supported",
                hint="convert it to .warc.gz with one gzip member a record",
            )
