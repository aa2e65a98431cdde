"""Repeated paragraphs through an exchange, and what the steps about repeated pieces share.

A paragraph is a line of the extracted text. Of one that stands in several documents that are still
open, the copies in the preferred document stay and all others are cut: first source, longer text,
smaller doc_id, whatever the order of the inputs (CCNet, Wenzek et al. 2019, arXiv 1911.00359, drops
every later one and compares 64 bits of SHA-1; here it is 128 bits). Code and tables stay whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.records.edits import (
    KINDS,
    EditedText,
    Edits,
    apply,
    edits_between,
    no_edits,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.repeats.units import lines_of
from tongwen.errors import InputError
from tongwen.flow.task import TaskContext

PREFERENCE = np.dtype([("first", "<u8"), ("second", "<u8")])
"""Which of two documents is kept: the one whose numbers come first."""

_PARAGRAPH = np.dtype(
    [("key", "<u8", 2), ("preference", PREFERENCE), ("record", "<u8"), ("start", "<u4"),
     ("end", "<u4")]
)  # fmt: skip
_MOST_CHARACTERS = (1 << 40) - 1
_BATCH_ROWS = 256
_REPEATED_PARAGRAPH = KINDS.index("repeated_paragraph")


def open_records(decisions: Path, duplicates: Path, task: int) -> npt.NDArray[np.int64]:
    """Rows of one task, ascending, that neither the rules nor deduplication have dropped."""
    column = pq.read_table(decisions, columns=["drop_stage"])["drop_stage"]
    is_open = column.is_null().to_numpy().copy()
    lost = pq.read_table(duplicates, columns=["record"])["record"].to_numpy()
    first = record_numbers(task, np.zeros(1, np.int64))[0]
    low, high = np.searchsorted(lost, np.array([first, first + np.uint64(len(is_open))], np.uint64))
    is_open[(lost[low:high] - first).astype(np.int64)] = False
    return np.flatnonzero(is_open).astype(np.int64)


def preference(document: Mapping[str, Any], ranks: Mapping[str, int]) -> tuple[int, int]:
    """Sort key among copies: first source, longer text, smaller doc_id (its first 64 bits)."""
    length = _MOST_CHARACTERS - min(_MOST_CHARACTERS, len(document["text"]))
    return ranks[document["source"]] << 40 | length, int(document["doc_id"], 16) >> 64


def source_ranks(sources: Sequence[str]) -> dict[str, int]:
    """The place of each source in the list of inputs."""
    return {source: rank for rank, source in enumerate(sources)}


def chosen_documents(
    documents: Path,
    edit_files: Sequence[Path],
    task: int,
    columns: Sequence[str],
    rows: npt.NDArray[np.int64],
) -> Iterator[tuple[int, dict[str, Any], EditedText]]:
    """Row, document and edited text like `edits.edited_documents`, but of some rows (ascending)
    only; no Python object is made for the others.
    """
    file = pq.ParquetFile(documents)
    if len(rows) and int(rows[-1]) >= file.metadata.num_rows:
        raise InputError(
            f"{documents} has {file.metadata.num_rows} records, row {int(rows[-1])} is wanted",
            hint="the decisions are of another extraction; run the stage again from its first step",
        )
    numbers = record_numbers(task, np.array([0, max(file.metadata.num_rows - 1, 0)]))
    edits = edits_between(edit_files, int(numbers[0]), int(numbers[1]))
    lows = np.searchsorted(edits["record"], record_numbers(task, rows))
    highs = np.searchsorted(edits["record"], record_numbers(task, rows), "right")
    place = first = 0
    wanted = list(dict.fromkeys([*columns, "text"]))
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted):
        end = int(np.searchsorted(rows, first + batch.num_rows))
        if end > place:
            for document in batch.take(pa.array(rows[place:end] - first)).to_pylist():
                edited = apply(document["text"], edits[lows[place] : highs[place]])
                yield int(rows[place]), document, edited
                place += 1
        first += batch.num_rows


def write_parts(
    out: Path, rows: npt.NDArray[Any], keys: npt.NDArray[np.uint64], partitions: int
) -> None:
    """Add the rows to the file of their key's partition."""
    places = (keys >> np.uint64(32)) % np.uint64(partitions)
    for number in range(partitions):
        with (out / f"part-{number:05d}").open("ab") as file:
            file.write(rows[places == number].tobytes())


