"""Extraction: the raw records of some input files to texts and what is known of their pages."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.extract.addresses import AddressRules, read_rules
from tongwen.curate.extract.record import PAGE_SCHEMA, curate_record, read_trial_page
from tongwen.errors import InputError
from tongwen.files import write_jsonl
from tongwen.flow.task import TaskContext, step
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.formats.readers import Piece, read_records
from tongwen.formats.records import RawRecord
from tongwen.kernels import compile_once
from tongwen.plugins import Code
from tongwen.progress import Progress

_BATCH_ROWS = 1_000  # of small pages; `_BATCH_CHARACTERS` bounds the memory of large ones
_BATCH_CHARACTERS = 16 << 20


@step("extract", inputs=("crawl", "blocked", "allowed", "readers"))
def extract_records(context: TaskContext) -> Mapping[str, int]:
    """Read, decode, extract, repair and identify the records of some input files.

    Reads files of the crawl, described in params `files`, and lists of domains.

    Writes `documents.parquet` and `pages.parquet`, one row each for every record, in order, and
    `bad_files.jsonl`: the files of which not everything could be read. Each of them gives one
    record more, with the problem `unreadable`.
    """
    params = context.params
    addresses = _address_rules(context)
    line_reasons = frozenset(params["line_reasons"])
    # Done before, unless this is another machine than the stage's: there the first page would take
    # so long that the runner would think it hangs.
    compile_once({"read": read_trial_page}, Progress(io.StringIO()))
    documents: list[dict[str, Any]] = []
    pages: list[dict[str, Any]] = []
    bad_files: list[dict[str, Any]] = []
    records = characters = pending = 0
    with (
        pq.ParquetWriter(
            context.out / "documents.parquet", DOCUMENT_SCHEMA, compression="zstd"
        ) as document_writer,
        pq.ParquetWriter(
            context.out / "pages.parquet", PAGE_SCHEMA, compression="zstd"
        ) as page_writer,
    ):
        for record, is_trusted in _records(context, bad_files):
            document, values = curate_record(
                record,
                addresses=None if is_trusted else addresses,
                line_reasons=frozenset() if is_trusted else line_reasons,
            )
            values["trusted"] = is_trusted
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
    write_jsonl(context.out / "bad_files.jsonl", bad_files)
    return {"records": records, "characters": characters + pending, "bad_files": len(bad_files)}


def _address_rules(context: TaskContext) -> AddressRules | None:
    """The rules for web addresses; None when there are none."""
    use_words = context.params["address_words"]
    blocked, allowed = context.inputs["blocked"], context.inputs["allowed"]
    if not (blocked or allowed or use_words):
        return None
    return read_rules(blocked, allowed, use_words=use_words)


def _records(
    context: TaskContext, bad_files: list[dict[str, Any]]
) -> Iterator[tuple[RawRecord, bool]]:
    """The records of all files, and whether their source is trusted."""
    readers = _own_readers(context)
    pairs = zip(context.inputs["crawl"], context.params["files"], strict=True)
    for path, source in pairs:
        offset = source["start"]
        try:
            for record in read_records(
                path,
                source["format"],
                text_field=source["text_field"],
                source=source["source"],
                license=source["license"],
                mark=context.mark,
                skip=context.skip,
                piece=Piece(source["start"], source["end"], source["first_row"]),
                reader=readers.get(source["format"]),
            ):
                yield record, source["trusted"]
                offset = record.offset + 1
        except InputError as error:
            if source["format"] in readers:
                raise  # an error of the user's own code
            bad_files.append({"path": path.name, "kind": error.message, "hint": error.hint or ""})
            unreadable = RawRecord(
                url=path.resolve().as_uri(), date="", content_type="", charset="", body=b"",
                is_text=False, file=path.name, offset=offset, problem="unreadable",
                source=source["source"], license=source["license"],
            )  # fmt: skip
            yield unreadable, source["trusted"]


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
