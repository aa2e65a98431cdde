"""What every reader takes, and what it counts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tongwen.formats.records import RawRecord

MAXIMUM_BODY_BYTES = 20 << 20
"""A page or text that is larger, after decoding, is returned without its body."""


@dataclass(frozen=True)
class Piece:
    """A part of a file that is read separately; a record belongs to the piece in which it starts.

    Attributes:
        start: byte offset at which its first record begins; in Parquet its first row group.
        end: where the next piece begins; None for the end of the file.
        first_row: rows before it in the file; 0 where records are known by their byte offset.
        bytes: about what is to be read; for grouping only.
    """

    start: int = 0
    end: int | None = None
    first_row: int = 0
    bytes: int = 0

    @property
    def is_first(self) -> bool:
        return self.start == 0


@dataclass
class ReadCounts:
    """What was seen in one file or several.

    Attributes:
        records: records returned, whole or not.
        problems: records returned without a whole body, by problem.
        skipped: WARC records that hold no page, by type (`request`, `metadata`, `revisit`, ...).
    """

    records: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ReadOptions:
    """See `read_records`."""

    text_field: str
    source: str
    license: str
    mark: Callable[[str], None] | None
    skip: frozenset[str]
    counts: ReadCounts
    piece: Piece = Piece()

    def record(
        self,
        path: Path,
        offset: int,
        *,
        url: str,
        body: bytes = b"",
        problem: str | None = None,
        date: str = "",
        content_type: str = "text/plain",
        charset: str = "",
        is_text: bool = False,
        license: str = "",
    ) -> RawRecord:
        """A record of `path`, counted. Only a truncated body is handed on with a problem."""
        self.counts.records += 1
        if problem is not None:
            self.counts.problems[problem] += 1
        return RawRecord(
            url=url,
            date=date,
            content_type=content_type,
            charset=charset,
            body=body,
            is_text=is_text,
            file=path.name,
            offset=offset,
            problem=problem,
            source=self.source,
            license=license or self.license,
        )

    def is_quarantined(self, path: Path, offset: int) -> bool:
        """Whether to skip the record; otherwise it is marked as the current one."""
        item = f"{path.name}@{offset}"
        if item in self.skip:
            return True
        if self.mark is not None:
            self.mark(item)
        return False
