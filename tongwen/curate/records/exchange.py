"""Rows on their way between tasks: exchanges, and what the steps after decisions share.

A map task writes each row to the part of its key in its one exchange file; the reduce task of a
partition reads that part of every map task's file. Which records are still open, which of two
copies is preferred and the form of the edits are the same for all steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tongwen.curate.records.edits import Edits
from tongwen.curate.records.numbering import record_numbers, tasks_and_rows
from tongwen.flow.exchange import Part, PartFile, write_part_file

PREFERENCE = np.dtype([("first", "<u8"), ("second", "<u8")])
"""Which of two documents is kept: the one whose numbers come first."""

CHUNK_ROWS = 1 << 18
_MOST_CHARACTERS = (1 << 40) - 1


def open_records(decisions: Path, duplicates: Sequence[Path], task: int) -> npt.NDArray[np.int64]:
    """Rows of one task, ascending, that neither the rules nor deduplication have dropped.

    Args:
        decisions: of this task.
        duplicates: `duplicates.parquet` with the losses of the task; empty before there is one.
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


def blocks_of(records: npt.NDArray[np.uint64], blocks: Sequence[int]) -> npt.NDArray[np.int64]:
    """The block of each record; `blocks` holds the first extraction task of each block."""
    tasks = tasks_and_rows(records)[0]
    return np.searchsorted(np.array(blocks), tasks, "right") - 1


def write_parts(
    path: Path, rows: npt.NDArray[Any], partition: npt.NDArray[Any], partitions: int
) -> None:
    """Write rows to an exchange file, those of a partition in their order.

    `partition` holds the partition of each row, 0 to `partitions` - 1.
    """
    order, sizes = _by_partition(partition, partitions)
    write_part_file(path, sizes * rows.dtype.itemsize, rows[order].tobytes())


def _by_partition(
    partition: npt.NDArray[Any], partitions: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The order that brings rows together by their partition, and how many rows each has."""
    numbers = partition.astype(np.uint16)  # numpy has a radix sort for 16 bits
    return np.argsort(numbers, kind="stable"), np.bincount(numbers, minlength=partitions)


def read_parts(paths: Sequence[Path], partition: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The rows of one partition, read into one array: nothing is in memory twice."""
    parts = [Part(path, partition) for path in paths]
    rows = np.empty(sum(part.bytes for part in parts) // dtype.itemsize, dtype)
    start = 0
    for part in parts:
        end = start + part.bytes // dtype.itemsize
        part.read_into(rows[start:end].view(np.uint8).data)
        start = end
    return rows


def part_chunks(
    paths: Sequence[Path], partition: int, dtype: np.dtype[Any], most_rows: int | None = None
) -> Iterator[npt.NDArray[Any]]:
    """The rows of one partition, about `most_rows` (`CHUNK_ROWS`) at a time."""
    most_rows = most_rows or CHUNK_ROWS
    waiting: list[npt.NDArray[Any]] = []
    for path in paths:
        for data in Part(path, partition).chunks(most_rows * dtype.itemsize):
            waiting.append(np.frombuffer(data, dtype))
            if sum(map(len, waiting)) >= most_rows:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


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
    """Gathers arrays of rows and writes them to an exchange file, some megabytes at a time."""

    MOST_ROWS = 1 << 17

    def __init__(self, path: Path, dtype: np.dtype[Any], partitions: int) -> None:
        self.number = 0
        self._partitions = partitions
        self._none = np.zeros(0, dtype)
        self._waiting: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
        self._rows = 0
        self._file = PartFile(path, partitions)

    def add(self, rows: npt.NDArray[Any], partition: npt.NDArray[Any]) -> None:
        """Add rows, each with its partition."""
        self._waiting.append((rows, partition))
        self.number += len(rows)
        self._rows += len(rows)
        if self._rows > self.MOST_ROWS:
            self._flush()

    def add_by_key(self, rows: npt.NDArray[Any], keys: npt.NDArray[np.uint64]) -> None:
        """Add rows, each with the key that decides its partition."""
        self.add(rows, partition_of(keys, self._partitions))

    def _flush(self) -> None:
        rows = np.concatenate([self._none, *(rows for rows, _ in self._waiting)])
        targets = np.concatenate([np.zeros(0, np.uint16), *(each for _, each in self._waiting)])
        order, sizes = _by_partition(targets, self._partitions)
        present = np.flatnonzero(sizes)
        self._file.add(present, sizes[present] * rows.dtype.itemsize, rows[order].tobytes())
        self._waiting, self._rows = [], 0

    def close(self) -> None:
        """Write what waits, and the file."""
        self._flush()
        self._file.close()
