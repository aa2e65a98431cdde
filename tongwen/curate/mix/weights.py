"""The mix: clean documents to a training mixture of the wanted proportions, in random order.

Steps: `mix-sample` and `mix-deciles` where an expression asks for deciles, `mix-measure` gives each
document its weight, `mix-plan` divides the tokens, `mix-map` and `mix-write` copy the documents
through an exchange. What is drawn depends on the document's id and the seed alone, so the same
documents give the same files however they are grouped into tasks.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.mix.expressions import TEXT, Expression, column_kinds, parse
from tongwen.errors import InputError, RecipeError
from tongwen.files import read_json, write_json
from tongwen.flow.task import TaskContext, step

DECILE = "_decile"
# Of a language: a decile's border then has a standard error of 0.2 % of the documents.
_SAMPLE = 50_000
_LANGUAGES = {"zh-Hans": "zh", "zh-Hant": "zh"}
_CLUSTER_SIZES = (2, 3, 5, 100, 1_000)
_CLUSTER_WEIGHTS = np.array([1.0, 2.0, 3.0, 5.0, 8.0, 1.0])


def mix_columns(schema: pa.Schema, buckets: Iterable[str] = ()) -> dict[str, str]:
    """Columns that expressions can name: those of the attributes, `language` (en, zh, code),
    `tokens` (estimated), for each number X its `X_decile`, 1 to 10 within the language, and the
    names of the buckets.
    """
    kinds = column_kinds(schema)
    numbers = [name for name, kind in kinds.items() if kind != TEXT]
    deciles = {f"{name}{DECILE}": "number" for name in numbers}
    named = dict.fromkeys(buckets, "number")
    return {**named, **deciles, "language": TEXT, "tokens": "number", **kinds}


def mix_expressions(
    keep_if: str | None, weights: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]
) -> list[Expression | None]:
    """The condition to stay, None when there is none, then those of the weights."""
    keep = None if keep_if is None else parse(keep_if, kinds, "curate.mix.keep_if")
    rules = [
        parse(rule["when"], kinds, f"curate.mix.weights[{number}].when")
        for number, rule in enumerate(weights)
    ]
    return [keep, *rules]


@step("mix-sample", inputs=("documents", "attributes"))
def sample_values(context: TaskContext) -> Mapping[str, int]:
    """Values of the columns in params `ranks` of the documents whose ids hash lowest, at most
    50,000 a language; writes `sample.parquet`.
    """
    attributes = _kept_attributes(context.file("documents"), context.file("attributes"))
    hashes = [_id_hash(doc_id) for doc_id in attributes["doc_id"].to_pylist()]
    columns = {name: attributes[name].cast(pa.float64()) for name in context.params["ranks"]}
    table = pa.table(
        {"hash": pa.array(hashes, pa.uint64()), "language": _languages(attributes), **columns}
    )
    sample = _lowest(table)
    pq.write_table(sample, context.out / "sample.parquet", compression="zstd")
    return {"sampled": sample.num_rows}


@step("mix-deciles", inputs=("samples",))
def rank_values(context: TaskContext) -> Mapping[str, int]:
    """The values between the equal parts of each column, by parts and language; writes
    `deciles.json`.
    """
    tables = [pq.read_table(path) for path in context.inputs["samples"]]
    sample = _lowest(pa.concat_tables(tables))
    languages = np.array(sample["language"].to_pylist(), object)
    borders: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, numbers in context.params["ranks"].items():
        values = sample[name].to_numpy()
        for language in sorted(set(languages)):
            known = values[(languages == language) & ~np.isnan(values)]
            for parts in numbers if len(known) else ():
                between = np.quantile(known, np.arange(1, parts) / parts, method="higher")
                by_parts = borders.setdefault(name, {}).setdefault(str(parts), {})
                by_parts[language] = between.tolist()
    write_json(context.out / "deciles.json", borders)
    return {"sampled": sample.num_rows}


def _lowest(table: pa.Table) -> pa.Table:
    """The rows with the lowest hashes of each language: a sample that no order changes."""
    table = table.sort_by([("language", "ascending"), ("hash", "ascending")])
    languages = np.array(table["language"].to_pylist(), object)
    chosen = [np.flatnonzero(languages == name)[:_SAMPLE] for name in sorted(set(languages))]
    return table.take(pa.array(np.concatenate([np.zeros(0, np.int64), *chosen])))


def _id_hash(doc_id: str) -> int:
    return xxhash.xxh3_64_intdigest(f"decile\0{doc_id}".encode())


def _kept_attributes(documents: Path, attributes: Path) -> pa.Table:
    """Attributes of the documents that were kept, in their order, `characters` as they are now.

    Raises:
        InputError: the two files are not of the same documents.
    """
    table = pq.read_table(attributes)
    if "drop_stage" in table.column_names:
        table = table.filter(pc.is_null(table["drop_stage"]))
    ids = pq.read_table(documents, columns=["doc_id"])["doc_id"]
    if not ids.equals(table["doc_id"]):
        raise InputError(
            f"{attributes} does not describe the documents of {documents}",
            hint="both must come from the same run of `tongwen curate`",
        )
    return table


def _languages(attributes: pa.Table) -> pa.Array:
    return pa.array([_LANGUAGES.get(name, name) for name in attributes["lang"].to_pylist()])


@step("mix-measure", inputs=("documents", "attributes", "deciles"))
def measure_weights(context: TaskContext) -> Mapping[str, int]:
    """The weight of each document of one task; 0 for those that are not to stay.

    There is a `deciles.json` when params `ranks` names a column. Writes `weights.parquet`, a row
    a document, and `supply.json`: documents, characters and bytes by group, source, language and
    weight.
    """
    params = context.params
    documents = context.file("documents")
    attributes = _kept_attributes(documents, context.file("attributes"))
    borders = read_json(context.file("deciles")) if params["ranks"] else {}
    kinds = mix_columns(attributes.schema, params["buckets"])
    lengths = _text_lengths(documents)
    columns = _Columns(attributes, kinds, borders, lengths[0], params)
    keep, *rules = mix_expressions(params["keep_if"], params["weights"], kinds)
    weights = np.ones(attributes.num_rows)
    if attributes.num_rows:
        for expression, rule in zip(rules, params["weights"], strict=True):
            assert expression is not None
            weights[expression.mask(columns.of(expression))] *= rule["weight"]
        if params["weight_by_cluster_size"]:
            sizes = attributes["cluster_size"].to_numpy()
            weights *= _CLUSTER_WEIGHTS[np.searchsorted(_CLUSTER_SIZES, sizes, "right")]
        if keep is not None:
            weights[~keep.mask(columns.of(keep))] = 0.0
    groups = columns.texts(params["share_by"])
    table = pa.table({"weight": weights, "group": pa.array(groups, pa.string())})
    pq.write_table(table, context.out / "weights.parquet", compression="zstd")
    rows = list(zip(
        groups, attributes["source"].to_pylist(), attributes["lang"].to_pylist(),
        weights.tolist(), *(part.tolist() for part in lengths), strict=True,
    ))  # fmt: skip
    write_json(context.out / "supply.json", _supply(rows))
    return {"documents": attributes.num_rows, "left_out": int((weights == 0).sum())}


def _text_lengths(documents: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Characters and bytes of the texts."""
    characters, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for batch in pq.ParquetFile(documents).iter_batches(batch_size=1_000, columns=["text"]):
        characters.append(pc.utf8_length(batch["text"]).to_numpy().astype(np.int64))
        sizes.append(pc.binary_length(batch["text"]).to_numpy().astype(np.int64))
    return np.concatenate(characters), np.concatenate(sizes)


