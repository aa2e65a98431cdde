"""Extraction: the raw records of some input files to texts and what is known of their pages."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.extract.addresses import AddressRules, read_rules
from tongwen.curate.extract.record import PAGE_SCHEMA, curate_record
from tongwen.curate.names import LINE_REASONS
from tongwen.errors import InputError
from tongwen.flow.task import TaskContext, step
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.formats.readers import Piece, read_records
from tongwen.formats.records import RawRecord
from tongwen.plugins import Code

_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 16 << 20


@step("extract", inputs=("crawl", "blocked", "allowed", "readers"))
def extract_records(context: TaskContext) -> Mapping[str, int]:
    """Read, decode, extract, repair and identify the records of some input files.

    Reads files of the crawl, described in params `files`, and lists of domains.

    Writes `documents.parquet` and `pages.parquet`, one row each for every record, in order.
    """
    params = context.params
    addresses = _address_rules(context)
    line_reasons = frozenset(params["line_reasons"])
    _compile_kernels()
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


_TRIAL_PAGE = """<!doctype html><html lang="zh"><head><title>Trial 试</title></head><body><main>
<h1>A trial</h1><p>On a fresh machine the kernels are compiled on this page; nothing of it is
kept.</p><p>全新的机器在这一页上编译内核，其内容不会保留。</p><ul><li>one<li>two</ul>
<table><tr><th>a<th>b<tr><td>1<td>2</table><pre>x = 1;</pre></main></body></html>"""


def _compile_kernels() -> None:
    """Compile what the first page of a fresh machine would compile while its time is counted: that
    can take a minute, and the runner would take the page for one that hangs.
    """
    trial = RawRecord(
        source="", file="", offset=0, url="http://trial.invalid/", date="", charset="",
        is_text=False, body=_TRIAL_PAGE.encode("utf-8"), content_type="text/html",
    )  # fmt: skip
    curate_record(trial, addresses=None, line_reasons=frozenset(LINE_REASONS))


def _address_rules(context: TaskContext) -> AddressRules | None:
    """The rules for web addresses; None when there are none."""
    use_words = context.params["address_words"]
    blocked, allowed = context.inputs["blocked"], context.inputs["allowed"]
    if not (blocked or allowed or use_words):
        return None
    return read_rules(blocked, allowed, use_words=use_words)


def _records(context: TaskContext) -> Iterator[RawRecord]:
    readers = _own_readers(context)
    pairs = zip(context.inputs["crawl"], context.params["files"], strict=True)
    for path, source in pairs:
        yield from read_records(
            path,
            source["format"],
            text_field=source["text_field"],
            source=source["source"],
            license=source["license"],
            mark=context.mark,
            skip=context.skip,
            piece=Piece(source["start"], source["end"], source["first_row"]),
            reader=readers.get(source["format"]),
        )


def _own_readers(context: TaskContext) -> dict[str, Code]:
    """Format -> the user's own reader.

    Raises:
        InputError: one is not what the crawl has listed.
    """
    found: dict[str, Code] = {}
    for path, item in zip(context.inputs["readers"], context.params["readers"], strict=True):
        code = Code("reader", item["function"], path, item["module"])
        if code.digest != item["digest"]:
            raise InputError(
                f"{path} has changed since the crawl was listed, or differs on this machine",
                hint="run `tongwen crawl` again",
            )
        found[item["format"]] = code
    return found
