"""Tasks that look at one record at a time: extraction and decisions."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.extract.addresses import AddressRules, read_rules
from tongwen.curate.extract.record import PAGE_SCHEMA, curate_record, read_trial_page
from tongwen.curate.rules.attributes import read_attributes
from tongwen.curate.rules.decide import decide
from tongwen.flow.task import TaskContext
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.formats.readers import Piece, read_records
from tongwen.formats.records import RawRecord
from tongwen.kernels import compile_once
from tongwen.progress import Progress

_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 16 << 20


def extract_records(context: TaskContext) -> Mapping[str, int]:
    """Read, decode, extract, repair and identify the records of some input files.

    Writes `documents.parquet` and `pages.parquet`, one row each for every record, in order.
    """
    params = context.params
    addresses = _address_rules(context)
    line_reasons = frozenset(params["line_reasons"])
    # Done before, unless this is another machine than the stage's: there the first page would take
    # so long that the runner would think it hangs.
    compile_once({"read": read_trial_page}, Progress(io.StringIO()))
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
                addresses=addresses,
                line_reasons=line_reasons,
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


def _address_rules(context: TaskContext) -> AddressRules | None:
    """The rules for web addresses; their lists of domains stand behind the files to read."""
    params = context.params
    lists = context.inputs[len(params["files"]) :]
    block, allow = lists[: params["block_lists"]], lists[params["block_lists"] :]
    if not lists and not params["address_words"]:
        return None
    return read_rules(block, allow, use_words=params["address_words"])


def _records(context: TaskContext) -> Iterator[RawRecord]:
    files = context.params["files"]
    for path, source in zip(context.inputs[: len(files)], files, strict=True):
        yield from read_records(
            path,
            source["format"],
            text_field=source["text_field"],
            source=source["source"],
            license=source["license"],
            mark=context.mark,
            skip=context.skip,
            piece=Piece(source["start"], source["end"], source["first_row"]),
        )


def decide_records(context: TaskContext) -> Mapping[str, int]:
    """Hold the thresholds against the attributes; writes `decisions.parquet`, row by row."""
    decisions = decide(read_attributes(context.inputs), context.params)
    pq.write_table(decisions, context.out / "decisions.parquet", compression="zstd")
    return {"open": decisions["drop_stage"].null_count}
