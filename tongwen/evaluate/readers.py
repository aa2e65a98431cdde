"""Readers: the public layouts of evaluation data as plain rows, each with the place it is from."""

import ast
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
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

from tongwen.errors import InputError
from tongwen.evaluate.instructions import refuse_unknown
from tongwen.evaluate.spec import DataSpec, ShotsSpec, TaskSpec

_LARGEST_TEXT_BYTES = 1 << 30


class MissingDataError(InputError):
    """The data of a task, or a file beside it, is not where it is looked for."""


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


def data_files(spec: TaskSpec, path: Path, *, shots: bool = True) -> list[Path]:
    """Every file that a task reads when the user's data is at `path`, sorted.

    Args:
        spec: the task.
        path: a file or folder.
        shots: whether examples are wanted.

    Raises:
        MissingDataError: the path or a file of the layout is not there.
    """
    main = _main_files(spec.data, path)
    beside = [spec.data.labels, spec.data.join, spec.data.names, spec.shots.file if shots else ""]
    files = {*main, *(_beside(main[0], name) for name in beside if name)}
    return sorted(files)


def read_rows(spec: TaskSpec, path: Path, *, shots: bool = True) -> Rows:
    """All records of a task's data, in the order of files, members and lines; those of its examples
    only where `shots` are wanted.

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
    examples = _read_shots(spec, files[0]) if shots else []
    examples = [row for row in examples if _is_asked(spec.data, row)]
    for row in (*rows, *examples):
        _name(spec, row, files[0])
    if spec.data.texts:
        _add_texts(spec.data, (*rows, *examples), files[0])
    asked = [row for row in rows if _is_asked(spec.data, row)]
    if not asked:
        raise InputError(f"every one of the {len(rows)} rows of {path} is left out by the task")
    return Rows(asked, examples, len(rows) - len(asked))


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
        files = _first_found(path, data.file)
        if not files:
            wanted = " or ".join(filter(None, data.file.split("|"))) or "a file name in the task"
            raise MissingDataError(
                f"{path} is a folder without {wanted}",
                hint="give the path of the data file itself",
            )
        return files
    if not path.is_file():
        raise MissingDataError(f"the data file {path} is not there")
    return [path]


def _first_found(folder: Path, names: str) -> list[Path]:
    """The files of the first of these names or patterns that the folder has."""
    for name in filter(None, names.split("|")):
        if files := sorted(folder.glob(name)):
            return files
    return []


def _beside(main: Path, name: str) -> Path:
    files = _first_found(main.parent, name)
    if not files:
        raise MissingDataError(
            f"{main.parent / name} is not there; the task reads it beside {main.name}"
        )
    return files[0]


def _read_shots(spec: TaskSpec, main: Path) -> list[Row]:
    shots: ShotsSpec = spec.shots
    if shots.written:
        return [
            Row({**row, "member": ""}, f"example {number} of the task file")
            for number, row in enumerate(shots.written, start=1)
        ]
    if not shots.file and not shots.members and not shots.skip_pattern:
        return []
    file = _beside(main, shots.file) if shots.file else main
    data = replace(spec.data, format=shots.format) if shots.format else spec.data  # type: ignore[arg-type]
    rows = _read_file(data, shots.members, file)
    return [row for row in rows if not _is_skipped(shots.skip_pattern, row)]


def _name(spec: TaskSpec, row: Row, main: Path) -> None:
    """Add the fields `name` of the row's group and `names` of its member."""
    member = str(row.values.get("member", ""))
    group = str(row.values.get(spec.group, ""))
    row.values.setdefault("name", spec.names.get(group, group.replace("_", " ")))
    if spec.data.names:
        row.values["names"] = _names_of(_beside(main, spec.data.names)).get(member, [member] * 3)


@lru_cache(maxsize=4)
def _names_of(path: Path) -> dict[str, Any]:
    names = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(names, dict):
        raise InputError(f"{path} holds no table of names")
    return names


def _add_texts(data: DataSpec, rows: Iterable[Row], main: Path) -> None:
    """Add the field `text`: of the archive's text with the name of the row's member."""
    texts = {}
    for name, text in _texts(main, (data.texts,)):
        before, mark, after = text.partition(data.texts_after)
        texts[Path(name).stem] = (after if mark else before).strip()
    for row in rows:
        if row.values["member"] not in texts:
            raise MissingDataError(f"{main} has no {data.texts} for {row.values['member']!r}")
        row.values["text"] = texts[row.values["member"]]