def read_parts(paths: Sequence[Path], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The rows of one partition, read into one array: nothing is in memory twice."""
    counts = [path.stat().st_size // dtype.itemsize for path in paths]
    rows = np.empty(sum(counts), dtype)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        with path.open("rb") as file:
            file.readinto(rows[start : start + count].view(np.uint8))  # type: ignore[arg-type]
        start += count
    return rows


def rows_between(
    paths: Sequence[Path], field: str, first: int, last: int, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Of files that are each sorted by a field of record numbers, the rows from first to last."""
    parts = [np.zeros(0, dtype)]
    for path in paths:
        every = np.load(path, mmap_mode="r")
        low, high = np.searchsorted(every[field], np.array([first, last + 1], np.uint64))
        parts.append(np.array(every[low:high]))
    return np.concatenate(parts)


def saved_edits(path: Path, edits: Edits) -> Edits:
    """Write edits in the order that all steps expect."""
    edits = np.sort(edits, order=["record", "start", "end"])
    np.save(path, edits)
    return edits


class PartWriter:
    """Gathers arrays of rows and writes them to partitions, some megabytes at a time."""

    _MOST_ROWS = 1 << 17

    def __init__(self, out: Path, dtype: np.dtype[Any], key: str, partitions: int) -> None:
        self.number = 0
        self._out, self._key, self._partitions = out, key, partitions
        self._waiting: list[npt.NDArray[Any]] = [np.zeros(0, dtype)]
        self._flush()

    def add(self, rows: npt.NDArray[Any]) -> None:
        self._waiting.append(rows)
        self.number += len(rows)
        if sum(map(len, self._waiting)) > self._MOST_ROWS:
            self._flush()

    def _flush(self) -> None:
        rows = np.concatenate(self._waiting)
        keys = rows[self._key]
        write_parts(
            self._out, rows, keys if keys.ndim == 1 else np.asarray(keys[:, 0]), self._partitions
        )
        self._waiting = [rows[:0]]

    def close(self) -> None:
        """Write what waits."""
        self._flush()


def map_paragraphs(context: TaskContext) -> Mapping[str, int]:
    """The longer lines of every record that is still open, partitioned by their hash.

    Inputs: `documents.parquet`, `decisions.parquet`, `duplicates.parquet`, files of edits.
    """
    documents, decisions, duplicates, *edit_files = context.inputs
    params = context.params
    task, ranks = params["task"], source_ranks(params["sources"])
    writer = PartWriter(context.out, _PARAGRAPH, "key", params["partitions"])
    chosen = open_records(decisions, duplicates, task)
    for row, document, edited in chosen_documents(
        documents, edit_files, task, ["doc_id", "source", "lang"], chosen
    ):
        if document["lang"] == "code":
            continue
        lines = lines_of(edited.text)
        long = np.flatnonzero(
            lines.is_prose & (lines.weights >= params["minimum_paragraph_letters"])
        )
        # What ends with a colon belongs to the list or the code below it.
        places = long[[edited.text[end - 1] not in ":：" for end in lines.ends[long].tolist()]]
        rows = np.zeros(len(places), _PARAGRAPH)
        rows["key"] = lines.keys[places]
        rows["preference"] = np.array(preference(document, ranks), PREFERENCE)
        rows["record"] = record_numbers(task, np.array([row]))
        rows["start"], rows["end"] = _extracted(edited, lines.starts[places], lines.ends[places])
        writer.add(rows)
    writer.close()
    return {"paragraphs": writer.number}


def _extracted(
    edited: EditedText, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[list[int], list[int]]:
    """Ranges of the extracted text for ranges of the edited one."""
    if len(edited.starts) == 1 and not edited.is_token[0]:
        shift = edited.origins[0]
        return (starts + shift).tolist(), (ends + shift).tolist()
    pairs = [
        edited.to_extracted(start, end)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return [low for low, _ in pairs], [high for _, high in pairs]


def cut_paragraphs(context: TaskContext) -> Mapping[str, int]:
    """Cut every copy that does not stand in the preferred document; writes `edits.npy`."""
    rows = read_parts(context.inputs, _PARAGRAPH)
    order = np.lexsort(
        (
            rows["record"],
            rows["preference"]["second"],
            rows["preference"]["first"],
            rows["key"][:, 1],
            rows["key"][:, 0],
        )
    )
    rows = rows[order]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (rows["key"][1:] != rows["key"][:-1]).any(axis=1)
    kept = rows["record"][is_first][np.cumsum(is_first) - 1]
    lost = rows[rows["record"] != kept]
    edits = no_edits(len(lost))
    for name in ("record", "start", "end"):
        edits[name] = lost[name]
    edits["kind"] = _REPEATED_PARAGRAPH
    edits = saved_edits(context.out / "edits.npy", edits)
    return {
        "paragraphs": len(rows),
        "cut": len(edits),
        "cut_characters": int((edits["end"].astype(np.int64) - edits["start"]).sum()),
    }
