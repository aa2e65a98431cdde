"""HTML and plain-text files: one record a file."""

from collections.abc import Iterator
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.charset.decode import decode
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.records import RawRecord


def read_html(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The page in an HTML file. Problems: `too_large`, `quarantined`."""
    body, problem = read_body(path, options)
    yield options.record(
        path, 0, url=path.resolve().as_uri(), body=body, problem=problem, content_type="text/html"
    )


def read_text(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The text in a plain-text or Markdown file, whatever its encoding.

    Problems: `too_large`, `quarantined`, `content_type` (it is a ZIP archive, an image, ...).
    """
    body, problem = read_body(path, options)
    yield text_record(path, options, body, problem)


def text_record(
    path: Path,
    options: ReadOptions,
    body: bytes,
    problem: str | None,
    *,
    offset: int = 0,
    url: str = "",
) -> RawRecord:
    """A record of plain text in any encoding, decoded."""
    url, charset = url or path.resolve().as_uri(), ""
    if problem is None and body:
        if not is_plain(body):
            body, problem = b"", "content_type"
        else:
            decoded = decode(body, "")
            charset = decoded.encoding
            body = decoded.text.encode("utf-8", "replace")
    return options.record(
        path, offset, url=url, body=body, problem=problem, is_text=True, charset=charset
    )


def read_body(
    path: Path, options: ReadOptions, limit_bytes: int = MAXIMUM_BODY_BYTES
) -> tuple[bytes, str | None]:
    """A whole file and None, or nothing and the problem: `too_large`, `quarantined`.

    Raises:
        InputError: it cannot be read.
    """
    if options.is_quarantined(path, 0):
        return b"", "quarantined"
    try:
        with path.open("rb") as file:
            body = file.read(limit_bytes + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return (body, None) if len(body) <= limit_bytes else (b"", "too_large")


def is_plain(body: bytes) -> bool:
    """Whether bytes are text in some encoding: not an archive, a picture, a program, ..."""
    # Imported here: reading web archives takes none of it.
    from tongwen.formats.kinds import kind_of_bytes

    if body.startswith(b"PK\x03\x04"):
        return False
    return kind_of_bytes(body[: 1 << 16], ".txt").format in ("text", "html", "jsonl", "json", "csv")
