"""The document contract: clean text in Parquet, one row a document."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tongwen.errors import InputError

DOCUMENT_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),  # xxh3-128 of the record's origin, 32 hexadecimal digits
        ("url", pa.string()),
        ("host", pa.string()),
        ("date", pa.string()),  # ISO 8601, UTC; empty when unknown
        ("lang", pa.string()),  # en, zh-Hans, zh-Hant, code
        ("title", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("warc_file", pa.string()),  # name of the file it came from
        ("warc_offset", pa.int64()),  # byte offset of the record, or row number
        ("license", pa.string()),
    ]
)


def document_files(directory: Path) -> list[Path]:
    """The Parquet files of documents in `directory`, in order.

    Raises:
        InputError: there are none.
    """
    files = sorted(directory.glob("documents/*.parquet")) or sorted(directory.glob("*.parquet"))
    if not files:
        raise InputError(
            f"no documents (*.parquet) in {directory}", hint="run `tongwen curate` first"
        )
    return files


def document_batches(
    path: Path,
    columns: list[str] | None = None,
    *,
    batch_rows: int = 1024,
    row_groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of one Parquet file of documents, a batch in memory at a time.

    Args:
        path: of the file.
        columns: to read; all of the contract when None.
        batch_rows: rows in memory, at most.
        row_groups: to read; all when None.

    Raises:
        InputError: not Parquet, cut off, or a column of the contract is missing or has nulls.
    """
    needed = columns or DOCUMENT_SCHEMA.names
    try:
        file = pq.ParquetFile(path)
        if missing := [name for name in needed if name not in file.schema_arrow.names]:
            raise InputError(
                f"{path} has no column {missing[0]!r}",
                hint=f"documents have the columns {', '.join(DOCUMENT_SCHEMA.names)}",
            )
        for batch in file.iter_batches(
            batch_size=batch_rows, columns=needed, row_groups=row_groups
        ):
            for name in needed:
                if batch[name].null_count:
                    raise InputError(f"{path} has a row without a value in {name!r}")
            yield batch
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot read the documents {path}: {error}") from error


def row_group_ranges(path: Path, text_bytes: int) -> list[tuple[int, int]]:
    """Cut one Parquet file of documents at its row groups: (first, the one after the last).

    A range ends with the row group that brings the column `text`, before compression, to
    `text_bytes`; a row group is never cut.

    Raises:
        InputError: not Parquet, or cut off.
    """
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"cannot read the documents {path}: {error}") from error
    ranges = []
    first = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(place) for place in range(group.num_columns)]
        size += sum(
            item.total_uncompressed_size for item in columns if item.path_in_schema == "text"
        )
        if size >= text_bytes or number + 1 == metadata.num_row_groups:
            ranges.append((first, number + 1))
            first, size = number + 1, 0
    return ranges


def read_documents(directory: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Documents of a curate folder as dictionaries, in file order, a batch in memory at a time."""
    for path in document_files(directory):
        for batch in document_batches(path, columns):
            yield from batch.to_pylist()


def draw(name: str, purpose: str) -> float:
    """A number in [0, 1), uniform over names, the same in every run and on every machine.

    Draws of one name for two purposes are independent, so that a document held out for
    validation is neither more nor less likely to be in the tokenizer's sample.
    """
    return (xxhash.xxh3_64_intdigest(f"{purpose}\0{name}".encode()) >> 11) / (1 << 53)
