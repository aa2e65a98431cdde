"""Decontamination: copies of test items are cut out of documents, or the documents dropped.

Four steps: `contamination-index` reads the test sets (`index`), `contamination-map`
finds their n-grams in the documents that are still open, `contamination-count` tells common phrases
from copies by how many documents hold an n-gram, `contamination-decide` decides. Records go by
their numbers; nothing depends on how they are grouped into tasks.
"""

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.contamination.grams import units_of_text
from tongwen.curate.contamination.index import Index, Occurrences
from tongwen.curate.records.edits import EDIT, KINDS, EditedText, edited_documents, no_edits
from tongwen.curate.records.exchange import (
    open_records,
    partition_of,
    read_parts,
    write_parts,
)
from tongwen.curate.records.numbering import record_numbers, task_and_row
from tongwen.files import write_jsonl
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

STAGE = "contamination"
ITEMS_RULE, SHARE_RULE = "contaminated_items", "contaminated_item_share"

_HIT = np.dtype([("record", "<u8"), ("gram", "<u4"), ("start", "<u4"), ("end", "<u4")])
_GRAM_COUNT = np.dtype([("gram", "<u4"), ("documents", "<u4")])
_SENTENCE_END = re.compile(
    r"(?:[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？；…]+[”’』」）]*|\n)[^\S\n]*", re.MULTILINE
)
# A list or code without stops would go as one sentence otherwise.
_LONGEST_SENTENCE_CHARACTERS = 1_000
_EXAMPLES = 3  # of a benchmark, for the report
_EXAMPLE_CHARACTERS = 200  # of the passage that is cut, for the report

DROP_SCHEMA = pa.schema(
    [
        ("record", pa.uint64()),
        ("drop_rule", pa.string()),
        ("drop_value", pa.float64()),
        ("drop_threshold", pa.float64()),
        ("benchmark", pa.string()),
        ("item", pa.string()),  # place of the item that most of is in the document
    ]
)


@step("contamination-map", inputs=("documents", "decisions", "duplicates", "edits", "index"))
def map_contamination(context: TaskContext) -> Mapping[str, int]:
    """Find known n-grams in the open records of one extraction task.

    Writes `hits.npy` (offsets of the extracted text, extended to whole sentences, sorted) and
    `part-*`: in how many of the records each n-gram is.

    Raises:
        TongwenError: items planted for a test are not found.
    """
    params, task = context.params, context.params["task"]
    index = Index(context.inputs["index"])
    probes = index.self_test()
    rows = open_records(context.file("decisions"), context.inputs["duplicates"], task)
    parts = [np.zeros(0, _HIT)]
    characters = 0
    for row, _, edited in edited_documents(
        context.file("documents"), context.inputs["edits"], task, [], rows
    ):
        characters += len(edited.text)
        found = document_hits(index, edited)
        if len(found):
            found["record"] = record_numbers(task, np.array([row]))[0]
            parts.append(found)
    hits = np.concatenate(parts)
    hits.sort(order=["record", "start", "end", "gram"])
    np.save(context.out / "hits.npy", hits)
    _write_counts(context.out, index, hits, params["partitions"])
    return {
        "records": len(rows),
        "characters": characters,
        "probes_found": probes,
        "records_with_hits": len(np.unique(hits["record"])),
    }


def document_hits(index: Index, edited: EditedText) -> npt.NDArray[Any]:
    """The n-grams found in one text, with the sentences they stand in, `record` left 0.

    Offsets are those of the extracted text.
    """
    units = units_of_text(edited.text)
    found = index.find(units.hashes)
    hits = np.zeros(len(found), _HIT)
    if len(found) == 0:
        return hits
    borders = [0, *(match.end() for match in _SENTENCE_END.finditer(edited.text)), len(edited.text)]
    for place, (first, number, gram) in enumerate(found.tolist()):
        start, end = int(units.starts[first]), int(units.ends[first + number - 1])
        start, end = _whole_sentences(borders, start, end)
        low, high = edited.to_extracted(start, end)
        hits[place] = (0, gram, low, high)
    return hits


