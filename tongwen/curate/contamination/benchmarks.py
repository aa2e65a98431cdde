"""Test sets as items: the texts of each row, whatever the layout of the data.

A task file of `tongwen evaluate` is data and read as such: which files, which layout, which fields
its templates show. Nothing is scored here, so right answers and solved examples do not matter.
"""

import bz2
import csv
import difflib
import fnmatch
import gzip
import io
import json
import string
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from tongwen.curate.contamination.settings import BenchmarkSettings
from tongwen.errors import InputError, RecipeError

_LARGEST_TEXT_BYTES = 1 << 30
_SUFFIXES = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".txt": "text", ".md": "text",
}  # fmt: skip
_PACKED = (".gz", ".bz2")
_NO_TEXT = frozenset(("choice", "lettered", "member"))
_TEMPLATES = ("prompt", "prompt_zh", "answer", "answer_zh")


@dataclass(frozen=True)
class Item:
    """One question with all that belongs to it.

    Attributes:
        place: file and row, for messages and the report.
        passages: its texts, one a field, in the order of the fields.
    """

    place: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """How the items of one test set are read; JSON values, so that a task can carry them.

    Attributes:
        format: jsonl, json, csv, tsv, squad, dream, hellaswag6, parquet or text; empty to go by
            the file's name.
        members: glob patterns of the members of an archive; all when empty.
        columns: names for a csv or tsv file without a header.
        records: key of the list of rows in a json document.
        marks: field -> mark that stands for a gap in its text; passages end there.
        fields: dotted paths of the texts; every text of the row when empty.
    """

    name: str
    format: str = ""
    members: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    records: str = ""
    marks: Mapping[str, str] | None = None
    fields: tuple[str, ...] = ()


def benchmark_of(settings: BenchmarkSettings) -> tuple[Benchmark, list[Path]]:
    """How a benchmark of the recipe is read, and its files, sorted.

    Raises:
        RecipeError: no such layout.
        InputError: the task file or the data is not there.
    """
    task = _task_file(settings)
    data = task.get("data", {})
    benchmark = Benchmark(
        name=settings.name,
        format=data.get("format", ""),
        members=tuple(data.get("members", ())),
        columns=tuple(data.get("columns", ())),
        records=data.get("records", ""),
        marks=data.get("split", {}),
        fields=settings.fields or tuple(_fields_of(task)),
    )
    path = Path(settings.path)
    if path.is_dir():
        pattern = data.get("file", "**/*")
        files = sorted(item for item in path.glob(pattern) if item.is_file())
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise InputError(
            f"the benchmark {settings.name} has no data at {path}",
            hint="give the path of the data file, or of the folder that holds it",
        )
    return benchmark, files