def _read_file(data: DataSpec, members: tuple[str, ...], path: Path) -> Iterator[Row]:
    """Rows of one file, or of the matching members of an archive in order of their names."""
    try:
        for name, rows in _tables(data, members, path):
            place = f"{path.name}:{name}" if name else path.name
            found = re.search(data.member_pattern, name)
            member = found.group(1) if found else name
            for number, values in enumerate(rows, start=1):
                if not isinstance(values, dict):
                    raise InputError(f"{place}, row {number} is not a table of fields")
                for field, mark in data.split.items():
                    before, cut, after = str(values.get(field, "")).partition(mark)
                    if not cut:
                        raise InputError(f"{field!r} has no {mark!r} in {place}, row {number}")
                    values[field] = {"before": before, "after": after, "whole": before + after}
                yield Row({"member": member, **values}, f"{place}:{number}")
    except (
        OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile,
        UnicodeDecodeError, csv.Error, json.JSONDecodeError, KeyError, TypeError, IndexError,
        ValueError, AttributeError, SyntaxError,
    ) as error:  # fmt: skip
        kind = type(error).__name__
        raise InputError(
            f"cannot read {path} as {data.format}: {kind}: {error}",
            hint="is the file whole, and of the layout that the task names?",
        ) from error


def _tables(
    data: DataSpec, members: tuple[str, ...], path: Path
) -> Iterator[tuple[str, Iterable[Any]]]:
    """Member name and rows of every text of a file."""
    if path.suffix == ".parquet":
        yield "", _parquet_rows(path)
        return
    for name, text in _texts(path, members):
        yield name, _FORMATS[data.format](data, text)


def _parquet_rows(path: Path) -> Iterator[Any]:
    """Rows of a table as the Hugging Face hub stores it; answers of SQuAD's layout as a list."""
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow", hint="pip install tongwen[data]") from error
    for values in ParquetFile(path).read().to_pylist():  # its errors are ValueErrors and OSErrors
        answers = values.get("answers")
        if isinstance(answers, dict) and "text" in answers:
            values["answers"] = answers["text"]
        yield values


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
                shared = {"context": paragraph["context"], "title": article.get("title", "")}
                yield {**question, **shared, "answers": texts}


