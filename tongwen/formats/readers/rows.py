"""Texts in rows: JSON Lines (plain, gzip or Zstandard) and Parquet."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tongwen.errors import InputError
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES, Piece, ReadOptions
from tongwen.formats.records import RawRecord


def read_jsonl_records(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record a line; `url`, `date` and `license` of the row are taken over where it has them.

    Problems: `bad_json` (no JSON object), `no_text` (the text field is missing or no string),
    `too_large`, `truncated` (the compressed file ends early), `quarantined`.

    Raises:
        InputError: the file cannot be opened, or no line of it holds a text.
    """
    texts, fields, is_cut = 0, set[str](), False
    for number, line in enumerate(_lines(path, options.piece), options.piece.first_row):
        if line is None:
            is_cut = True
            yield options.record(path, number, url=_row_url(path, number), problem="truncated")
            break
        if not line.strip():
            continue
        record = _line_record(path, number, line, options, fields)
        texts += record.problem not in ("bad_json", "no_text")
        yield record
    if not options.piece.is_first:
        return  # that the first piece has no text is telling; of another it may be so
    if is_cut and not texts:
        raise InputError(
            f"{path} is cut off or damaged before its first text", hint="download it again"
        )
    if not texts:
        found = ", ".join(sorted(fields)[:10])
        raise InputError(
            f"no line of {path} has the text field {options.text_field!r}"
            + (f" (fields: {found})" if found else ""),
            hint="name the field that holds the text as `text_field` of the source",
        )


def read_parquet(path: Path, options: ReadOptions) -> Iterator[RawRecord]:
    """A record a row; `url`, `date` and `license` columns are taken over where there are any.

    A piece of the file is a range of its row groups.

    Raises:
        InputError: the file is no Parquet file, or has no such text column.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}") from error
    names = file.schema_arrow.names
    if options.text_field not in names:
        raise InputError(
            f"{path} has no column {options.text_field!r} (columns: {', '.join(names)})",
            hint="name the column that holds the text as `text_field` of the source",
        )
    columns = [name for name in (options.text_field, "url", "date", "license") if name in names]
    number = options.piece.first_row
    groups = range(options.piece.start, options.piece.end or file.num_row_groups)
    try:
        for batch in file.iter_batches(
            batch_size=256, row_groups=groups, columns=list(dict.fromkeys(columns))
        ):
            for row in batch.to_pylist():
                yield _row_record(path, number, row, options)
                number += 1
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} beyond row {number}: {error}") from error


def _lines(path: Path, piece: Piece) -> Iterator[bytes | None]:
    """The lines of a piece; None for the end of a compressed file that is cut off or damaged.

    A line that is longer than a text may be is given up to that length.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with raw:
        magic = raw.read(4)
        raw.seek(piece.start)
        position, end = piece.start, piece.end
        file: IO[bytes] = raw
        if magic.startswith(b"\x1f\x8b"):
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
        elif magic == b"\x28\xb5\x2f\xfd":
            reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
            file = io.BufferedReader(cast(io.RawIOBase, reader))
        limit = MAXIMUM_BODY_BYTES + (1 << 20)
        try:
            while (end is None or position < end) and (line := file.readline(limit)):
                yield line
                position += len(line)
                while len(line) == limit and not line.endswith(b"\n"):
                    line = file.readline(limit)
                    position += len(line)
        except (EOFError, OSError, zlib.error, zstandard.ZstdError):
            yield None


def _row_url(path: Path, number: int) -> str:
    return f"{path.resolve().as_uri()}#{number}"


def _line_record(
    path: Path, number: int, line: bytes, options: ReadOptions, fields: set[str]
) -> RawRecord:
    if len(line) > MAXIMUM_BODY_BYTES:
        return options.record(path, number, url=_row_url(path, number), problem="too_large")
    try:
        row = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        return options.record(path, number, url=_row_url(path, number), problem="bad_json")
    if len(fields) < 100:
        fields.update(row)
    return _row_record(path, number, row, options)


def _row_record(path: Path, number: int, row: dict[str, Any], options: ReadOptions) -> RawRecord:
    def text_of(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else "" if value is None else str(value)

    text = row.get(options.text_field)
    body, problem = b"", None
    if not isinstance(text, str):
        problem = "no_text"
    elif options.is_quarantined(path, number):
        problem = "quarantined"
    else:
        # A lone surrogate, which JSON can write, has no UTF-8 form.
        body = text.encode("utf-8", "replace")
        if len(body) > MAXIMUM_BODY_BYTES:
            body, problem = b"", "too_large"
    return options.record(
        path,
        number,
        url=text_of("url") or _row_url(path, number),
        date=text_of("date"),
        body=body,
        is_text=True,
        problem=problem,
        license=text_of("license"),
    )
