"""Edits: which characters of an extracted text are cut out or replaced, and why.

Extraction writes a text once. Later steps (host templates, repeated spans, personal data,
contamination) never change it: they write edits in `edits.npy` (dtype `EDIT`), sorted by record and
start, and the last step applies them. Offsets are characters of the extracted text.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.records.numbering import record_numbers
from tongwen.errors import InputError

EDIT = np.dtype([("record", "<u8"), ("start", "<u4"), ("end", "<u4"), ("kind", "u1")])
Edits = npt.NDArray[Any]

KINDS = (
    "host_template", "repeated_paragraph", "repeated_span", "contamination",
    "email", "ip_address", "phone", "resident_id", "bank_card", "contact", "api_key",
)  # fmt: skip
"""Names of the kinds; an edit holds the place in this list."""

CUTS = frozenset(KINDS[:4])
"""Kinds that leave nothing behind; the others leave a token such as `[email]`."""

_BATCH_ROWS = 256  # whole texts held at once, against calls of Parquet
_BLANK_LINES = re.compile(r"\n{3,}")


def token_of(kind: str) -> str:
    """What the text has afterwards: nothing for a cut, else the kind in brackets."""
    return "" if kind in CUTS else f"[{kind.replace('_', '-')}]"


def no_edits(number: int = 0) -> Edits:
    """An array of `number` edits, all zero."""
    return np.zeros(number, EDIT)


def edits_between(files: Sequence[Path], first: int, last: int) -> Edits:
    """The edits of the records numbered first to last, from files that are each sorted."""
    parts = [no_edits()]
    for path in files:
        every = np.load(path, mmap_mode="r")
        low, high = np.searchsorted(every["record"], np.array([first, last + 1], np.uint64))
        parts.append(np.array(every[low:high]))
    found = np.concatenate(parts)
    found.sort(order=["record", "start", "end", "kind"])
    return found


@dataclass(frozen=True)
class EditedText:
    """A text with its edits applied, and the way back to the extracted text.

    Attributes:
        text: what is left.
        starts: where each piece begins in `text`, ascending.
        origins: where that piece begins in the extracted text.
        ends: where it ends there; a replacement's piece is the span it stands for.
        is_token: whether the piece is a replacement.
    """

    text: str
    starts: tuple[int, ...]
    origins: tuple[int, ...]
    ends: tuple[int, ...]
    is_token: tuple[bool, ...]

    def to_extracted(self, start: int, end: int) -> tuple[int, int]:
        """The range of the extracted text that a non-empty range of `text` came from. Cuts inside
        it are part of it; a range that touches a token takes in all the token stands for.
        """
        first = int(np.searchsorted(self.starts, start, "right")) - 1
        last = int(np.searchsorted(self.starts, end - 1, "right")) - 1
        low = self.origins[first]
        high = self.ends[last]
        if not self.is_token[first]:
            low += start - self.starts[first]
        if not self.is_token[last]:
            high = self.origins[last] + end - self.starts[last]
        return low, high


def apply(text: str, edits: Edits) -> EditedText:
    """Apply the edits of one record. Cuts win over replacements; of replacements that overlap the
    first, then the longer one is applied.
    """
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[int] = []
    ends: list[int] = []
    is_token: list[bool] = []
    length = position = 0

    def add(piece: str, origin: int, end: int, token: bool) -> None:
        nonlocal length
        if piece:
            pieces.append(piece)
            starts.append(length)
            origins.append(origin)
            ends.append(end)
            is_token.append(token)
            length += len(piece)

    for start, end, token in _spans(edits):
        add(text[position:start], position, start, False)
        add(token, start, end, True)
        position = end
    add(text[position:], position, len(text), False)
    return EditedText("".join(pieces), tuple(starts), tuple(origins), tuple(ends), tuple(is_token))


def _spans(edits: Edits) -> list[tuple[int, int, str]]:
    """Start, end and token of what is taken out: in order, without overlap."""
    cuts: list[list[int]] = []
    tokens: list[tuple[int, int, str]] = []
    for row in np.sort(edits, order=["start", "end"]).tolist():
        _, start, end, kind = row
        if KINDS[kind] not in CUTS:
            tokens.append((start, end, token_of(KINDS[kind])))
        elif cuts and start <= cuts[-1][1]:
            cuts[-1][1] = max(cuts[-1][1], end)
        else:
            cuts.append([start, end])
    spans = [(start, end, "") for start, end in cuts]
    ends = [end for _, end in cuts]
    free = 0  # no later token may begin before this
    for start, end, token in sorted(tokens, key=lambda span: (span[0], -span[1], span[2])):
        following = bisect_right(ends, start)  # the first cut that ends after the token begins
        is_clear = following == len(cuts) or end <= cuts[following][0]
        if start >= free and is_clear:
            spans.append((start, end, token))
            free = end
    return sorted(spans)


def tidy(text: str) -> str:
    """The final form of a text after cuts: no more than one blank line, none at the ends."""
    return _BLANK_LINES.sub("\n\n", text).strip()


def edited_documents(
    documents: Path,
    edit_files: Sequence[Path],
    task: int,
    columns: Sequence[str],
    rows: npt.NDArray[np.int64] | None = None,
) -> Iterator[tuple[int, dict[str, Any], EditedText]]:
    """Row, document and edited text of records of one extraction task, in order.

    Args:
        documents: the task's `documents.parquet`.
        edit_files: edits known so far, of any tasks.
        task: the number of the task.
        columns: columns of the document to read; `text` is always read.
        rows: which records, ascending; all when None. No Python object is made for the others.

    Raises:
        InputError: the file has fewer rows.
    """
    file = pq.ParquetFile(documents)
    total = file.metadata.num_rows
    rows = np.arange(total) if rows is None else rows
    if len(rows) and int(rows[-1]) >= total:
        raise InputError(
            f"{documents} has {total} records, row {int(rows[-1])} is wanted",
            hint="the decisions are of another extraction; run the stage again from its first step",
        )
    numbers = record_numbers(task, np.array([0, max(total - 1, 0)]))
    edits = edits_between(edit_files, int(numbers[0]), int(numbers[1]))
    lows = np.searchsorted(edits["record"], record_numbers(task, rows))
    highs = np.searchsorted(edits["record"], record_numbers(task, rows), "right")
    place = first = 0
    wanted = list(dict.fromkeys([*columns, "text"]))
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
        end = int(np.searchsorted(rows, first + batch.num_rows))
        if end - place == batch.num_rows:
            chosen = batch
        else:
            chosen = batch.take(pa.array(rows[place:end] - first))
        for document in chosen.to_pylist():
            edited = apply(document["text"], edits[lows[place] : highs[place]])
            yield int(rows[place]), document, edited
            place += 1
        first += batch.num_rows
