"""Web pages saved as one file (MHTML, RFC 2557): the page without its pictures and styles."""

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

from tongwen.formats.readers.options import ReadOptions
from tongwen.formats.readers.text import read_body
from tongwen.formats.records import RawRecord

_MAXIMUM_FILE_BYTES = 256 << 20


def read_mhtml(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """The first HTML part, with the address it was saved from where the file says so.

    Problems: `malformed` (no HTML part), `too_large`, `quarantined`.

    Raises:
        InputError: the file cannot be read.
    """
    body, problem = read_body(path, options, _MAXIMUM_FILE_BYTES)
    url, charset = path.resolve().as_uri(), ""
    if problem is None:
        page = _page(body)
        if page is None:
            body, problem = b"", "malformed"
        else:
            payload = page.get_payload(decode=True)
            body = payload if isinstance(payload, bytes) else b""
            charset = page.get_content_charset() or ""
            location = str(page["Content-Location"] or "")
            url = location if location.startswith(("http://", "https://")) else url
    yield options.record(
        path, 0, url=url, body=body, problem=problem, content_type="text/html", charset=charset
    )


def _page(data: bytes) -> EmailMessage | None:
    message = email.message_from_bytes(data, policy=email.policy.default)
    for part in message.walk():
        if part.get_content_type() in ("text/html", "application/xhtml+xml"):
            assert isinstance(part, EmailMessage)
            return part
    return None
