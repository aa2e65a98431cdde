"""Where a large file can be cut so that its pieces are read apart from each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from tongwen.errors import InputError
from tongwen.formats.readers.options import Piece

_CHUNK_BYTES = 1 << 20


def split_file(path: Path, format: str, piece_bytes: int) -> list[Piece]:
    """Pieces of about `piece_bytes`, in order, which together have all records of the file.

    WARC files are cut at records (between gzip members when compressed), JSON Lines at lines when
    not compressed, Parquet at row groups. All else is one piece. A WARC file larger than
    `piece_bytes` is read whole, which for gzip takes about as long as `gzip -t`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        whole = [Piece(bytes=size)]
        if size <= piece_bytes:
            return whole
        if format in ("warc", "wet"):
            from tongwen.formats.readers.warc import warc_piece_starts

            starts = [(start, 0) for start in warc_piece_starts(path, piece_bytes)]
        elif format == "jsonl":
            starts = _line_starts(path, piece_bytes)
        elif format == "parquet":
            return _row_groups(path, piece_bytes) or whole
        else:
            return whole
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return _pieces(starts, size)


def _pieces(starts: Sequence[tuple[int, int]], size: int) -> list[Piece]:
    """The pieces between (offset, rows before it), the first of which is implied."""
    begins = [(0, 0), *starts]
    ends = [start for start, _ in starts]
    return [
        Piece(start=start, end=end, first_row=row, bytes=(size if end is None else end) - start)
        for (start, row), end in zip(begins, [*ends, None], strict=True)
    ]


def _line_starts(path: Path, piece_bytes: int) -> list[tuple[int, int]]:
    """Beginnings of lines, about `piece_bytes` apart, and the number of lines before each."""
    starts: list[tuple[int, int]] = []
    with path.open("rb") as file:
        if file.read(2) in (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff") or _is_zstandard(file):
            return starts  # compressed, or UTF-16, whose line ends are not single bytes
        file.seek(0)
        target, position, rows = piece_bytes, 0, 0
        while chunk := file.read(_CHUNK_BYTES):
            counted = 0  # bytes of the chunk whose line ends are in `rows`
            while target <= position + len(chunk):
                found = chunk.find(b"\n", max(counted, target - position - 1))
                if found < 0:
                    break
                rows += chunk.count(b"\n", counted, found + 1)
                counted = found + 1
                starts.append((position + counted, rows))
                target = position + counted + piece_bytes
            rows += chunk.count(b"\n", counted)
            position += len(chunk)
    if starts and starts[-1][0] == position:
        starts.pop()  # the end of the file begins no line
    return starts


def _is_zstandard(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(4) == b"\x28\xb5\x2f\xfd"


def _row_groups(path: Path, piece_bytes: int) -> list[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.ParquetFile(path).metadata
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}") from error
    pieces: list[Piece] = []
    start = first_row = row = filled = 0
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        row += group.num_rows
        filled += sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        if filled >= piece_bytes or index == metadata.num_row_groups - 1:
            pieces.append(Piece(start, index + 1, first_row, filled))
            start, first_row, filled = index + 1, row, 0
    return pieces
