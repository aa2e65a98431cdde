"""Boosted trees: their file, and what they say of rows of numbers, compiled.

Rows are scored many at a time and feature by feature, without a walk down each tree: a node that a
row passes on the right takes away the leaves on its left, and the first leaf that remains is the
row's (QuickScorer, Lucchese et al. 2015, doi:10.1145/2766462.2767733; of several rows at once 2016,
doi:10.1145/2911451.2914758). The sums are those of a walk, to the last bit.
"""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.cpython.unsafe.numbers import trailing_zeros

from tongwen.errors import InputError
from tongwen.kernels import inner

_MAGIC = b"tongwen forest 1\n"
_KINDS = ("<i4", "<i2", "<f4", "<u2")
MOST_LEAVES = 32
"""Of a tree: a bit each."""
LANES = 16
"""Rows that are scored at once: what they need is then in the nearest cache."""
ALL_LEAVES = np.uint32(0xFFFFFFFF)


class Forest(NamedTuple):
    """Trees whose leaves are added up to log-odds.

    Attributes:
        roots: node that each tree begins with.
        features: column that a node looks at; -1 for a leaf.
        values: a node goes left where the column is at most this; a leaf's own value.
        lefts: the left node; the right one is behind it.
    """

    roots: npt.NDArray[np.int32]
    features: npt.NDArray[np.int16]
    values: npt.NDArray[np.float32]
    lefts: npt.NDArray[np.uint16]


class Layout(NamedTuple):
    """A forest as it is scored: its inner nodes by column, then by limit.

    Attributes:
        columns: that are looked at.
        starts: the first node of each of these columns, and behind them the number of nodes.
        limits: a row with more than this in the column goes right.
        trees: that a node is part of.
        masks: leaves of the tree that remain for a row that goes right, a bit each.
        leaves: [trees, 32], from the left.
    """

    columns: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    limits: npt.NDArray[np.float32]
    trees: npt.NDArray[np.int64]
    masks: npt.NDArray[np.uint32]
    leaves: npt.NDArray[np.float32]


def layouts_of(forests: Iterable[Forest]) -> tuple[Layout, ...]:
    """Forests as they are scored; raises `InputError` for trees of more than 32 leaves."""
    return tuple(map(_layout_of, forests))


def _layout_of(forest: Forest) -> Layout:
    leaves = np.zeros((len(forest.roots), MOST_LEAVES), np.float32)
    nodes: list[tuple[int, float, int, int]] = []
    for tree, root in enumerate(forest.roots.tolist()):
        _lay_out(forest, tree, root, root, 0, leaves, nodes)
    nodes.sort()
    columns = sorted({column for column, *_ in nodes})
    starts = np.searchsorted([column for column, *_ in nodes], columns)
    return Layout(
        np.array(columns, np.int64), np.append(starts, len(nodes)).astype(np.int64),
        np.array([limit for _, limit, *_ in nodes], np.float32),
        np.array([tree for *_, tree, _ in nodes], np.int64),
        np.array([mask for *_, mask in nodes], np.uint32), leaves,
    )  # fmt: skip


def _lay_out(
    forest: Forest, tree: int, root: int, node: int, first: int, leaves: Any,
    nodes: list[tuple[int, float, int, int]],
) -> int:  # fmt: skip
    """Number the leaves below a node from `first` on; the number behind the last."""
    if forest.features[node] < 0:
        if first == MOST_LEAVES:
            raise InputError(
                f"a tree has more than {MOST_LEAVES} leaves",
                hint="train again with tongwen curate train-extractor",
            )
        leaves[tree, first] = forest.values[node]
        return first + 1
    left = root + int(forest.lefts[node])
    middle = _lay_out(forest, tree, root, left, first, leaves, nodes)
    mask = (1 << MOST_LEAVES) - 1 & ~((1 << middle) - (1 << first))
    nodes.append((int(forest.features[node]), float(forest.values[node]), tree, mask))
    return _lay_out(forest, tree, root, left + 1, middle, leaves, nodes)


@inner
def log_odds(layout: Any, rows: Any, remaining: Any, out: Any) -> None:
    """Write the sum of the leaves of each row to `out`.

    `rows` is [columns, LANES], and `remaining` is scratch, [trees, LANES].
    """
    remaining[:] = ALL_LEAVES
    for place in range(len(layout.columns)):
        column = rows[layout.columns[place]]
        highest = column[0]
        for lane in range(len(column)):
            highest = max(highest, column[lane])
        for node in range(layout.starts[place], layout.starts[place + 1]):
            limit = layout.limits[node]
            if limit >= highest:
                break
            own, mask = remaining[np.uint64(layout.trees[node])], layout.masks[node]
            # As `len`, for a number that is known when it is compiled keeps it from being
            # vectorised: five times slower (2026-12).
            for lane in range(len(own)):
                own[lane] &= mask if column[lane] > limit else ALL_LEAVES
    out[:] = 0.0
    for tree in range(len(layout.leaves)):
        leaves, own = layout.leaves[tree], remaining[tree]
        for lane in range(len(own)):
            first: Any = trailing_zeros(own[lane])  # type: ignore[call-arg]  # typed as its builder
            out[lane] += leaves[np.uint64(first)]


def write_forests(path: Path, forests: tuple[Forest, ...], columns: int) -> None:
    """Forests in one file, the same bytes for the same trees."""
    buffer = BytesIO()
    buffer.write(_MAGIC + f"{len(forests)} {columns}\n".encode())
    for forest in forests:
        buffer.write(f"{len(forest.roots)} {len(forest.features)}\n".encode())
        for array, kind in zip(forest, _KINDS, strict=True):
            buffer.write(np.asarray(array).astype(kind).tobytes())
    path.write_bytes(buffer.getvalue())


def read_forests(path: Path, columns: int) -> tuple[Forest, ...]:
    """What `write_forests` wrote; raises `InputError` for another file or other columns."""
    file = BytesIO(path.read_bytes())
    if file.readline() != _MAGIC:
        raise InputError(
            f"{path} is not a file of weights", hint="make one with tongwen curate train-extractor"
        )
    count, found = map(int, file.readline().split())
    if found != columns:
        raise InputError(
            f"{path} was trained on {found} numbers a block; this version looks at {columns}",
            hint="train again with tongwen curate train-extractor",
        )
    forests = []
    for _ in range(count):
        trees, nodes = map(int, file.readline().split())
        arrays = [
            np.frombuffer(file.read(size * length), kind).astype(kind[1:])
            for kind, size, length in (
                ("<i4", 4, trees), ("<i2", 2, nodes), ("<f4", 4, nodes), ("<u2", 2, nodes),
            )
        ]  # fmt: skip
        forests.append(Forest(*arrays))
    return tuple(forests)
