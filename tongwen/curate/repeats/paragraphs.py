"""Repeated paragraphs, found through an exchange.

A paragraph is a line of the extracted text. Of one that stands in several documents that are still
open, the copies in the preferred document stay and all others are cut: first source, longer text,
smaller doc_id, whatever the order of the inputs (CCNet, Wenzek et al. 2019, arXiv 1911.00359, drops
every later one and compares 64 bits of SHA-1; here it is 128 bits). Code and tables stay whole.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tongwen.curate.records.edits import KINDS, EditedText, edited_documents, no_edits
from tongwen.curate.records.exchange import (
    PREFERENCE,
    PartWriter,
    open_records,
    preference,
    read_parts,
    saved_edits,
    source_ranks,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.repeats.units import lines_of
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

_PARAGRAPH = np.dtype(
    [("key", "<u8", 2), ("preference", PREFERENCE), ("record", "<u8"), ("start", "<u4"),
     ("end", "<u4")]
)  # fmt: skip
_REPEATED_PARAGRAPH = KINDS.index("repeated_paragraph")


@step("paragraph-map", inputs=("documents", "decisions", "duplicates", "edits"))
def map_paragraphs(context: TaskContext) -> Mapping[str, int]:
    """The longer lines of every record that is still open, partitioned by their hash."""
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    params = context.params
    task, ranks = params["task"], source_ranks(params["sources"])
    writer = PartWriter(context.out / PARTS, _PARAGRAPH, params["partitions"])
    chosen = open_records(context.file("decisions"), context.inputs["duplicates"], task)
    for row, document, edited in edited_documents(
        documents, edit_files, task, ["doc_id", "source", "lang"], chosen
    ):
        if document["lang"] == "code":
            continue
        lines = lines_of(edited.text)
        long = np.flatnonzero(
            lines.is_prose & (lines.weights >= params["minimum_paragraph_letters"])
        )
        # What ends with a colon belongs to the list or the code below it.
        places = long[[edited.text[end - 1] not in ":：" for end in lines.ends[long].tolist()]]
        rows = np.zeros(len(places), _PARAGRAPH)
        rows["key"] = lines.keys[places]
        rows["preference"] = np.array(preference(document, ranks), PREFERENCE)
        rows["record"] = record_numbers(task, np.array([row]))
        rows["start"], rows["end"] = _extracted(edited, lines.starts[places], lines.ends[places])
        writer.add_by_key(rows, rows["key"][:, 0])
    writer.close()
    return {"paragraphs": writer.number}


def _extracted(
    edited: EditedText, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> tuple[list[int], list[int]]:
    """Ranges of the extracted text for ranges of the edited one."""
    if len(edited.starts) == 1 and not edited.is_token[0]:
        shift = edited.origins[0]
        return (starts + shift).tolist(), (ends + shift).tolist()
    pairs = [
        edited.to_extracted(start, end)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return [low for low, _ in pairs], [high for _, high in pairs]


@step("paragraph-cut", inputs=("parts",))
def cut_paragraphs(context: TaskContext) -> Mapping[str, int]:
    """Cut every copy that does not stand in the preferred document; writes `edits.npy`."""
    rows = read_parts(context.inputs["parts"], context.params["partition"], _PARAGRAPH)
    order = np.lexsort(
        (
            rows["record"],
            rows["preference"]["second"],
            rows["preference"]["first"],
            rows["key"][:, 1],
            rows["key"][:, 0],
        )
    )
    rows = rows[order]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (rows["key"][1:] != rows["key"][:-1]).any(axis=1)
    kept = rows["record"][is_first][np.cumsum(is_first) - 1]
    lost = rows[rows["record"] != kept]
    edits = no_edits(len(lost))
    for name in ("record", "start", "end"):
        edits[name] = lost[name]
    edits["kind"] = _REPEATED_PARAGRAPH
    edits = saved_edits(context.out / "edits.npy", edits)
    return {
        "paragraphs": len(rows),
        "cut": len(edits),
        "cut_characters": int((edits["end"].astype(np.int64) - edits["start"]).sum()),
    }
