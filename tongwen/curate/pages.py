"""Tasks that look at one record at a time: extraction and measuring, decisions, fingerprints."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.attributes import read_attributes
from tongwen.curate.characters import folded
from tongwen.curate.edits import edited_documents
from tongwen.curate.minhash import signature
from tongwen.curate.record import PAGE_SCHEMA, curate_record, normal_url
from tongwen.curate.rules import decide
from tongwen.flow.task import TaskContext
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.formats.readers import read_records
from tongwen.formats.records import RawRecord

FINGERPRINT = np.dtype(
    [
        ("url", "<u8", 2),  # xxh3-128 of the normal URL; zeros when it has none
        ("text", "<u8", 2),  # xxh3-128 of the folded text; zeros when nothing is left of it
        ("doc_id", "<u8", 2),  # high half first, so that they compare as the hexadecimal form
        ("rank", "<u4"),  # place of the source in the list of inputs
        ("characters", "<u8"),
        ("date", "S25"),
        ("has_signature", "?"),
    ]
)
_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 16 << 20


def extract_records(context: TaskContext) -> Mapping[str, int]:
    """Read, decode, extract, repair and identify the records of some input files.

    Writes `documents.parquet` and `pages.parquet`, one row each for every record, in order.
    """
    params = context.params
    documents: list[dict[str, Any]] = []
    pages: list[dict[str, Any]] = []
    records = characters = pending = 0
    with (
        pq.ParquetWriter(
            context.out / "documents.parquet", DOCUMENT_SCHEMA, compression="zstd"
        ) as document_writer,
        pq.ParquetWriter(
            context.out / "pages.parquet", PAGE_SCHEMA, compression="zstd"
        ) as page_writer,
    ):
        for record in _records(context):
            document, values = curate_record(
                record,
                remove_lines=params["remove_lines"],
                replace_personal=params["replace_personal"],
            )
            documents.append(document)
            pages.append(values)
            records += 1
            pending += len(document["text"])
            if len(documents) == _BATCH_ROWS or pending > _BATCH_CHARACTERS:
                document_writer.write_table(pa.Table.from_pylist(documents, DOCUMENT_SCHEMA))
                page_writer.write_table(pa.Table.from_pylist(pages, PAGE_SCHEMA))
                documents, pages = [], []
                characters += pending
                pending = 0
        document_writer.write_table(pa.Table.from_pylist(documents, DOCUMENT_SCHEMA))
        page_writer.write_table(pa.Table.from_pylist(pages, PAGE_SCHEMA))
    return {"records": records, "characters": characters + pending}


def _records(context: TaskContext) -> Iterator[RawRecord]:
    for path, source in zip(context.inputs, context.params["files"], strict=True):
        yield from read_records(
            path,
            source["format"],
            text_field=source["text_field"],
            source=source["source"],
            license=source["license"],
            mark=context.mark,
            skip=context.skip,
        )


def decide_records(context: TaskContext) -> Mapping[str, int]:
    """Hold the thresholds against the attributes; writes `decisions.parquet`, row by row."""
    decisions = decide(read_attributes(context.inputs), context.params)
    pq.write_table(decisions, context.out / "decisions.parquet", compression="zstd")
    return {"open": decisions["drop_stage"].null_count}


def fingerprint_records(context: TaskContext) -> Mapping[str, int]:
    """What deduplication compares: `fingerprints.npy` and `signatures.bin`, row by row.

    The signatures are rows of 64-bit hashes without a header, to be mapped into memory.
    """
    params = context.params
    ranks = {source: rank for rank, source in enumerate(params["sources"])}
    hashes = params["bands"] * params["rows"]
    documents, *edit_files = context.inputs
    rows: list[np.ndarray[Any, Any]] = []
    with (context.out / "signatures.bin").open("wb") as file:
        for _, document, edited in edited_documents(
            documents, edit_files, params["task"], ["doc_id", "url", "date", "lang", "source"]
        ):
            row = np.zeros((), FINGERPRINT)
            points = folded(edited.text)
            minima = signature(
                points,
                shingle=params["shingle_characters"]
                if document["lang"].startswith("zh")
                else params["shingle_words"],
                hashes=hashes,
                seed=params["seed"],
            )
            row["url"] = _halves(normal_url(document["url"]).encode("utf-8", "surrogatepass"))
            row["text"] = _halves(points[points != 0].tobytes())
            row["doc_id"] = divmod(int(document["doc_id"], 16), 1 << 64)
            row["rank"] = ranks[document["source"]]
            row["characters"] = len(edited.text)
            row["date"] = document["date"].encode("ascii", "replace")[:25]
            row["has_signature"] = minima is not None
            rows.append(row)
            file.write((np.zeros(hashes, np.uint64) if minima is None else minima).tobytes())
    np.save(context.out / "fingerprints.npy", np.array(rows, FINGERPRINT))
    return {"records": len(rows)}


def _halves(data: bytes) -> tuple[int, int]:
    return divmod(xxhash.xxh3_128_intdigest(data), 1 << 64) if data else (0, 0)
