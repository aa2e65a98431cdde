"""Values of the user's own: a column for each rule and scorer that a recipe adds.

What a function cannot measure is null, as everywhere: a document passes a rule whose value it does
not have. A function that raises on a document, or answers something that is no number, is noted in
`failures.jsonl` and its value is null; when more than `curate.allowed_failure_share` of a task's
documents fail, or all of them, the run ends and says where.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.names import LANGUAGES
from tongwen.curate.own.patterns import read_pattern_rule
from tongwen.curate.records.edits import edited_documents
from tongwen.errors import InputError
from tongwen.files import file_digest, write_jsonl
from tongwen.flow.task import TaskContext, step
from tongwen.plugins import Code, Document, Kind, told

SECTIONS: Mapping[str, Kind] = {"rules": "rule", "own_scorers": "scorer"}
"""Tables of `[curate]` that add values, and what a function in them is marked as."""

DOCUMENT_COLUMNS = ("doc_id", "url", "host", "date", "lang", "title", "source", "license")
_BATCH_ROWS = 2_000  # documents held for one call of the user's functions
_MOST_MESSAGES = 1_000  # of a task; all failures are counted, and a broken rule fails on every page


@dataclass(frozen=True)
class OwnValue:
    """One column of the user's own.

    Attributes:
        name: of the column, and of its table in the recipe.
        section: `rules` or `own_scorers`.
        path: the file it is described in.
        digest: of that file, or of the installed package.
        function: name in a Python file; empty for a TOML file.
        module: of an installed package; empty for a file.
        languages: of the documents that are measured; all when empty.
    """

    name: str
    section: str
    path: Path
    digest: str
    function: str
    module: str
    languages: tuple[str, ...]

    @property
    def code(self) -> Code | None:
        """The Python function; None for a rule of a TOML file."""
        kind = SECTIONS[self.section]
        return Code(kind, self.function, self.path, self.module) if self.function else None

    def to_json(self) -> dict[str, Any]:
        """What a task that measures it depends on, besides the file."""
        return {
            "name": self.name,
            "section": self.section,
            "function": self.function,
            "module": self.module,
            "languages": list(self.languages),
        }


class _Failure(NamedTuple):
    """A document that a function failed on."""

    value: str
    doc_id: str
    url: str
    error: str


class _Measurer:
    """Measures one value; remembers what failed.

    Args:
        value: which one.
        allowed: documents that may fail.

    Raises:
        InputError: the code has changed since the run was planned, or cannot be loaded.
    """

    def __init__(self, value: OwnValue, allowed: int) -> None:
        self.value = value
        self.failures: list[_Failure] = []
        self.measured = 0
        self._allowed = allowed
        code = value.code
        if (code.digest if code else file_digest(value.path)) != value.digest:
            raise InputError(
                f"{value.path} has changed since the run was planned, or differs on this machine",
                hint="start the stage again",
            )
        self.batch_documents = 1
        if code is None:
            rule = read_pattern_rule(value.path)
            self._values: Callable[[Sequence[Document]], Any] = lambda documents: [
                rule.value(documents[0].text)
            ]
        elif value.section == "rules":
            function = code.load()
            self._values = lambda documents: [function(documents[0])]
        else:
            self.batch_documents = code.mark().batch_documents
            self._values = _scoring(code)

    def measures(self, document: Document) -> bool:
        """Whether it is called for a document."""
        return bool(document.lang) and document.lang in (self.value.languages or LANGUAGES)

    def measure(
        self, documents: Sequence[Document], mark: Callable[[str], None], skip: frozenset[str]
    ) -> list[float | None]:
        """The values of some documents, at most a batch of them.

        A batch that fails is measured again one by one, so that one document spoils no other.

        Raises:
            InputError: too many have failed.
        """
        self.measured += len(documents)
        item = f"{self.value.name} of {documents[0].doc_id}"
        if len(documents) > 1:
            item += f" and {len(documents) - 1} more"
        if item not in skip:
            mark(item)
            try:
                return _numbers(self._values(documents), len(documents))
            except Exception as error:
                if len(documents) == 1:
                    self._fail(documents[0], told(error, self.value.path))
                    return [None]
        elif len(documents) == 1:
            self._fail(documents[0], "killed or held up its worker, twice")
            return [None]
        self.measured -= len(documents)
        return [self.measure([document], mark, skip)[0] for document in documents]

    def _fail(self, document: Document, error: str) -> None:
        failure = _Failure(self.value.name, document.doc_id, document.url, error)
        self.failures.append(failure)
        if len(self.failures) > self._allowed:
            raise self._too_many(f"more than the {self._allowed} that may")

    def check(self) -> None:
        """Refuse a value that no document has because all failed.

        Raises:
            InputError: so it is.
        """
        if self.failures and len(self.failures) == self.measured:
            raise self._too_many("every one")

    def _too_many(self, how_many: str) -> InputError:
        last = self.failures[-1]
        code = self.value.code
        name = code.name if code else f"the rule {self.value.path}"
        return InputError(
            f"{name} failed on {len(self.failures):,} documents of a task, {how_many}; the last "
            f"is {last.doc_id} ({last.url}): {last.error}",
            hint="mend it, answer None for what it cannot measure, or let more fail with "
            "--set curate.allowed_failure_share=0.1",
        )


def _scoring(code: Code) -> Callable[[Sequence[Document]], Any]:
    """What scores a batch: the function, or the method of a new object of the class."""
    found = code.load()
    if not isinstance(found, type):
        return found  # type: ignore[no-any-return]
    try:
        scorer = found()
    except Exception as error:
        raise InputError(
            f"the scorer {code.name} could not be created: {told(error, code.path)}",
            hint="it is created once in each worker process, without arguments",
        ) from error
    return scorer.score  # type: ignore[no-any-return]


def _numbers(values: Any, wanted: int) -> list[float | None]:
    """Values as they go into the column; NaN is what was not measured.

    Raises:
        ValueError: not as many as documents, or one is infinite.
        TypeError: one is no number.
    """
    values = list(values)
    if len(values) != wanted:
        raise ValueError(f"{len(values)} values for {wanted} documents")
    numbers: list[float | None] = []
    for value in values:
        if value is None:
            numbers.append(None)
            continue
        if isinstance(value, str | bytes):
            raise TypeError(f"the value is {value!r}, not a number or None")
        number = float(value)
        if math.isinf(number):
            raise ValueError("the value is infinite")
        numbers.append(None if math.isnan(number) else number)
    return numbers


@step("measure-own", inputs=("documents", "code", "edits"))
def measure_own_rules(context: TaskContext) -> Mapping[str, int]:
    """Measure the values of the user's own rules on the records of one extraction task.

    The input `code` is the file of each of params `values` (of `OwnValue.to_json`), `digests` those
    of the files or packages. Writes `own.parquet`, a column a value and a row for every record in
    order, and `failures.jsonl`.

    Raises:
        InputError: too many documents failed, or the code has changed.
    """
    return _measure(context)


@step("score-own", inputs=("documents", "code", "edits"))
def measure_own_scores(context: TaskContext) -> Mapping[str, int]:
    """The same for the user's own scorers."""
    return _measure(context)


