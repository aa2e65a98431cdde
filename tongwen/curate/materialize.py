"""The last step: documents that stay, attributes with their decisions, the counts of the funnel."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tongwen.curate.numbering import record_numbers
from tongwen.curate.rules import DECISION_SCHEMA
from tongwen.files import write_json, write_jsonl
from tongwen.flow.task import TaskContext
from tongwen.formats.documents import DOCUMENT_SCHEMA

EXCERPT_CHARACTERS = 400


def materialize(context: TaskContext) -> Mapping[str, int]:
    """Put the decisions of all steps together for the records of one extraction task.

    Writes `documents.parquet` (what stays), `attributes.parquet` (one row for every record),
    `funnel.json` (counts by stage, rule and language) and `rejects.jsonl` (candidates for the
    sample of dropped documents).
    """
    document_file, attribute_file, decision_file, duplicate_file = context.inputs
    attributes = _with_decisions(
        pq.read_table(attribute_file),
        pq.read_table(decision_file),
        pq.read_table(duplicate_file),
        context.params,
    )
    pq.write_table(attributes, context.out / "attributes.parquet", compression="zstd")
    write_json(context.out / "funnel.json", _counts(attributes))
    drops = attributes.select(["doc_id", "lang", *DECISION_SCHEMA.names]).to_pylist()
    candidates = _sampled(drops, context.params["reject_samples"])
    is_kept = pc.is_null(attributes["drop_stage"]).to_pylist()
    rejects: list[dict[str, Any]] = []
    kept_documents = position = 0
    with pq.ParquetWriter(
        context.out / "documents.parquet", DOCUMENT_SCHEMA, compression="zstd"
    ) as writer:
        for batch in pq.ParquetFile(document_file).iter_batches(batch_size=1_000):
            mask = pa.array(is_kept[position : position + len(batch)])
            kept = pa.Table.from_batches([batch]).filter(mask)
            if kept.num_rows:
                writer.write_table(kept)
            kept_documents += kept.num_rows
            rejects += [
                {**_reject(batch, row), **drops[position + row]}
                for row in range(len(batch))
                if position + row in candidates
            ]
            position += len(batch)
    write_jsonl(context.out / "rejects.jsonl", rejects)
    return {"kept": kept_documents, "records": position}


def _with_decisions(
    attributes: pa.Table, decisions: pa.Table, duplicates: pa.Table, params: Mapping[str, Any]
) -> pa.Table:
    """Attributes, decisions before deduplication, and who lost to whom, in one table."""
    rows = attributes.num_rows
    columns = {name: decisions[name].to_pylist() for name in DECISION_SCHEMA.names}
    columns["duplicate_of"] = [None] * rows
    sizes = [1] * rows
    records = duplicates["record"].to_numpy()
    numbers = record_numbers(params["task"], np.arange(rows))
    if rows:
        first, last = np.searchsorted(records, [numbers[0], numbers[-1] + np.uint64(1)])
        for row in duplicates.slice(first, last - first).to_pylist():
            place = int(np.uint64(row["record"]) - numbers[0])
            near = row["similarity"] is not None
            columns["drop_stage"][place] = row["stage"]
            columns["drop_rule"][place] = row["stage"]
            columns["drop_value"][place] = row["similarity"]
            columns["drop_threshold"][place] = params["similarity"] if near else None
            columns["duplicate_of"][place] = row["duplicate_of"]
        winners, losers = np.unique(duplicates["kept"].to_numpy(), return_counts=True)
        own = np.flatnonzero((winners >= numbers[0]) & (winners <= numbers[-1]))
        for winner, number in zip(winners[own], losers[own], strict=True):
            sizes[int(winner - numbers[0])] = int(number) + 1
    for name, values in columns.items():
        kind = DECISION_SCHEMA.field(name).type if name in DECISION_SCHEMA.names else pa.string()
        attributes = attributes.append_column(name, pa.array(values, kind))
    return attributes.append_column("cluster_size", pa.array(sizes, pa.int64()))


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


def _reject(batch: pa.RecordBatch, row: int) -> dict[str, Any]:
    return {
        "url": batch["url"][row].as_py(),
        "title": batch["title"][row].as_py(),
        "excerpt": batch["text"][row].as_py()[:EXCERPT_CHARACTERS],
    }


def merged_rejects(parts: Iterator[Mapping[str, Any]], number: int) -> list[Mapping[str, Any]]:
    """The final sample out of the candidates of all tasks, by reason and language."""
    rows = list(parts)
    chosen = [rows[row] for row in sorted(_sampled(rows, number))]
    return sorted(chosen, key=lambda row: ([str(part) for part in _reason(row)], row["doc_id"]))
