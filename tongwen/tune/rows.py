"""The rows of a user's file: JSON Lines, a JSON array, CSV, TSV or Parquet, in any encoding."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.errors import InputError
from tongwen.formats.charset.decode import decode
from tongwen.formats.kinds import FileKind, kind_of, kind_of_bytes, unpack_gzip
from tongwen.formats.readers.options import MAXIMUM_BODY_BYTES
from tongwen.formats.readers.rows import row_encoding, row_lines, without_separator_line
from tongwen.tune.layouts import has_dialogue, names_dialogue

READ = "JSON Lines, a JSON array, CSV, TSV or Parquet; JSON Lines also as .gz or .zst"
_MAXIMUM_JSON_BYTES = 1 << 30
_DELIMITERS = ",\t;|"
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Row:
    """A row of a file.

    Attributes:
        place: where it is, as `line 3` or `row 3`.
        value: its JSON value; of a table its cells by column.
        problem: why there is no value; None when there is one.
    """

    place: str
    value: Any = None
    problem: str | None = None


def file_rows(path: Path) -> Iterator[Row]:
    """All rows, except blank ones, of a file of any kind that `READ` names; content decides which.

    Raises:
        InputError: the file cannot be read, is empty or cut off, or is of another kind.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", hint="name the files in it")
    try:
        kind = kind_of(path)
    except InputError as error:
        raise InputError(
            f"cannot read the dialogues {path}: {error.message.rpartition(': ')[2]}",
            hint="look at tune.dialogues",
        ) from error
    if kind.name == "empty file":
        raise InputError(f"the dialogue file {path} is empty")
    if kind.format == "jsonl":
        return _opened(_json_lines(path))
    if kind.format == "parquet":
        return _parquet(path)
    if kind.format == "gzip":
        data = unpack_gzip(path)
        inner = Path(path.stem)
        return _unpacked(
            path, data, kind_of_bytes(data, inner.suffix.lower(), inner.name.lower()), inner
        )
    if kind.format not in ("json", "csv", "text"):
        raise InputError(
            f"{path} holds no dialogues that can be read: it is of the kind {kind.name}",
            hint=kind.hint or f"write it as {READ}",
        )
    return _unpacked(path, _read(path), kind, path)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAXIMUM_JSON_BYTES:
            raise InputError(
                f"{path} is one JSON value or table of more than {_MAXIMUM_JSON_BYTES >> 20} MiB",
                hint="write one object a line (JSON Lines): jq -c '.[]' file.json > file.jsonl",
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the dialogues {path}: {error.strerror}") from error


def _unpacked(path: Path, data: bytes, kind: FileKind, name: Path) -> Iterator[Row]:
    """The rows of a file that is read as a whole."""
    if not data.strip():
        raise InputError(f"the dialogue file {path} is empty")
    decoded = decode(data, "")
    text = decoded.text.lstrip("\ufeff")
    damage = None
    if decoded.replaced_characters:
        damage = f"bytes of it are not {decoded.encoding}, which the file seems to be in"
    if kind.format in ("json", "jsonl") or text.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return _json_lines(path)
        return _json_rows(path, value, damage)
    table = _table(text, is_table=kind.format == "csv")
    if table is not None:
        return _table_rows(path, table, damage)
    if name.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _json_lines(path)
    raise InputError(
        f"{path} holds no dialogues that can be read: it is plain text", hint=f"write it as {READ}"
    )


def _json_lines(path: Path) -> Iterator[Row]:
    encoding = _line_encoding(path)
    codec = "utf-8" if encoding.startswith("utf-16") else encoding  # given in UTF-8 then
    is_empty = True
    for number, line in enumerate(row_lines(path, encoding), start=1):
        place = f"line {number:,}"
        if line is None:
            raise InputError(
                f"{path} is cut off or damaged after line {number - 1:,}", hint="copy it again"
            )
        if not line.strip():
            continue
        if len(line) > MAXIMUM_BODY_BYTES:
            yield Row(place, problem=f"longer than {MAXIMUM_BODY_BYTES >> 20} MiB")
            continue
        is_empty = False
        try:
            text = line.decode(codec).strip().lstrip("\ufeff")
        except UnicodeDecodeError as error:
            yield Row(place, problem=f"byte {error.start + 1:,} is not {encoding.upper()}")
            continue
        try:
            if text:
                yield Row(place, json.loads(text))
        except (ValueError, RecursionError) as error:
            yield Row(place, problem=f"not JSON: {error}")
    if is_empty:
        raise InputError(f"the dialogue file {path} is empty")


def _line_encoding(path: Path) -> str:
    """The codec of a file's lines.

    A file of UTF-8 with a damaged line stays UTF-8: so it is when at least half of the lines that
    say anything about it are.
    """
    encoding = row_encoding(path)
    if encoding == "utf-8" or encoding.startswith("utf-16"):
        return encoding
    is_utf8, read = [], 0
    for line in row_lines(path, encoding):
        read += len(line or b"")
        if line is None or read > _HEAD_BYTES:
            break
        if not line.isascii():
            is_utf8.append(_is_utf8(line))
    return "utf-8" if sum(is_utf8) * 2 >= len(is_utf8) else encoding


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _opened(rows: Iterator[Row]) -> Iterator[Row]:
    """Rows; of a single one that is an object around an array of rows, those."""
    first = next(rows, None)
    if first is None:
        return iter(())
    second = next(rows, None)
    if second is not None:
        return chain((first, second), rows)
    inner = _inner_rows(first.value)
    if not isinstance(inner, list) or (len(inner) == 1 and inner[0] is first.value):
        return iter((first,))
    return _numbered(inner, None)


def _inner_rows(value: Any) -> Any:
    """The rows of a JSON value: an array, a single row, or the longest array of an object."""
    if has_dialogue(value):
        return [value]
    if not isinstance(value, dict):
        return value
    arrays = [
        item
        for item in value.values()
        if isinstance(item, list) and item and all(isinstance(row, dict | list) for row in item)
    ]
    return max(arrays, key=len, default=[value])


def _json_rows(path: Path, value: Any, damage: str | None) -> Iterator[Row]:
    rows = _inner_rows(value)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path} holds no JSON array of objects", hint=f"write it as {READ}")
    return _numbered(rows, damage)


