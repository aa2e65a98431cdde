"""Attributes: tables with one row a record that every decision is made from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.extract.record import PAGE_VALUES
from tongwen.curate.records.edits import EditedText, Edits, edited_documents, no_edits
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.records.tables import RowWriter
from tongwen.curate.rules import measures
from tongwen.curate.rules.personal import personal_edits
from tongwen.flow.task import TaskContext, step

TEXT_VALUES = (
    "replaced_share", "mojibake_share", "symbol_share", "digit_share", "punctuation_share",
    "spam_share", "mean_line_characters", "longest_line_characters", "terminal_line_share",
    "ellipsis_line_share", "duplicate_line_share", "duplicate_line_character_share", "words",
    "mean_word_characters", "symbols_per_word", "bullet_line_share", "alphabetic_word_share",
    "function_words", "placeholders", "entropy_bits", "sentences", "short_line_share",
    "newlines_per_word", "han_share", "bracket_share", "newlines_per_character",
    *(f"top_{size}_gram_share"
      for size in sorted({*measures.ENGLISH_TOP, *measures.CHINESE_TOP})),
    *(f"repeated_{size}_gram_share"
      for size in sorted({*measures.ENGLISH_REPEATED, *measures.CHINESE_REPEATED})),
)  # fmt: skip
"""Names of the values, columns that rules look at, that are measured on the text."""

VALUES = (*PAGE_VALUES, "link_share", *TEXT_VALUES)

MEASURE_SCHEMA = pa.schema(
    [
        ("characters", pa.int64()),
        ("link_share", pa.float64()),  # of the text, its host templates cut
        *((name, pa.float64()) for name in TEXT_VALUES),
    ]
)
_VALUE_SET = frozenset(TEXT_VALUES)


@step("measure", inputs=("documents", "pages", "edits"))
def measure_records(context: TaskContext) -> Mapping[str, int]:
    """Measure the texts of one extraction task, their host templates cut, and find personal data.

    Writes `measures.parquet` (`MEASURE_SCHEMA`) and `edits.npy`, the tokens that replace personal
    data.
    """
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    task = context.params["task"]
    shares = pq.read_table(context.file("pages"), columns=["page_link_share"])[0].to_pylist()
    personal = [no_edits()]
    records = characters = 0
    with RowWriter(context.out / "measures.parquet", MEASURE_SCHEMA) as writer:
        for place, document, edited in edited_documents(documents, edit_files, task, ["lang"]):
            row: dict[str, Any] = {"characters": len(edited.text)}
            if shares[place] is not None:
                cut = len(document["text"]) - len(edited.text)
                row["link_share"] = _link_share(shares[place], len(document["text"]), cut)
            if document["lang"]:
                values = measures.measure(edited.text, document["lang"])
                row |= {name: values[name] for name in values if name in _VALUE_SET}
                if context.params["personal"]:
                    number = int(record_numbers(task, np.array([place]))[0])
                    personal.append(_personal_edits(edited, number, document["lang"]))
            writer.add(row)
            records += 1
            characters += len(edited.text)
    np.save(context.out / "edits.npy", np.concatenate(personal))
    return {"records": records, "characters": characters}


def _link_share(share: float, characters: int, cut: int) -> float:
    """Of a text some of which was cut: what hosts print around their pages are links, so that a
    page is judged by the links in its own text, not by the menu that is gone.
    """
    rest = characters - cut
    return max(0.0, share * characters - cut) / rest if rest else share


def _personal_edits(edited: EditedText, record: int, lang: str) -> Edits:
    """Personal data of one text, in places of the extracted text."""
    found = personal_edits(edited.text, record=record, is_code=lang == "code")
    for row in found if len(edited.starts) > 1 or edited.origins[:1] != (0,) else ():
        row["start"], row["end"] = edited.to_extracted(int(row["start"]), int(row["end"]))
    return found


def read_attributes(files: Sequence[Path]) -> pa.Table:
    """Tables with a row for each record of one task, side by side."""
    tables = [pq.read_table(path) for path in files]
    return pa.table(
        [column for table in tables for column in table.columns],
        schema=pa.schema([field for table in tables for field in table.schema]),
    )
