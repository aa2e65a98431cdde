"""HTML and plain-text files: one record a file."""

from collections.abc import Iterator
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, ReadOptions
from tongwen.formats.records import RawRecord


def read_html(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The page in an HTML file."""
    yield _read_whole(path, options, "text/html")


def read_text(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The text in a plain-text or Markdown file, which need not be UTF-8."""
    yield _read_whole(path, options, "text/plain")


def _read_whole(path: Path, options: ReadOptions, content_type: str) -> RawRecord:
    """The file as one record; problems: `too_large`, `quarantined`."""
    url = path.resolve().as_uri()
    body, problem = b"", None
    if options.is_quarantined(path, 0):
        problem = "quarantined"
    else:
        try:
            with path.open("rb") as file:
                body = file.read(MAXIMUM_BODY_BYTES + 1)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        if len(body) > MAXIMUM_BODY_BYTES:
            body, problem = b"", "too_large"
    is_text = content_type == "text/plain" and _is_utf8(body)
    return options.record(
        path, 0, url=url, body=body, problem=problem, content_type=content_type, is_text=is_text
    )


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