def _task_file(settings: BenchmarkSettings) -> dict[str, Any]:
    """The task file that describes the data; empty when none does."""
    folder = resources.files("tongwen") / "evaluate" / "tasks"
    names = sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))
    wanted = settings.layout or settings.name
    try:
        if settings.spec is not None:
            return tomllib.loads(Path(settings.spec).read_text("utf-8"))
        if wanted in names:
            return tomllib.loads((folder / f"{wanted}.toml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"cannot read the task file {settings.spec}: {error}") from error
    if settings.layout is not None:
        near = difflib.get_close_matches(wanted, names, n=2)
        raise RecipeError(
            f"there is no task `{wanted}` whose layout the benchmark {settings.name} could have",
            hint=f"did you mean {' or '.join(near)}?" if near else "name its `fields` instead",
        )
    return {}


def _fields_of(task: Mapping[str, Any]) -> Iterator[str]:
    """The fields that a task's templates and answers show, each once."""
    templates = [str(task[key]) for key in _TEMPLATES if key in task]
    choices = task.get("choices", [])
    names = [name for text in [*templates[:2], *choices, *templates[2:]] for name in _names(text)]
    names += [task["choices_field"]] if task.get("choices_field") else []
    names += list(task.get("accepted", []))
    marks = task.get("data", {}).get("split", {})
    plain = [name.split(".")[0] if name.split(".")[0] in marks else name for name in names]
    yield from (name for name in dict.fromkeys(plain) if name not in _NO_TEXT)


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def read_items(benchmark: Benchmark, path: Path) -> Iterator[Item]:
    """The items of one file, in order.

    Raises:
        InputError: damaged, or a row has none of the fields.
    """
    try:
        for place, values in _rows(benchmark, path):
            passages = tuple(_passages(benchmark, values, place))
            yield Item(place, tuple(dict.fromkeys(passages)))
    except (
        OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, UnicodeDecodeError,
        csv.Error, json.JSONDecodeError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise InputError(
            f"cannot read {path} as data of the benchmark {benchmark.name}: "
            f"{type(error).__name__}: {error}",
            hint="is the file whole, and of the layout that is named?",
        ) from error


def _passages(benchmark: Benchmark, values: Mapping[str, Any], place: str) -> Iterator[str]:
    fields = benchmark.fields or tuple(values)
    found = False
    for field in fields:
        value = _value(values, field)
        mark = (benchmark.marks or {}).get(field)
        for text in _texts_of(value):
            found = True
            yield from (part for part in (text.split(mark) if mark else [text]) if part.strip())
    if not found:
        raise InputError(
            f"{place} has none of the fields {', '.join(fields)} of the benchmark {benchmark.name}",
            hint=f"its fields are {', '.join(map(str, values))}",
        )


def _value(value: Any, path: str) -> Any:
    """A field by its dotted path, None when the row has no such field."""
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def _texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts_of(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts_of(item)
    elif value is not None:
        yield str(value)


def _rows(benchmark: Benchmark, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if _format(benchmark, path.name) == "parquet":
        import pyarrow.parquet as pq

        for number, row in enumerate(pq.read_table(path).to_pylist(), 1):
            yield f"{path.name}:{number}", row
        return
    for member, text in _contents(path, benchmark.members):
        kind = _format(benchmark, member or path.name)
        if kind not in _READERS:
            raise InputError(
                f"cannot tell what {member or path.name} of the benchmark {benchmark.name} holds",
                hint=f"name a `layout`, or a file that ends in {', '.join(_SUFFIXES)}",
            )
        place = f"{path.name}:{member}" if member else path.name
        for number, row in enumerate(_READERS[kind](benchmark, text), 1):
            if not isinstance(row, Mapping):
                raise InputError(f"{place}, row {number} is not a table of fields")
            yield f"{place}:{number}", row


def _format(benchmark: Benchmark, name: str) -> str:
    if benchmark.format:
        return benchmark.format
    path = Path(name.lower())
    return _SUFFIXES.get(Path(path.stem).suffix if path.suffix in _PACKED else path.suffix, "")


def _contents(path: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Member name (empty for a file that is no archive) and text."""
    name = path.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                if not member.endswith("/") and _fits(member, patterns):
                    with archive.open(member) as file:
                        yield member, _decoded(file, path)
    elif name.endswith((".tar.gz", ".tgz", ".tar")):
        with tarfile.open(path) as archive:
            for info in sorted(archive.getmembers(), key=lambda item: item.name):
                member_file = archive.extractfile(info) if info.isfile() else None
                if member_file is not None and _fits(info.name, patterns):
                    yield info.name, _decoded(member_file, path)
    elif name.endswith(".gz"):
        with gzip.open(path) as packed:
            yield "", _decoded(packed, path)
    elif name.endswith(".bz2"):
        with bz2.open(path) as bzipped:
            yield "", _decoded(bzipped, path)
    else:
        with path.open("rb") as plain:
            yield "", _decoded(plain, path)


def _fits(member: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(member, pattern) for pattern in patterns)


def _decoded(file: Any, path: Path) -> str:
    data: bytes = file.read(_LARGEST_TEXT_BYTES + 1)
    if len(data) > _LARGEST_TEXT_BYTES:
        raise InputError(f"{path} unpacks to more than {_LARGEST_TEXT_BYTES >> 30} GiB")
    return data.decode("utf-8-sig")


def _jsonl(benchmark: Benchmark, text: str) -> Iterator[Any]:
    return (json.loads(line) for line in text.split("\n") if line.strip())


def _json(benchmark: Benchmark, text: str) -> Iterable[Any]:
    document = json.loads(text)
    if benchmark.records:
        document = document[benchmark.records]
    if isinstance(document, Mapping):
        lists = [value for value in document.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise TypeError(f"{len(lists)} lists of rows in the document, one expected")
        document = lists[0]
    rows: list[Any] = document
    return rows


def _table(delimiter: str, quoting: Any) -> Callable[[Benchmark, str], Iterator[Any]]:
    def read(benchmark: Benchmark, text: str) -> Iterator[Any]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        columns = list(benchmark.columns) or next(lines, [])
        return (dict(zip(columns, line, strict=True)) for line in lines if line)

    return read


def _squad(benchmark: Benchmark, text: str) -> Iterator[Any]:
    for article in json.loads(text)["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                texts = [answer["text"] for answer in question["answers"]]
                yield {**question, "context": paragraph["context"], "answers": texts}


def _dream(benchmark: Benchmark, text: str) -> Iterator[Any]:
    for turns, questions, name in json.loads(text):
        for question in questions:
            yield {**question, "dialogue": "\n".join(turns), "dialogue_id": name}


def _hellaswag(benchmark: Benchmark, text: str) -> Iterator[Any]:
    lines = text.rstrip().split("\n")
    if len(lines) % 6:
        raise TypeError(f"{len(lines)} lines are not a multiple of six")
    for start in range(0, len(lines), 6):
        # The activity before the colon was added by the data's authors.
        query = lines[start].partition(": ")[2] or lines[start]
        yield {"query": query, "endings": lines[start + 2 : start + 6]}


def _plain(benchmark: Benchmark, text: str) -> Iterator[Any]:
    """A paragraph is an item."""
    return ({"text": part} for part in text.replace("\r\n", "\n").split("\n\n") if part.strip())


_READERS: dict[str, Callable[[Benchmark, str], Iterable[Any]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _table(",", csv.QUOTE_MINIMAL),
    "tsv": _table("\t", csv.QUOTE_NONE),
    "squad": _squad,
    "dream": _dream,
    "hellaswag6": _hellaswag,
    "text": _plain,
}
