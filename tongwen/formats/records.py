"""The raw record: output of a crawl and input of curation, whatever file it came from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RawRecord:
    """One page or text as it was found.

    Attributes:
        url: of the page; for local files a `file:` URL or `FILE#ROW`.
        date: ISO 8601, UTC; empty when unknown.
        content_type: of the HTTP header, lower case, without parameters; `text/plain` for texts.
        charset: as in the HTTP header; empty when not given.
        body: the payload after transfer and content encoding are undone, never re-encoded.
        is_text: the body is UTF-8 plain text already, so that nothing is to be extracted.
        file: name of the file it came from.
        offset: byte offset of the record in that file, or its row number.
        problem: why the body is not whole (`truncated`, `bomb`, `too_large`, ...); None when it is.
        source, license: of the recipe's source.
    """

    url: str
    date: str
    content_type: str
    charset: str
    body: bytes
    is_text: bool
    file: str
    offset: int
    problem: str | None = None
    source: str = ""
    license: str = ""
