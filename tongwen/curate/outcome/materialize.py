"""The last step: documents that stay, attributes with their decisions, the counts of the funnel."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tongwen.curate.outcome.histograms import histograms
from tongwen.curate.outcome.verdicts import Verdicts
from tongwen.curate.records.edits import CUTS, KINDS, edited_documents, edits_between, tidy
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.rules.attributes import read_attributes
from tongwen.curate.rules.decide import DECISION_SCHEMA
from tongwen.files import write_json, write_jsonl
from tongwen.flow.task import TaskContext, step
from tongwen.formats.documents import DOCUMENT_SCHEMA

EXCERPT_CHARACTERS = 400  # of a dropped page, for the report: enough to judge it
_BATCH_ROWS = 1_000  # documents held at once, against calls of Parquet


@step(
    "materialize",
    inputs=("documents", "decisions", "duplicates", "copies", "attributes", "drops", "edits"),
)
def materialize_records(context: TaskContext) -> Mapping[str, int]:
    """Put the decisions and edits of all steps together for the records of one extraction task.

    Reads the task's documents and decisions, `duplicates.parquet` and `copies.npy` of its block,
    tables of attributes, drops of contaminated records and files of edits.

    Writes `documents.parquet` (what stays, edited), `attributes.parquet` (one row for every
    record), `funnel.json` (counts by stage, rule and language), `histograms.json` (values beside
    thresholds) and `rejects.jsonl` (candidates for the sample of dropped documents).
    """
    params = context.params
    edit_files = context.inputs["edits"]
    attributes = read_attributes(context.inputs["attributes"])
    attributes = _with_cuts(attributes, edit_files, params["task"])
    verdicts = Verdicts(pq.read_table(context.file("decisions")), params["task"])
    verdicts.add_duplicates(pq.read_table(context.file("duplicates")), params["similarity"])
    verdicts.add_copies(np.load(context.file("copies")))
    verdicts.add_rests(attributes, params["repeats"])
    for path in context.inputs["drops"]:
        verdicts.add_contaminated(pq.read_table(path))
    attributes = verdicts.joined(attributes)
    pq.write_table(attributes, context.out / "attributes.parquet", compression="zstd")
    write_json(context.out / "funnel.json", _counts(attributes))
    write_json(context.out / "histograms.json", histograms(attributes, params["rules"]))
    drops = attributes.select(["doc_id", "lang", *DECISION_SCHEMA.names]).to_pylist()
    candidates = _sampled(drops, params["reject_samples"])
    is_kept = pc.is_null(attributes["drop_stage"]).to_pylist()
    rejects: list[dict[str, Any]] = []
    kept = 0
    with pq.ParquetWriter(
        context.out / "documents.parquet", DOCUMENT_SCHEMA, compression="zstd"
    ) as writer:
        for rows in _edited(context.file("documents"), edit_files, params["task"]):
            documents = [document for row, document in rows if is_kept[row]]
            if documents:
                writer.write_table(pa.Table.from_pylist(documents, DOCUMENT_SCHEMA))
            kept += len(documents)
            rejects += [
                {**_reject(document), **drops[row]} for row, document in rows if row in candidates
            ]
    write_jsonl(context.out / "rejects.jsonl", rejects)
    return {"kept": kept, "records": len(drops)}


def _edited(
    documents: Path, edit_files: Sequence[Path], task: int
) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Rows and documents with all edits applied, some at a time."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for row, document, edited in edited_documents(
        documents, edit_files, task, DOCUMENT_SCHEMA.names
    ):
        if edited.text != document["text"]:
            document["text"] = tidy(edited.text)
        rows.append((row, document))
        if len(rows) == _BATCH_ROWS:
            yield rows
            rows = []
    yield rows


def _with_cuts(attributes: pa.Table, edit_files: Sequence[Path], task: int) -> pa.Table:
    """Attributes and, for each kind of edit, characters cut or tokens put in."""
    rows = attributes.num_rows
    first, last = record_numbers(task, np.array([0, max(0, rows - 1)])).tolist()
    edits = edits_between(edit_files, first, last)
    places = (edits["record"] - np.uint64(first)).astype(np.int64)
    for number, kind in enumerate(KINDS):
        weights = (edits["kind"] == number).astype(np.float64)
        if kind in CUTS:
            weights *= edits["end"].astype(np.float64) - edits["start"]
        sums = np.bincount(places, weights, minlength=rows)[:rows].astype(np.int64)
        attributes = attributes.append_column(
            f"{kind}_characters" if kind in CUTS else f"{kind}_count", pa.array(sums)
        )
    return attributes


def _counts(attributes: pa.Table) -> list[dict[str, Any]]:
    """Pages, characters and raw bytes by stage, rule and language; null stage for what stays."""
    keys = ["drop_stage", "drop_rule", "lang"]
    sums = attributes.group_by(keys).aggregate(
        [("doc_id", "count"), ("characters", "sum"), ("raw_bytes", "sum")]
    )
    rows = sums.rename_columns([*keys, "pages", "characters", "raw_bytes"]).to_pylist()
    return sorted(rows, key=lambda row: [row[key] or "" for key in keys])


def _sampled(drops: Sequence[Mapping[str, Any]], number: int) -> frozenset[int]:
    """Rows of the dropped documents with the smallest ids of each reason and language. Ids are
    hashes, so that is a random sample that does not depend on the order.
    """
    groups: dict[tuple[Any, ...], list[tuple[str, int]]] = defaultdict(list)
    for row, drop in enumerate(drops):
        if drop["drop_stage"] is not None:
            groups[_reason(drop)].append((drop["doc_id"], row))
    return frozenset(row for group in groups.values() for _, row in sorted(group)[:number])


def _reason(drop: Mapping[str, Any]) -> tuple[Any, ...]:
    return drop["drop_stage"], drop["drop_rule"], drop["lang"]


def _reject(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": document["url"],
        "title": document["title"],
        "excerpt": document["text"][:EXCERPT_CHARACTERS],
    }


def merged_rejects(parts: Iterator[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    """The final sample out of the candidates of all tasks, by reason and language."""
    rows = list(parts)
    chosen = [rows[row] for row in sorted(_sampled(rows, number))]
    return sorted(chosen, key=lambda row: ([str(part) for part in _reason(row)], row["doc_id"]))