def _measure(context: TaskContext) -> Mapping[str, int]:
    params = context.params
    documents = context.file("documents")
    values = [
        OwnValue(**{**item, "languages": tuple(item["languages"])}, path=path, digest=digest)
        for item, path, digest in zip(
            params["values"], context.inputs["code"], params["digests"], strict=True
        )
    ]
    records = pq.ParquetFile(documents).metadata.num_rows
    allowed = math.ceil(params["allowed_failure_share"] * records)
    measurers = [_Measurer(value, allowed) for value in values]
    schema = pa.schema([(value.name, pa.float64()) for value in values])
    rows: list[Document] = []
    with pq.ParquetWriter(context.out / "own.parquet", schema, compression="zstd") as writer:
        for _, row, edited in edited_documents(
            documents, context.inputs["edits"], params["task"], DOCUMENT_COLUMNS
        ):
            rows.append(Document(**{**row, "text": edited.text}))
            if len(rows) == _BATCH_ROWS:
                writer.write_table(_table(rows, measurers, schema, context))
                rows = []
        writer.write_table(_table(rows, measurers, schema, context))
    for measurer in measurers:
        measurer.check()
    failures = [failure for measurer in measurers for failure in measurer.failures]
    write_jsonl(
        context.out / "failures.jsonl",
        [failure._asdict() for failure in failures[:_MOST_MESSAGES]],
    )
    counts = {failures_key(item.value.name): len(item.failures) for item in measurers}
    return {"records": records, **counts}


def failures_key(value: str) -> str:
    """Name of the count of documents that a value failed on."""
    return f"failures of {value}"


def _table(
    rows: Sequence[Document],
    measurers: Sequence[_Measurer],
    schema: pa.Schema,
    context: TaskContext,
) -> pa.Table:
    columns = []
    for measurer in measurers:
        column: list[float | None] = [None] * len(rows)
        places = [place for place, row in enumerate(rows) if measurer.measures(row)]
        for start in range(0, len(places), measurer.batch_documents):
            chosen = places[start : start + measurer.batch_documents]
            found = measurer.measure([rows[place] for place in chosen], context.mark, context.skip)
            for place, value in zip(chosen, found, strict=True):
                column[place] = value
        columns.append(pa.array(column, pa.float64()))
    return pa.table(columns, schema=schema)
