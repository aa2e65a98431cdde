"""The preferred row of each group of rows, for partitions of any size.

Rows are read twice, some at a time: first for the best of each group, then to compare every row
with it. Memory grows with the groups of a partition, never with their members, so a text that half
of the crawl has is no exception.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
Keys = Callable[[Rows], tuple[npt.NDArray[Any], ...]]
"""Columns of some rows, as `numpy.lexsort` takes them: the last one decides first."""


def firsts_of_groups(
    chunks: Iterable[Rows], dtype: np.dtype[Any], group: Keys, place: Keys
) -> Rows:
    """The first row of each group, sorted by group.

    Args:
        chunks: all rows.
        dtype: of the rows.
        group: columns that are equal within a group.
        place: columns that order the rows of a group.
    """
    best = np.zeros(0, dtype)
    for rows in chunks:
        both = np.concatenate([best, rows])
        both = both[np.lexsort((*place(both), *group(both)))]
        best = both[_starts(group(both), len(both))]
    return best


def beside_firsts(chunks: Iterable[Rows], firsts: Rows, group: Keys) -> Iterator[tuple[Rows, Rows]]:
    """All rows, and for each of them the first row of its group."""
    for rows in chunks:
        columns = [np.concatenate(pair) for pair in zip(group(firsts), group(rows), strict=True)]
        is_row = np.arange(len(columns[0])) >= len(firsts)
        order = np.lexsort((is_row, *columns))
        owners = np.cumsum(~is_row[order]) - 1
        of_row = np.empty(len(rows), np.int64)
        chosen = is_row[order]
        of_row[order[chosen] - len(firsts)] = owners[chosen]
        yield rows, firsts[of_row]


def _starts(columns: tuple[npt.NDArray[Any], ...], number: int) -> npt.NDArray[np.bool_]:
    starts = np.zeros(number, bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return starts
