"""One number for each record of a run: task << 40 | row, which grows in the order of the inputs."""

from typing import Any

import numpy as np
import numpy.typing as npt

_ROW_BITS = 40  # leaves 24 bits for tasks: 16 million tasks of 10¹² rows


def record_numbers(task: int, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The numbers of records by their rows in the output of an extraction task."""
    return rows.astype(np.uint64) | np.uint64(task << _ROW_BITS)


def task_and_row(record: int) -> tuple[int, int]:
    """Where a record is."""
    return record >> _ROW_BITS, record & ((1 << _ROW_BITS) - 1)


def tasks_and_rows(
    records: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where some records are."""
    rows = records & np.uint64((1 << _ROW_BITS) - 1)
    return (records >> np.uint64(_ROW_BITS)).astype(np.int64), rows.astype(np.int64)
