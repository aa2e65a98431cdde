"""Exchanges: each map task writes one file for all reduce tasks, each of which reads its own part.

The file begins with a table of offsets, so a part is two reads: its place, and its bytes. A file
for each part would be tasks x partitions files, more than most file systems hold for a large crawl.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tongwen.errors import InputError
from tongwen.flow.store import read_range

PARTS = "parts"
"""Name of the file where a task takes part in one exchange only."""

_MAGIC = b"TWparts1"
_ENTRY = np.dtype("<u8")
_COPY_BYTES = 1 << 22
_READ_BYTES = 16 << 20


class Part:
    """One part of an exchange file: a range of its bytes.

    Attributes:
        path: the file.
        start: where the part begins in it, in bytes.
        bytes: how long it is.
    """

    def __init__(self, path: Path, partition: int) -> None:
        self.path = path
        place = len(_MAGIC) + _ENTRY.itemsize
        head = read_range(path, 0, place)
        number = int.from_bytes(head[len(_MAGIC) :], "little")
        if head[: len(_MAGIC)] != _MAGIC or not 0 <= partition < number:
            raise InputError(
                f"{path} has no part {partition}",
                hint="it was written by another version; remove the stage's `tasks` folder",
            )
        bounds = read_range(path, place + partition * _ENTRY.itemsize, 2 * _ENTRY.itemsize)
        self.start, end = np.frombuffer(bounds, _ENTRY).tolist()
        self.bytes = end - self.start

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer of the part's size.

        Raises:
            InputError: the file ends before.
        """
        place = 0
        for data in self.chunks(_READ_BYTES):
            buffer[place : place + len(data)] = data
            place += len(data)

    def read(self) -> bytes:
        """The whole part."""
        return b"".join(self.chunks(_READ_BYTES))

    def chunks(self, size: int) -> Iterator[bytes]:
        """The part in pieces of `size` bytes; the last may be shorter.

        Raises:
            InputError: the file ends before.
        """
        for start in range(0, self.bytes, size):
            wanted = min(size, self.bytes - start)
            data = read_range(self.path, self.start + start, wanted)
            if len(data) != wanted:
                raise InputError(
                    f"{self.path} ends in the middle of a part", hint="run the stage again"
                )
            yield data


def write_part_file(path: Path, sizes: Sequence[int] | npt.NDArray[np.int64], data: bytes) -> None:
    """Write an exchange file from parts that follow one another in `data`, `sizes` bytes each."""
    with path.open("wb") as file:
        file.write(_header(sizes))
        file.write(data)


def _header(sizes: Sequence[int] | npt.NDArray[np.int64]) -> bytes:
    start = len(_MAGIC) + _ENTRY.itemsize * (len(sizes) + 2)
    offsets = start + np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
    return _MAGIC + len(sizes).to_bytes(8, "little") + offsets.astype(_ENTRY).tobytes()


class PartFile:
    """Writes an exchange file piece by piece, in any order of partitions.

    Pieces are appended to a hidden file and put in order of partitions at the end, so only their
    sizes are in memory. The pieces of a partition stay in the order in which they came.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        self._path = path
        self._partitions = partitions
        self._waiting_path = path.with_name(f".{path.name}.pieces")
        self._pieces: list[npt.NDArray[np.int64]] = []  # [of one call, (partition, start, bytes)]
        self._end = 0

    def add(
        self,
        partitions: Sequence[int] | npt.NDArray[np.int64],
        sizes: Sequence[int] | npt.NDArray[np.int64],
        data: bytes,
    ) -> None:
        """Append pieces that follow one another in `data`: their partitions and sizes in bytes."""
        if not data:
            return
        lengths = np.asarray(sizes, np.int64)
        starts = self._end + np.cumsum(lengths) - lengths
        pieces = np.column_stack([np.asarray(partitions, np.int64), starts, lengths])
        self._pieces.append(pieces[lengths > 0])
        with self._waiting_path.open("ab") as file:
            file.write(data)
        self._end += len(data)

    def close(self) -> None:
        """Write the file."""
        pieces = np.concatenate([np.zeros((0, 3), np.int64), *self._pieces])
        sizes = np.bincount(pieces[:, 0], weights=pieces[:, 2], minlength=self._partitions).astype(
            np.int64
        )  # exact: a double holds sizes to 9 PB
        with self._path.open("wb") as target:
            target.write(_header(sizes))
            if not len(pieces):
                return
            with self._waiting_path.open("rb") as source:
                for _, start, size in pieces[np.argsort(pieces[:, 0], kind="stable")].tolist():
                    source.seek(start)
                    for done in range(0, size, _COPY_BYTES):
                        target.write(source.read(min(_COPY_BYTES, size - done)))
        self._waiting_path.unlink()
