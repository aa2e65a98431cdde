"""Rows on their way between tasks: partitioned files, and what the steps after decisions share.

A map task writes each row to the part of its key; the reduce task of a partition reads that part of
every map task. Which records are still open, which of two copies is preferred and the form of the
edits are the same for all steps.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tongwen.curate.records.edits import Edits
from tongwen.curate.records.numbering import record_numbers

PREFERENCE = np.dtype([("first", "<u8"), ("second", "<u8")])
"""Which of two documents is kept: the one whose numbers come first."""

_MOST_CHARACTERS = (1 << 40) - 1


def open_records(decisions: Path, duplicates: Sequence[Path], task: int) -> npt.NDArray[np.int64]:
    """Rows of one task, ascending, that neither the rules nor deduplication have dropped.

    Args:
        decisions: of this task.
        duplicates: `duplicates.parquet` of all tasks; empty before there is one.
        task: number of the extraction task.
    """
    column = pq.read_table(decisions, columns=["drop_stage"])["drop_stage"]
    is_open = column.is_null().to_numpy().copy()
    first = record_numbers(task, np.zeros(1, np.int64))[0]
    for path in duplicates:
        lost = pq.read_table(path, columns=["record"])["record"].to_numpy()
        ends = np.array([first, first + np.uint64(len(is_open))], np.uint64)
        low, high = np.searchsorted(lost, ends)
        is_open[(lost[low:high] - first).astype(np.int64)] = False
    return np.flatnonzero(is_open).astype(np.int64)


def preference(document: Mapping[str, Any], ranks: Mapping[str, int]) -> tuple[int, int]:
    """Sort key among copies: first source, longer text, smaller doc_id (its first 64 bits)."""
    length = _MOST_CHARACTERS - min(_MOST_CHARACTERS, len(document["text"]))
    return ranks[document["source"]] << 40 | length, int(document["doc_id"], 16) >> 64


def source_ranks(sources: Sequence[str]) -> dict[str, int]:
    """The place of each source in the list of inputs."""
    return {source: rank for rank, source in enumerate(sources)}


def partition_of(keys: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.uint64]:
    """The partition of each key."""
    return (keys >> np.uint64(32)) % np.uint64(partitions)


def write_parts(
    out: Path, rows: npt.NDArray[Any], partition: npt.NDArray[Any], partitions: int
) -> None:
    """Append the rows of each partition, 0 to `partitions` - 1, to its file, in their order."""
    order = np.argsort(partition.astype(np.uint16), kind="stable")  # a radix sort for 16 bits
    bounds = np.searchsorted(partition[order], np.arange(partitions + 1))
    for number in range(partitions):
        with (out / f"part-{number:05d}").open("ab") as file:
            file.write(rows[order[bounds[number] : bounds[number + 1]]].tobytes())


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
        partition = partition_of(keys if keys.ndim == 1 else keys[:, 0], self._partitions)
        write_parts(self._out, rows, partition, self._partitions)
        self._waiting = [rows[:0]]

    def close(self) -> None:
        """Write what waits."""
        self._flush()