def _whole_sentences(borders: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """A range extended to borders of sentences, unless the sentence has no end for pages."""
    low = borders[bisect_right(borders, start) - 1]
    high = borders[bisect_left(borders, end)]
    return (
        low if start - low <= _LONGEST_SENTENCE_CHARACTERS else start,
        high if high - end <= _LONGEST_SENTENCE_CHARACTERS else end,
    )


def _write_counts(out: Path, index: Index, hits: npt.NDArray[Any], partitions: int) -> None:
    pairs = np.unique(hits[["gram", "record"]])
    grams, numbers = np.unique(pairs["gram"], return_counts=True)
    rows = np.zeros(len(grams), _GRAM_COUNT)
    rows["gram"], rows["documents"] = grams, numbers
    write_parts(out / PARTS, rows, partition_of(index.keys(grams), partitions), partitions)


@step("contamination-count", inputs=("parts",))
def count_grams(context: TaskContext) -> Mapping[str, int]:
    """Add up one partition of n-grams; `common.npy` has the numbers of those that are in more
    documents than `maximum_documents`.
    """
    rows = read_parts(context.inputs["parts"], context.params["partition"], _GRAM_COUNT)
    grams, places = np.unique(rows["gram"], return_inverse=True)
    documents = np.bincount(places, weights=rows["documents"], minlength=len(grams))
    common = grams[documents > context.params["maximum_documents"]]
    np.save(context.out / "common.npy", common)
    return {"grams_found": len(grams), "grams_common": len(common)}


class _Finding(NamedTuple):
    """What is known about one contaminated record.

    Attributes:
        items: the fewest items that explain its hits, the one that explains most first.
        share: largest share of one item that the record holds, in units.
        closest: the item it holds that share of.
        grams: the n-grams that count.
    """

    items: list[int]
    share: float
    closest: int
    grams: set[int]


@step("contamination-decide", inputs=("hits", "documents", "common", "index"))
def decide_contamination(context: TaskContext) -> Mapping[str, int]:
    """Decide for the records of one extraction task that have hits.

    Reads the `common.npy` of all partitions. Params: `dropped_items`, `dropped_item_share`.

    Writes `drops.parquet` (`DROP_SCHEMA`), `edits.npy` with the sentences that are cut out of the
    others, `items.npy` (numbers of the items found) and `found.jsonl` (a row a record and benchmark
    for the report; with an excerpt where it may be shown as an example).
    """
    params = context.params
    hits = np.load(context.file("hits"))
    index = Index(context.inputs["index"])
    common = np.concatenate([np.load(path) for path in context.inputs["common"]])
    items = _ItemSizes(index.items())
    is_common = np.isin(hits["gram"], common)
    drops: list[dict[str, Any]] = []
    edits = [no_edits()]
    rows: list[dict[str, Any]] = []
    items_found: set[int] = set()
    borders = np.flatnonzero(np.diff(hits["record"])) + 1
    groups = zip(np.split(hits, borders), np.split(is_common, borders), strict=True)
    for group, is_phrase in groups if len(hits) else ():
        finding = _finding(index, group, is_phrase, items, params)
        if finding is None:
            continue
        counted = group[np.isin(group["gram"], np.array(sorted(finding.grams), np.uint32))]
        drop = _drop(finding, params)
        if drop is None:
            edits.append(_cuts(counted))
        else:
            known = items.row(finding.closest)
            names = {"benchmark": known["benchmark"], "item": known["place"]}
            drops.append({"record": int(group["record"][0]), **drop, **names})
        items_found.update(finding.items)
        rows += _report_rows(finding, items, counted, drop)
    pq.write_table(pa.Table.from_pylist(drops, DROP_SCHEMA), context.out / "drops.parquet")
    np.save(context.out / "edits.npy", np.concatenate(edits))
    np.save(context.out / "items.npy", np.array(sorted(items_found), np.uint32))
    write_jsonl(context.out / "found.jsonl", _with_documents(rows, context.file("documents")))
    return {"dropped": len(drops), "cut": len(edits) - 1}


class _ItemSizes:
    """What is known of the items, by their numbers."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._units = table["units"].to_numpy()
        self._gram_units = table["gram_units"].to_numpy()

    def units(self, item: int) -> int:
        return int(self._units[item])

    def is_long(self, item: int) -> bool:
        """Whether it is at least two n-grams long."""
        return bool(self._units[item] >= 2 * self._gram_units[item])

    def row(self, item: int) -> dict[str, Any]:
        row: dict[str, Any] = self._table.slice(item, 1).to_pylist()[0]
        return row


def _finding(
    index: Index,
    hits: npt.NDArray[Any],
    is_common: npt.NDArray[np.bool_],
    items: _ItemSizes,
    params: Mapping[str, Any],
) -> _Finding | None:
    """What the hits of one record say; None when all are common phrases.

    A common n-gram counts only inside an item at least two n-grams long of which the record holds
    the share that drops it: no phrase is that long, but a well-known test item is on many pages.
    """
    found = {int(gram): index.occurrences(int(gram)) for gram in np.unique(hits["gram"])}
    counted = set(hits["gram"][~is_common].tolist())
    for item, share in _shares(found, items, set(found)).items():
        if share >= params["dropped_item_share"] and items.is_long(item):
            counted |= {gram for gram, occurrences in found.items() if item in occurrences.items}
    if not counted:
        return None
    shares = _shares(found, items, counted)
    closest = max(shares, key=lambda item: (shares[item], -item))
    return _Finding(
        _fewest({gram: found[gram].items for gram in counted}), shares[closest], closest, counted
    )


def _shares(
    found: Mapping[int, Occurrences], items: _ItemSizes, counted: set[int]
) -> dict[int, float]:
    """Share of each item's units that lie inside the n-grams that count."""
    covered: dict[int, set[int]] = defaultdict(set)
    for gram in counted:
        units, owners, places = found[gram]
        for item, place in zip(owners, places, strict=True):
            covered[item].update(range(place, place + units))
    return {item: len(places) / items.units(item) for item, places in covered.items()}


def _fewest(items_of: Mapping[int, Sequence[int]]) -> list[int]:
    """The fewest items that hold all of some n-grams, chosen greedily: a phrase that many items
    share is one finding, not many.
    """
    left: dict[int, set[int]] = defaultdict(set)
    for gram, items in items_of.items():
        for item in items:
            left[item].add(gram)
    chosen: list[int] = []
    while left:
        best = max(left, key=lambda item: (len(left[item]), -item))
        chosen.append(best)
        explained = left.pop(best)
        left = {item: rest for item, grams in left.items() if (rest := grams - explained)}
    return chosen


def _drop(finding: _Finding, params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rule, value and threshold by which a record is dropped; None when it is only cut."""
    if finding.share >= params["dropped_item_share"]:
        return {"drop_rule": SHARE_RULE, "drop_value": finding.share,
                "drop_threshold": params["dropped_item_share"]}  # fmt: skip
    if len(finding.items) >= params["dropped_items"]:
        return {"drop_rule": ITEMS_RULE, "drop_value": len(finding.items),
                "drop_threshold": params["dropped_items"]}  # fmt: skip
    return None


def _cuts(hits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sentences of one record's hits as edits, overlaps joined."""
    spans: list[list[int]] = []
    for start, end in sorted(zip(hits["start"].tolist(), hits["end"].tolist(), strict=True)):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    edits = np.zeros(len(spans), EDIT)
    edits["record"] = hits["record"][0]
    edits["start"], edits["end"] = np.array(spans).T
    edits["kind"] = KINDS.index("contamination")
    return edits


def _report_rows(
    finding: _Finding, items: _ItemSizes, hits: npt.NDArray[Any], drop: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """A row for each benchmark that an item of the record belongs to."""
    rows: dict[str, dict[str, Any]] = {}
    for item in finding.items:
        known = items.row(item)
        rows.setdefault(
            known["benchmark"],
            {
                "record": int(hits["record"][0]),
                "benchmark": known["benchmark"],
                "decision": "cut" if drop is None else "dropped",
                "rule": None if drop is None else drop["drop_rule"],
                "item": known["place"],
                "item_excerpt": known["excerpt"],
                "start": int(hits["start"].min()),
            },
        )
    return list(rows.values())


def _with_documents(rows: Sequence[dict[str, Any]], documents: Path) -> list[dict[str, Any]]:
    """The rows with document ids; those with the smallest ids of each benchmark, which are examples
    of what was found, with an excerpt of the document too.
    """
    table = pq.read_table(documents, columns=["doc_id", "url"]) if rows else None
    for row in rows:
        assert table is not None
        place = task_and_row(row.pop("record"))[1]
        row |= {
            "row": place,
            "doc_id": table["doc_id"][place].as_py(),
            "url": table["url"][place].as_py(),
        }
    shown: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in examples_of(rows):
        shown[row["row"]].append(row)
    position = 0
    for batch in pq.ParquetFile(documents).iter_batches(batch_size=256, columns=["text"]):
        for place in [place for place in shown if position <= place < position + len(batch)]:
            text = batch["text"][place - position].as_py()
            for row in shown[place]:
                row["excerpt"] = text[row["start"] : row["start"] + _EXAMPLE_CHARACTERS]
        position += len(batch)
    return [{key: value for key, value in row.items() if key != "row"} for row in rows]


def examples_of(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the smallest document ids of each benchmark: a sample that no order changes."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["doc_id"])):
        if len(groups[row["benchmark"]]) < _EXAMPLES:
            groups[row["benchmark"]].append(row)
    return [row for name in sorted(groups) for row in groups[name]]