def _numbered(rows: Sequence[Any], damage: str | None) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        is_damaged = damage and "\ufffd" in json.dumps(row, ensure_ascii=False)
        yield Row(f"row {number:,}", row, damage if is_damaged else None)


def _table(text: str, *, is_table: bool) -> list[list[str]] | None:
    """A table's cells with the delimiter that finds columns of dialogues, or most columns.

    Args:
        text: of the file.
        is_table: it is known to be one, so that columns need no known names.
    """
    csv.field_size_limit(MAXIMUM_BODY_BYTES)
    text, named = without_separator_line(text)
    headers = {
        delimiter: next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        for delimiter in _DELIMITERS
    }
    best = named or max(
        headers, key=lambda sign: (names_dialogue(headers[sign]), len(headers[sign]))
    )
    if not is_table and not names_dialogue(headers[best]):
        return None
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=best))


def _table_rows(path: Path, table: list[list[str]], damage: str | None) -> Iterator[Row]:
    header = [name.strip() for name in table[0]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            f"the header of {path} names {twice[0]!r} more than once",
            hint="rename or remove one of the columns",
        )
    for number, cells in enumerate(table[1:], start=1):
        place = f"row {number:,}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problem = f"{len(cells)} cells, but the header has {len(header)}"
            yield Row(place, problem=f"{problem}; a cell that holds the delimiter needs quotes")
        elif damage and any("\ufffd" in cell for cell in cells):
            yield Row(place, problem=damage)
        else:
            yield Row(place, dict(zip(header, cells, strict=True)))


def _parquet(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1_000):
            for row in batch.to_pylist():
                number += 1
                yield Row(f"row {number:,}", row)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}", hint="copy it again") from error
