"""Equal addresses and equal texts, found through exchanges.

Records go by their numbers (`numbering`). Keys are hashes, partitioned by hash. Nothing depends on
how records are grouped into tasks: what is kept follows from sources, dates, lengths and document
ids. First the pages of one address are compared; what is left of them, by text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.curate.duplicates.fingerprints import FINGERPRINT
from tongwen.curate.duplicates.groups import beside_firsts, firsts_of_groups
from tongwen.curate.records.exchange import (
    PartWriter,
    blocks_of,
    open_records,
    part_chunks,
    partition_of,
    read_parts,
    write_parts,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.rules.decide import NEAR_DUPLICATE, SAME_TEXT, SAME_URL
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

LOSS_STAGES = (SAME_URL, SAME_TEXT, NEAR_DUPLICATE)
_KINDS = {"url": 0, "text": 1}
NEAR = 2  # the number after those of `_KINDS`: the place in `LOSS_STAGES`
MARKS = ("doc_id", "rank", "characters")
"""What the choice between copies looks at."""
_MEMBER = np.dtype(
    [("key", "<u8", 2), ("record", "<u8"), ("date", FINGERPRINT["date"])]
    + [(name, FINGERPRINT[name]) for name in MARKS]
)
LOSS = np.dtype(
    [
        ("record", "<u8"),
        ("kept", "<u8"),
        ("kept_id", FINGERPRINT["doc_id"]),  # doc_id of the one that is kept
        ("kind", "u1"),  # place in `LOSS_STAGES`
        ("equal", "<u2"),  # most hashes shared with one of its cluster; of near duplicates
    ]
)
"""Who loses to whom."""

DUPLICATE_SCHEMA = pa.schema(
    [
        ("record", pa.uint64()),
        ("stage", pa.string()),
        ("similarity", pa.float64()),  # to the most similar one of its cluster; null when exact
        ("duplicate_of", pa.string()),  # doc_id of the one that is kept
        ("kept", pa.uint64()),
    ]
)


@step("exact-map", inputs=("decisions", "fingerprints", "lost"))
def map_exact(context: TaskContext) -> Mapping[str, int]:
    """Address or text (`key`) of every record that is still open, partitioned by its hash.

    `lost` are the losses so far: what lost to a page of its address has no say about texts.
    """
    params = context.params
    task, name = params["task"], params["key"]
    rows = open_records(context.file("decisions"), (), task)
    known = np.load(context.file("fingerprints"))[rows]
    records = record_numbers(task, rows)
    lost = read_parts(context.inputs["lost"], params["block"], LOSS)["record"]
    chosen = known[name].any(axis=1) & ~np.isin(records, lost)
    members = np.zeros(int(chosen.sum()), _MEMBER)
    members["key"] = known[name][chosen]
    members["record"] = records[chosen]
    for field in MARKS:
        members[field] = known[field][chosen]
    if name == "url":  # of an address the newest page stays
        members["date"] = known["date"][chosen]
    partitions = params["partitions"]
    partition = partition_of(members["key"][:, 0], partitions)
    write_parts(context.out / PARTS, members, partition, partitions)
    return {"keys": len(members)}


@step("exact-lose", inputs=("parts",))
def lose_exact(context: TaskContext) -> Mapping[str, int]:
    """Every member of a group but the preferred one loses to it, partitioned by the block of the
    record that loses: newest (of an address), first source, longer text, smaller doc_id.
    """
    params = context.params

    def chunks() -> Iterator[npt.NDArray[Any]]:
        return part_chunks(context.inputs["parts"], params["partition"], _MEMBER)

    firsts = firsts_of_groups(chunks(), _MEMBER, _group, _place)
    writer = PartWriter(context.out / PARTS, LOSS, len(params["blocks"]))
    for rows, kept in beside_firsts(chunks(), firsts, _group):
        losses = losses_of(rows, kept, _KINDS[params["key"]])
        writer.add(losses, blocks_of(losses["record"], params["blocks"]))
    writer.close()
    return {LOSS_STAGES[_KINDS[params["key"]]]: writer.number}


def _group(members: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    return members["key"][:, 1], members["key"][:, 0]


def _place(members: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    newest = -np.unique(members["date"], return_inverse=True)[1]
    return *preferred_first(members), newest


def preferred_first(members: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Sort keys, the last one first: first source, longer text, smaller doc_id."""
    return (
        members["record"],
        members["doc_id"][:, 1],
        members["doc_id"][:, 0],
        -members["characters"].astype(np.int64),
        members["rank"],
    )


def losses_of(rows: npt.NDArray[Any], kept: npt.NDArray[Any], kind: int) -> npt.NDArray[Any]:
    """The losses among rows, each given with the row that is kept of its group."""
    is_lost = rows["record"] != kept["record"]
    losses = np.zeros(int(is_lost.sum()), LOSS)
    losses["record"] = rows["record"][is_lost]
    losses["kept"], losses["kept_id"] = kept["record"][is_lost], kept["doc_id"][is_lost]
    losses["kind"] = kind
    if "equal" in (rows.dtype.names or ()):
        losses["equal"] = rows["equal"][is_lost]
    return losses
