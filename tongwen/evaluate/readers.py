"""Readers: the public layouts of evaluation data as plain rows, each with the place it is from."""

import bz2
import csv
import fnmatch
import gzip
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from tongwen.errors import InputError
from tongwen.evaluate.spec import DataSpec, ShotsSpec, TaskSpec

_LARGEST_TEXT_BYTES = 1 << 30


@dataclass(frozen=True)
class Row:
    """One record: its fields and where it stands, as `file:row` with rows counted from 1."""

    values: dict[str, Any]
    place: str


@dataclass(frozen=True)
class Rows:
    """The records of a task.

    Attributes:
        rows: those that are asked.
        shots: those that can be shown as solved examples.
        left_out: number of rows that the task's `skip_pattern` and `require` left out.
    """

    rows: list[Row]
    shots: list[Row]
    left_out: int


def data_files(spec: TaskSpec, path: Path) -> list[Path]:
    """Every file that a task reads when the user's data is at `path`, sorted.

    Raises:
        InputError: the path or a file of the layout is not there.
    """
    main = _main_files(spec.data, path)
    beside = [spec.data.labels, spec.data.join, spec.shots.file]
    files = {*main, *(_beside(main[0], name) for name in beside if name)}
    return sorted(files)


def read_rows(spec: TaskSpec, path: Path) -> Rows:
    """All records of a task's data, in the order of files, members and lines.

    Raises:
        InputError: something is missing, empty, damaged or not of the layout; the message
            names the file and the row.
    """
    files = _main_files(spec.data, path)
    rows = [row for file in files for row in _read_file(spec.data, spec.data.members, file)]
    if not rows:
        wanted = f" (members {', '.join(spec.data.members)})" if spec.data.members else ""
        raise InputError(f"{path} holds no {spec.data.format} rows{wanted}")
    if spec.data.labels:
        _add_labels(rows, _beside(files[0], spec.data.labels))
    if spec.data.join:
        _join(rows, _beside(files[0], spec.data.join), spec.data.join_on)
    asked = [row for row in rows if _is_asked(spec.data, row)]
    if not asked:
        raise InputError(f"every one of the {len(rows)} rows of {path} is left out by the task")
    return Rows(asked, _read_shots(spec, files[0]), len(rows) - len(asked))


def value_of(row: Row, path: str) -> Any:
    """A field by its dotted path: `choices.text`, `answers.0`.

    Raises:
        InputError: the row has no such field.
    """
    value: Any = row.values
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            fields = ", ".join(str(name) for name in row.values)
            raise InputError(
                f"{row.place} has no field `{path}`",
                hint=f"its fields are {fields}; is the file of the layout the task names?",
            )
    return value