class _Columns:
    """The columns that expressions look at, as arrays."""

    def __init__(
        self,
        attributes: pa.Table,
        kinds: Mapping[str, str],
        borders: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]],
        characters: npt.NDArray[np.int64],
        params: Mapping[str, Any],
    ) -> None:
        self._attributes = attributes
        self._kinds = kinds
        self._borders = borders
        self._characters = characters
        self._per_token = params["characters_per_token"]
        self._buckets = params["buckets"]

    def of(self, expression: Expression) -> dict[str, npt.NDArray[Any]]:
        """Those that an expression names; the number of rows when it names none."""
        columns = {name: self._values(name) for name in expression.names}
        return columns or {"": np.zeros(self._attributes.num_rows)}

    def texts(self, name: str) -> list[str]:
        """A text column, or the numbers of buckets; empty where nothing is known."""
        if name in self._buckets:
            values = self._values(name)
            return ["" if np.isnan(value) else str(int(value)) for value in values.tolist()]
        return [value or "" for value in self._values(name).tolist()]

    def _values(self, name: str) -> npt.NDArray[Any]:
        if name == "language":
            return np.array(_languages(self._attributes).to_pylist(), object)
        if name == "tokens":
            langs = self._attributes["lang"].to_pylist()
            pairs = zip(self._characters.tolist(), langs, strict=True)
            return np.array([n / per_token(lang, self._per_token) for n, lang in pairs])
        if name in self._buckets:
            return self._bucket(**self._buckets[name])
        if name not in self._attributes.column_names:
            return self._ranks(name.removesuffix(DECILE), 10)
        column = self._attributes[name]
        if self._kinds[name] == TEXT:
            return np.array(column.to_pylist(), object)
        values: npt.NDArray[Any] = column.cast(pa.float64()).to_numpy()
        return values

    def _ranks(self, name: str, parts: int) -> npt.NDArray[np.float64]:
        """Which of the equal parts within the language each value is in, from 1."""
        values = self._values(name)
        languages = self._values("language")
        ranks = np.full(len(values), np.nan)
        for language, borders in self._borders.get(name, {}).get(str(parts), {}).items():
            own = (languages == language) & ~np.isnan(values)
            ranks[own] = 1 + np.searchsorted(borders, values[own], "right")
        return ranks

    def _bucket(self, columns: Sequence[str], number: int) -> npt.NDArray[np.float64]:
        """The highest bucket that any column gives; unknown where none is known."""
        best = np.full(self._attributes.num_rows, np.nan)
        for column in columns:
            ranks = self._ranks(column.removeprefix("-"), number)
            best = np.fmax(best, number + 1 - ranks if column.startswith("-") else ranks)
        return best


def per_token(lang: str, characters_per_token: Mapping[str, float]) -> float:
    """Characters a token of a language.

    Raises:
        RecipeError: the setting has none for it.
    """
    if lang not in characters_per_token:
        raise RecipeError(
            f"curate.mix.characters_per_token has no value for {lang!r}", hint=f"add {lang} = 4.0"
        )
    return float(characters_per_token[lang])


def _supply(rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows of group, source, lang, weight, characters and bytes, added up."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for *key, characters, size in rows:
        entry = sums[tuple(key)]
        entry[0] += 1
        entry[1] += characters
        entry[2] += size
    names = ("group", "source", "lang", "weight", "documents", "characters", "bytes")
    return [dict(zip(names, (*key, *values), strict=True)) for key, values in sorted(sums.items())]
