"""Documents of a Python program on their way to curation: a file of records, and its reader.

The file is loaded by its path as any reader of a user's own, so it imports nothing but
`tongwen.plugins`.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tongwen.plugins import Record, reader

SUFFIX = ".spool"


def spool_line(record: Record, number: int) -> bytes:
    """One record as a line of JSON; one without an address is named by its number."""
    values = vars(record) | {
        "body": base64.b64encode(record.body).decode("ascii"),
        "url": record.url or f"document:{number}",
    }
    return json.dumps(values).encode("ascii") + b"\n"


@reader(suffixes=[SUFFIX])
def spooled(path: Path) -> Iterator[Record]:
    """The records of a file, in order."""
    with path.open("rb") as file:
        yield from _records(file)


def _records(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        values = json.loads(line)
        yield Record(**{**values, "body": base64.b64decode(values["body"])})