def _read_quac(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each question of a dialogue about a section of an article.

    `history` holds the earlier questions with their first annotator's answers; `answers` those of
    all annotators (Choi et al. 2018, arXiv:1808.07036). CANNOTANSWER closes every section.
    """
    for article in json.loads(text)["data"]:
        for paragraph in article["paragraphs"]:
            history = ""
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                first = question.get("orig_answer", {}).get("text") or answers[0]
                yield {
                    **question,
                    "context": paragraph["context"].removesuffix("CANNOTANSWER").rstrip(),
                    "title": article.get("title", ""),
                    "section": article.get("section_title", ""),
                    "dialogue": paragraph.get("id", ""),
                    "history": history,
                    "answers": answers,
                }
                history += f"Q: {question['question']}\n\nA: {first}\n\n"


def _read_truthfulqa(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each question, with the choices of MC1 and MC2, right ones first.

    Lin et al. 2021 (arXiv:2109.07958): MC1 has the best answer and all false ones, MC2 all true
    ones and all false ones.
    """
    for row in _read_table(",", csv.QUOTE_MINIMAL)(data, text):
        right, wrong = (
            [answer.strip() for answer in row[key].split(";") if answer.strip()]
            for key in ("Correct Answers", "Incorrect Answers")
        )
        best = row["Best Answer"].strip()
        yield {
            **row,
            "mc1": [best, *wrong],
            "mc2": [*right, *wrong],
            "mc2_right": list(range(len(right))),
        }


def _read_ifeval(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each prompt; `instructions` is the list of (id, arguments) as one JSON text."""
    for row in _read_jsonl(data, text):
        refuse_unknown(row["instruction_id_list"])
        pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        kept = [
            [name, {key: value for key, value in (values or {}).items() if value is not None}]
            for name, values in pairs
        ]
        yield {**row, "instructions": json.dumps(kept, ensure_ascii=False)}


def _pronoun_place(
    sentence: str, tokens: list[str], pronoun: tuple[str, tuple[int, int], list[str]]
) -> tuple[int, int]:
    """Where the pronoun begins and ends: as often as its words come before it in the tokens, so
    often it is passed over in the sentence, since tokens write some signs otherwise.
    """
    text, (start, end), words = pronoun
    width = end - start
    earlier = sum(tokens[place : place + width] == words for place in range(start))
    pattern = r"\s*".join(re.escape(word) for word in words)
    if text.isascii():
        pattern = rf"(?<!\w){pattern}(?!\w)"
    found = list(re.finditer(pattern, sentence))
    if len(found) <= earlier:
        raise ValueError(f"the pronoun {text!r} is not in {sentence!r}")
    return found[earlier].span()


def _read_leval(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each question about a document; `letters` of the answer `(B) Because` is `B`."""
    for number, row in enumerate(_read_jsonl(data, text), start=1):
        for question, answer in zip(row["instructions"], row["outputs"], strict=True):
            found = re.match(r"\(?([A-G]+)(?![a-z])", answer.strip())
            yield {
                "document": row["input"],
                "number": number,
                "question": question.strip(),
                "letters": found[1] if found else "",
            }


def _read_agieval_examples(data: DataSpec, text: str) -> Iterator[Any]:
    """The examples of AGIEval's table (Zhong et al. 2023, arXiv:2304.06364): a column a task,
    samples as Python literals, the field `member` the task.
    """
    head, *lines = csv.reader(io.StringIO(text, newline=""))
    for column, task in enumerate(head):
        for line in lines:
            if task and line[0].startswith("sample") and line[column].strip():
                values = ast.literal_eval(line[column].strip())
                options = values.get("options") or []
                if len(options) == 1:  # "A. one\tB. two\tC. three"
                    options = re.split(r"\s+(?=[B-G][.．、])", options[0])
                yield {**values, "options": options, "member": task}


def _read_xwinograd(data: DataSpec, text: str) -> Iterator[Any]:
    """A row for each sentence: `sentence` with `_` for the pronoun, `option1`, `option2`, `answer`.

    Reads both the table of Tikhonov and Ryabinin 2021 (arXiv:2106.12066), whose columns are
    language, source, original, sentence, tokens, pronoun and candidates, and JSON lines that have
    these fields already.
    """
    if text.lstrip().startswith("{"):
        yield from ({"language": "", **row} for row in _read_jsonl(data, text))
        return
    for line in filter(str.strip, text.split("\n")):
        language, _, original, sentence, tokens, pronoun, candidates = line.split("\t")
        place, end = _pronoun_place(sentence, json.loads(tokens), json.loads(pronoun))
        first, second = json.loads(candidates)[:2]
        yield {
            "language": language,
            "original": original,
            "sentence": f"{sentence[:place]}_{sentence[end:]}",
            "option1": first[0],
            "option2": second[0],
            "answer": "1" if first[3] else "2",
        }


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


def _read_any_hellaswag(data: DataSpec, text: str) -> Iterator[Any]:
    """The authors' JSON lines, or the six lines an item that others made of them."""
    if not text.lstrip().startswith("{"):
        yield from _read_hellaswag(data, text)
        return
    for row in _read_jsonl(data, text):
        context = f"{row['ctx_a']} {row['ctx_b'].capitalize()}"
        yield {
            "query": _without_marks(f"{row['activity_label']}: {context}"),
            "gold": row["label"],
            "endings": [_without_marks(ending) for ending in row["endings"]],
            "source": row.get("source_id", ""),
        }


def _without_marks(text: str) -> str:
    """Without the marks of WikiHow's layout, as lm-evaluation-harness takes them away."""
    text = re.sub(r"\[[^\[\]]*\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


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
    "agieval_examples": _read_agieval_examples,
    "hellaswag": _read_any_hellaswag,
    "ifeval": _read_ifeval,
    "leval": _read_leval,
    "quac": _read_quac,
    "truthfulqa": _read_truthfulqa,
    "xwinograd": _read_xwinograd,
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
