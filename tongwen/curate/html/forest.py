"""Boosted trees: their file, and what they say of rows of numbers, compiled."""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.errors import InputError
from tongwen.kernels import inner

_MAGIC = b"tongwen forest 1\n"
_KINDS = ("<i4", "<i2", "<f4", "<u2")


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


@inner
def add_log_odds(forest: Any, rows: Any, count: int, out: Any) -> None:
    """Add to `out` the leaves that each of the first `count` rows falls into, tree by tree."""
    for root in forest.roots:
        for n in range(count):
            node = np.int64(root)
            feature = forest.features[node]
            while feature >= 0:
                is_right = rows[n, feature] > forest.values[node]
                node = root + np.int64(forest.lefts[node]) + np.int64(is_right)
                feature = forest.features[node]
            out[n] += forest.values[node]


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
