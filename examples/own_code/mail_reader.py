"""A reader: the letters of a mailbox file (mbox, RFC 4155), each a record."""

import mailbox
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

from tongwen.plugins import Record, reader


@reader(suffixes=[".mbox"])
def mbox(path: Path) -> Iterator[Record]:
    """The text of every letter; one without a text part is named, not passed over."""
    for letter in mailbox.mbox(path):
        part = next(
            (part for part in letter.walk() if part.get_content_type() == "text/plain"), None
        )
        address = "mid:" + letter["Message-ID"].strip("<>")
        if part is None:
            yield Record(url=address, problem="no_text")
            continue
        content = part.get_payload(decode=True)
        yield Record(
            text=content.decode(part.get_content_charset("utf-8"), "replace"),
            url=address,
            date=parsedate_to_datetime(letter["Date"]).isoformat(),
        )
