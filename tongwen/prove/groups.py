"""The documents of a curate stage, cut into groups that a proxy is trained on each.

A score's groups are its quantiles, a rule's the documents that pass it and those that do not, a
source's the documents with it and without it. Quantiles are taken within each language and hold as
much text each, so that no group is a language or an amount of text in disguise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.records.folders import curate_folder
from tongwen.encode.split import language_group
from tongwen.errors import InputError, UsageError
from tongwen.formats.documents import document_files

PROVED_LANGUAGES = ("en", "zh")
_FEWEST_DOCUMENTS = 10  # of a language in each group, held-out ones among them
_SHOWN_COLUMNS = 12  # of a hint: there may be hundreds
_ORIGINS = ("source", "warc_file", "host")


@dataclass(frozen=True)
class Question:
    """What is to be proved.

    Attributes:
        kind: `score`, `rule` or `source`.
        name: of the column, the rule or the source.
        threshold: of a rule.
        buckets: of a score.
    """

    kind: str
    name: str
    threshold: float | None = None
    buckets: int = 5

    @property
    def column(self) -> str:
        """Of the attributes; for a score `-NAME` means that low values are good."""
        if self.kind == "rule":
            return self.name.partition("_")[2]
        return self.name.removeprefix("-")

    @property
    def title(self) -> str:
        limit = "" if self.threshold is None else f" = {self.threshold:g}"
        return f"{self.kind} {self.name}{limit}"


@dataclass(frozen=True)
class Group:
    """Documents that one proxy is trained on.

    Attributes:
        name: as in the table.
        ids: of the documents, by language.
        score: mean value in each language; None where there is no order.
    """

    name: str
    ids: Mapping[str, tuple[str, ...]]
    score: Mapping[str, float] | None


def read_rule(text: str) -> tuple[str, float]:
    """`minimum_quality=0.5` as name and threshold.

    Raises:
        UsageError: it is not of that form.
    """
    name, _, value = text.partition("=")
    try:
        threshold = float(value)
    except ValueError:
        threshold = float("nan")
    if threshold != threshold or not name.startswith(("minimum_", "maximum_")):
        raise UsageError(
            f"--rule is {text!r}",
            hint="name a threshold as the recipe does, such as minimum_entropy_bits=5",
        )
    return name, threshold


class Texts:
    """Kept documents of a curate folder, with what was measured on them.

    Args:
        folder: of a curate stage, or a run directory that has one.

    Raises:
        InputError: there is no finished curate stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = curate_folder(folder)
        attributes = pa.concat_tables(
            [pq.read_table(path) for path in sorted(self.folder.glob("attributes/*.parquet"))],
            promote_options="default",
        )
        self._attributes = attributes.filter(pa.compute.is_null(attributes["drop_stage"]))
        rows = list(self._read(["doc_id", "lang", *_ORIGINS]))
        self.languages = {row["doc_id"]: language_group(row["lang"]) for row in rows}
        self._origins = {row["doc_id"]: [row[name] for name in _ORIGINS] for row in rows}

    def _read(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        for path in document_files(self.folder):
            for batch in pq.ParquetFile(path).iter_batches(1_024, columns=list(columns)):
                yield from batch.to_pylist()

    def texts(self) -> Iterator[tuple[str, str]]:
        """(document id, text) of every kept document in a language that is proved."""
        for row in self._read(["doc_id", "text"]):
            if self.languages[row["doc_id"]] in PROVED_LANGUAGES:
                yield row["doc_id"], row["text"]

    def values(self, column: str) -> tuple[list[str], npt.NDArray[np.float64]]:
        """Ids and values of a column; documents without a value are left out.

        Raises:
            UsageError: there is no such column of numbers.
        """
        names = self._attributes.column_names
        kinds = {name: self._attributes.schema.field(name).type for name in names}
        numbers = [
            name
            for name, kind in kinds.items()
            if pa.types.is_floating(kind) or pa.types.is_integer(kind)
        ]
        if column not in numbers:
            raise UsageError(
                f"{self.folder} has no measured value {column!r}",
                hint=f"it has {', '.join(numbers[:_SHOWN_COLUMNS])} and more; a scorer's column "
                "is there when the recipe names the scorer",
            )
        ids = self._attributes["doc_id"].to_pylist()
        values = self._attributes[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
        is_known = ~np.isnan(values) & np.array([name in self.languages for name in ids])
        return [ids[row] for row in np.flatnonzero(is_known)], values[is_known]

    def of_source(self, name: str) -> set[str]:
        """Ids of the documents whose source, file or host has this name.

        Raises:
            UsageError: none has.
        """
        found = {doc_id for doc_id, names in self._origins.items() if name in names}
        if not found:
            known = sorted({origin for names in self._origins.values() for origin in names[:2]})
            raise UsageError(
                f"no kept document is from the source, file or host {name!r}",
                hint=f"there are {', '.join(known[:_SHOWN_COLUMNS])}",
            )
        return found


def groups_of(
    question: Question, texts: Texts, tokens: Mapping[str, int], left_out: frozenset[str]
) -> list[Group]:
    """The groups, for a score from the worst to the best.

    Args:
        question: what is asked.
        texts: the documents.
        tokens: of each document, by id.
        left_out: ids that are held out.

    Raises:
        UsageError: the column, source or threshold leaves a group almost empty.
        InputError: no language has documents in every group.
    """
    chosen = [doc_id for doc_id in tokens if doc_id not in left_out]
    if question.kind == "source":
        own = texts.of_source(question.name)
        parts = {"without": [name for name in chosen if name not in own], "with": chosen}
        return _checked([_group(name, ids, texts, None) for name, ids in parts.items()])
    known = set(chosen)
    ids, values = texts.values(question.column)
    pairs = {name: value for name, value in zip(ids, values.tolist(), strict=True) if name in known}
    if question.kind == "rule":
        assert question.threshold is not None
        is_least = question.name.startswith("minimum_")
        passes = {
            name for name, value in pairs.items()
            if (value >= question.threshold if is_least else value <= question.threshold)
        }  # fmt: skip
        parts = {
            "dropped": [name for name in pairs if name not in passes],
            "kept": [name for name in pairs if name in passes],
        }
        return _checked([_group(name, ids, texts, None) for name, ids in parts.items()])
    sign = -1.0 if question.name.startswith("-") else 1.0
    buckets: list[list[str]] = [[] for _ in range(question.buckets)]
    for language in PROVED_LANGUAGES:
        own_ids = [name for name in pairs if texts.languages[name] == language]
        own_ids.sort(key=lambda name: (sign * pairs[name], name))
        sizes = np.cumsum([tokens[name] for name in own_ids])
        for name, size in zip(own_ids, sizes.tolist(), strict=True):
            buckets[min(question.buckets - 1, question.buckets * (size - 1) // sizes[-1])].append(
                name
            )
    return _checked(
        [
            _group(f"{place} of {question.buckets}", found, texts, pairs)
            for place, found in enumerate(buckets, start=1)
        ]
    )


def _group(
    name: str, ids: Sequence[str], texts: Texts, values: Mapping[str, float] | None
) -> Group:
    by_language = {
        language: tuple(doc_id for doc_id in ids if texts.languages[doc_id] == language)
        for language in PROVED_LANGUAGES
    }
    found = {language: ids for language, ids in by_language.items() if ids}
    score = None
    if values is not None:
        score = {
            language: float(np.mean([values[doc_id] for doc_id in ids]))
            for language, ids in found.items()
        }
    return Group(name, found, score)


def _checked(groups: list[Group]) -> list[Group]:
    """The groups, with only the languages that all of them have enough of."""
    shared = [
        language
        for language in PROVED_LANGUAGES
        if all(len(group.ids.get(language, ())) >= _FEWEST_DOCUMENTS for group in groups)
    ]
    if not shared:
        counts = "; ".join(
            f"{group.name}: " + ", ".join(f"{len(ids)} {name}" for name, ids in group.ids.items())
            for group in groups
        )
        raise InputError(
            f"no language has {_FEWEST_DOCUMENTS} documents in every group ({counts})",
            hint="take fewer buckets, another threshold, or a larger crawl",
        )
    return [
        Group(
            group.name,
            {language: group.ids[language] for language in shared},
            None if group.score is None else {name: group.score[name] for name in shared},
        )
        for group in groups
    ]
