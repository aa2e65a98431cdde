"""WARC and WET files (ISO 28500), plain or gzip, whole or damaged.

We parse the format ourselves: of two libraries tried on 43 real files one stops at the first
malformed record and ends a clipped file without a word, the other refuses several of them.
"""

from collections.abc import Iterator
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.readers.http import MessageProblem, read_message
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.readers.stream import RecordStream
from tongwen.formats.records import RawRecord

_PAGE_TYPES = frozenset({"response", "resource", "conversion"})
_TEXT_TYPES = frozenset({"", "text/html", "application/xhtml+xml", "text/plain"})
_CRAWLER_SCHEMES = ("metadata:", "urn:", "dns:", "whois:")  # the crawler's own notes, no pages
_MAXIMUM_HEAD_BYTES = 1 << 20
_OTHER_FORMATS = {
    b"filedesc:": "an ARC file",
    b"\x04\x22\x4d\x18": "compressed with LZ4",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"BZh": "compressed with bzip2",
    b"PK\x03\x04": "a ZIP archive",
}


def read_warc(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The pages of a WARC or WET file.

    Records of type response, resource and conversion are given; the others are counted in
    `options.counts.skipped`. Problems: `truncated` (the body as far as it goes), `malformed`,
    `too_large`, `bomb`, `content_type`, `http_status`, `bad_encoding`, `quarantined`.

    Raises:
        InputError: the file cannot be opened or holds no WARC record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with file:
        stream = RecordStream(file)
        seen, cut_is_told = 0, False
        while stream.next_record():
            head = stream.read_head(_MAXIMUM_HEAD_BYTES)
            fields = _parse_head(head)
            if fields is not None:
                seen += 1
                for record in _records_of(path, stream, fields, options):
                    cut_is_told = record.problem == "truncated"
                    yield record
                stream.skip_rest()
                continue
            if not seen:
                _refuse_other_formats(path, head)
            else:
                cut_is_told = stream.at_end
                problem = "truncated" if stream.at_end else "malformed"
                yield options.record(path, stream.offset, url="", problem=problem)
            stream.resynchronize()
        if not seen:
            raise InputError(
                f"{path} holds no WARC record",
                hint="is it a .warc, .warc.gz or .wet.gz file, downloaded whole?",
            )
        if stream.is_cut and not cut_is_told:
            yield options.record(path, stream.cut_offset, url="", problem="truncated")


def _parse_head(head: bytes) -> dict[str, str] | None:
    """The named fields of a record in lower case, None when this is no record head."""
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
    """The page in the record in hand, if it holds one."""
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
