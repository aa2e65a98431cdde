"""Common Crawl's lists: which files or records of a crawl are wanted."""

import gzip
import json
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast
from urllib.parse import urljoin

import xxhash

from tongwen.crawl.settings import SelectSettings
from tongwen.errors import InputError

RECORDS_A_FILE = 100  # what a killed download fetches again, against the number of files
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Record:
    """One record by its place: a row of an index."""

    url: str
    filename: str
    offset: int
    length: int


@dataclass(frozen=True)
class Wanted:
    """What a list asks for: whole files, or records of files."""

    files: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()


def read_list(path: Path, select: SelectSettings, shown: str) -> Wanted:
    """The selected lines of a paths file or index, each once.

    Args:
        path: plain or gzip: a path a line, CDXJ, JSON Lines; or Parquet.
        select: which lines.
        shown: name of the list in messages.

    Raises:
        InputError: not readable, a line makes no sense, or nothing is selected.
    """
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        records = _selected(list(_table_records(path, shown)), select)
        return Wanted(records=_non_empty(records, shown, select))
    lines = _lines(path, shown)
    if lines and "{" in lines[0]:
        chosen = [_json_record(line, shown) for line in _selected(lines, select)]
        return Wanted(records=_non_empty(chosen, shown, select))
    chosen_paths = [_path(line, shown) for line in _selected(lines, select)]
    return Wanted(files=_non_empty(chosen_paths, shown, select))


def _non_empty(items: Sequence[_Item], shown: str, select: SelectSettings) -> tuple[_Item, ...]:
    if not items:
        raise InputError(f"nothing is selected of {shown} by {select}", hint="is the list empty?")
    return tuple(dict.fromkeys(items))


def _lines(path: Path, shown: str) -> list[str]:
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip else raw
            lines = [line.decode("utf-8").strip() for line in file]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the list {shown}: {error}", hint="was it downloaded whole?"
        ) from error
    return [line for line in lines if line]


def _selected(items: Sequence[_Item], select: SelectSettings) -> list[_Item]:
    chosen = list(items)
    if select.numbers:
        if (largest := max(select.numbers)) >= len(items):
            raise InputError(
                f"select.numbers names line {largest} of a list of {len(items)}",
                hint="lines count from 0",
            )
        chosen = [items[number] for number in sorted(set(select.numbers))]
    if select.every is not None:
        chosen = chosen[:: select.every]
    if select.sample is not None and select.sample < len(chosen):
        draw = random.Random(select.seed)
        chosen = [chosen[i] for i in sorted(draw.sample(range(len(chosen)), select.sample))]
    return chosen[: select.first]


def _path(line: str, shown: str) -> str:
    if any(character.isspace() for character in line) or ".." in line.split("/"):
        raise InputError(
            f"{shown} has the line {line[:100]!r}, which is no path",
            hint="one path a line, as in warc.paths.gz, or an index of records",
        )
    if ".wat" in line.rpartition("/")[2]:
        raise InputError(
            f"{shown} lists WAT files ({line[:100]}), which hold no text",
            hint="take warc.paths.gz or wet.paths.gz",
        )
    return line


def _json_record(line: str, shown: str) -> Record:
    """Of a CDXJ line (`key time {...}`) or a JSON line."""
    try:
        return _record(json.loads(line[line.index("{") :]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{shown} has a line that names no record: {line[:100]!r}",
            hint="each line needs filename, offset and length",
        ) from error


def _record(row: dict[str, object]) -> Record:
    record = Record(
        str(row.get("url", "")),
        str(row["filename"]),
        int(str(row["offset"])),
        int(str(row["length"])),
    )
    if record.offset < 0 or record.length < 1 or ".." in record.filename.split("/"):
        raise ValueError(record)
    return record


def _table_records(path: Path, shown: str) -> Iterator[Record]:
    """Rows of Common Crawl's columnar index."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {"url": "url", "warc_filename": "filename", "warc_record_offset": "offset",
             "warc_record_length": "length"}  # fmt: skip
    try:
        for batch in pq.ParquetFile(path).iter_batches(columns=list(names)):
            for row in batch.to_pylist():
                yield _record({names[name]: value for name, value in row.items()})
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise InputError(
            f"{shown} is no index of records: {error}",
            hint=f"it needs the columns {', '.join(names)}",
        ) from error


def file_url(base_url: str, path: str) -> str:
    """The address of a listed file."""
    return path if "://" in path else urljoin(base_url.rstrip("/") + "/", path)


def record_groups(records: Sequence[Record]) -> Iterator[tuple[str, Sequence[Record]]]:
    """Records a file at a time, with a name that tells which they are."""
    for start in range(0, len(records), RECORDS_A_FILE):
        group = records[start : start + RECORDS_A_FILE]
        places = "\n".join(f"{r.filename} {r.offset} {r.length}" for r in group)
        yield f"records-{xxhash.xxh3_64_hexdigest(places.encode())}.warc.gz", group