def _main_files(data: DataSpec, path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(path.glob(data.file)) if data.file else []
        if not files:
            raise InputError(
                f"{path} is a folder without {data.file or 'a file name in the task'}",
                hint="give the path of the data file itself",
            )
        return files
    if not path.is_file():
        raise InputError(f"the data file {path} is not there")
    return [path]


def _beside(main: Path, name: str) -> Path:
    path = main.parent / name
    if not path.is_file():
        raise InputError(f"{path} is not there; the task reads it beside {main.name}")
    return path


def _read_shots(spec: TaskSpec, main: Path) -> list[Row]:
    shots: ShotsSpec = spec.shots
    if not shots.file and not shots.members and not shots.skip_pattern:
        return []
    file = _beside(main, shots.file) if shots.file else main
    rows = _read_file(spec.data, shots.members, file)
    return [row for row in rows if not _is_skipped(shots.skip_pattern, row)]


def _read_file(data: DataSpec, members: tuple[str, ...], path: Path) -> Iterator[Row]:
    """Rows of one file, or of the matching members of an archive in order of their names."""
    try:
        for name, text in _texts(path, members):
            place = f"{path.name}:{name}" if name else path.name
            found = re.search(data.member_pattern, name)
            member = found.group(1) if found else name
            for number, values in enumerate(_FORMATS[data.format](data, text), start=1):
                if not isinstance(values, dict):
                    raise InputError(f"{place}, row {number} is not a table of fields")
                for field, mark in data.split.items():
                    before, cut, after = str(values.get(field, "")).partition(mark)
                    if not cut:
                        raise InputError(f"{field!r} has no {mark!r} in {place}, row {number}")
                    values[field] = {"before": before, "after": after, "whole": before + after}
                yield Row({**values, "member": member}, f"{place}:{number}")
    except (
        OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile,
        UnicodeDecodeError, csv.Error, json.JSONDecodeError, KeyError, TypeError, IndexError,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise InputError(
            f"cannot read {path} as {data.format}: {kind}: {error}",
            hint="is the file whole, and of the layout that the task names?",
        ) from error


def _texts(path: Path, patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Member name (empty for a plain or compressed file) and text."""
    name = path.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if not member.endswith("/") and _matches(member, patterns):
                    with archive.open(member) as file:
                        yield member, _decoded(file, path)
    elif name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(path) as archive:
            for info in sorted(archive.getmembers(), key=lambda item: item.name):
                if info.isfile() and _matches(info.name, patterns):
                    member_file = archive.extractfile(info)
                    assert member_file is not None
                    yield info.name, _decoded(member_file, path)
    else:
        openers: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open}
        with openers.get(path.suffix.lower(), _open_plain)(path) as file:
            yield "", _decoded(file, path)


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _matches(member: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(member, pattern) for pattern in patterns)


def _decoded(file: IO[bytes], path: Path) -> str:
    data = file.read(_LARGEST_TEXT_BYTES + 1)
    if len(data) > _LARGEST_TEXT_BYTES:
        raise InputError(f"{path} unpacks to more than {_LARGEST_TEXT_BYTES >> 30} GiB")
    return data.decode("utf-8-sig")


def _read_jsonl(data: DataSpec, text: str) -> Iterator[Any]:
    # Not splitlines: it also breaks at U+2028 and others, which JSON leaves inside strings.
    return (json.loads(line) for line in text.split("\n") if line.strip())


def _read_json(data: DataSpec, text: str) -> Iterable[Any]:
    document = json.loads(text)
    rows = document[data.records] if data.records else document
    if not isinstance(rows, list):
        raise TypeError(f"expected a list of rows, got {type(rows).__name__}")
    return rows


def _read_table(delimiter: str, quoting: Literal[0, 3]) -> Callable[[DataSpec, str], Iterator[Any]]:
    def read(data: DataSpec, text: str) -> Iterator[Any]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        columns = list(data.columns) or next(lines, [])
        for line in lines:
            if not line:
                continue
            if len(line) != len(columns):
                raise TypeError(f"line {lines.line_num} has {len(line)} cells, not {len(columns)}")
            yield dict(zip(columns, line, strict=True))

    return read


def _read_squad(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each question: its fields, `context`, and `answers` as a list of texts."""
    for article in json.loads(text)["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                texts = [answer["text"] for answer in question["answers"]]
                yield {**question, "context": paragraph["context"], "answers": texts}


def _read_dream(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each question about a dialogue: `dialogue`, `question`, `choice`, `answer`."""
    for turns, questions, name in json.loads(text):
        for question in questions:
            yield {**question, "dialogue": "\n".join(turns), "dialogue_id": name}


def _read_hellaswag(data: DataSpec, text: str) -> Iterator[Any]:
    """Six lines an item: `activity: context`, gold, four endings."""
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) % 6:
        raise TypeError(f"{len(lines)} lines are not a multiple of six")
    for start in range(0, len(lines), 6):
        query, gold, *endings = lines[start : start + 6]
        yield {"query": _hellaswag_query(query), "gold": gold.strip(), "endings": endings}


def _hellaswag_query(context: str) -> str:
    """The context with a capital after the last full stop, as the data's authors ask it.

    The six-line conversion kept `ctx`; Zellers et al. 2019 (arXiv:1905.07830) ask
    `ctx_a + " " + ctx_b.capitalize()`, and ctx_b is what follows the last sentence's end.
    """
    text = context.replace(".. ", ". ").rstrip()
    if text.endswith((".", "!", "?")):
        return text
    start = max((text.rfind(mark) + 2 for mark in (". ", ": ", "? ", "! ")), default=0)
    return text[:start] + text[start:].capitalize() if start > 1 else text


_FORMATS: dict[str, Callable[[DataSpec, str], Iterable[Any]]] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_table(",", csv.QUOTE_MINIMAL),
    "tsv": _read_table("\t", csv.QUOTE_NONE),
    "squad": _read_squad,
    "dream": _read_dream,
    "hellaswag6": _read_hellaswag,
}


def _add_labels(rows: list[Row], path: Path) -> None:
    labels = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    if len(labels) != len(rows):
        raise InputError(f"{path} has {len(labels)} labels for {len(rows)} rows")
    for row, label in zip(rows, labels, strict=True):
        row.values["label"] = label


def _join(rows: list[Row], path: Path, key: str) -> None:
    table = {
        str(value_of(row, key)): row.values
        for row in _read_file(DataSpec(format="jsonl"), (), path)
    }
    for row in rows:
        name = str(value_of(row, key))
        if name not in table:
            raise InputError(f"{row.place}: {path.name} has no row with {key} = {name}")
        for field, value in table[name].items():
            row.values.setdefault(field, value)


def _is_asked(data: DataSpec, row: Row) -> bool:
    if _is_skipped(data.skip_pattern, row):
        return False
    return all(row.values.get(name) not in (None, "", []) for name in data.require)


def _is_skipped(patterns: Mapping[str, str], row: Row) -> bool:
    return any(re.search(fits, str(row.values.get(name))) for name, fits in patterns.items())
