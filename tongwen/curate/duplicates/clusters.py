"""Which record of each component of near duplicates is kept (see `components`)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.duplicates.components import CLOSE, MEMBER
from tongwen.curate.duplicates.exact import LOSS, MARKS, NEAR, losses_of, preferred_first
from tongwen.curate.duplicates.fingerprints import FINGERPRINT
from tongwen.curate.duplicates.groups import beside_firsts, firsts_of_groups
from tongwen.curate.records.exchange import (
    PartWriter,
    blocks_of,
    part_chunks,
    partition_of,
    read_parts,
)
from tongwen.curate.records.numbering import tasks_and_rows
from tongwen.curate.text.units import GOLDEN
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

_MARKED = np.dtype(
    [("root", "<u8"), ("record", "<u8"), ("equal", "<u2")]
    + [(name, FINGERPRINT[name]) for name in MARKS]
)


@step("cluster-mark", inputs=("parts", "closeness", "fingerprints"))
def mark_members(context: TaskContext) -> Mapping[str, int]:
    """Add to the members of one block what the choice looks at; partitioned by their root.

    Reads the members, the most equal hashes, and the fingerprints of the block's tasks, in order.
    """
    params = context.params
    members = read_parts(context.inputs["parts"], params["partition"], MEMBER)
    members = members[np.argsort(members["record"])]
    marked = np.zeros(len(members), _MARKED)
    marked["record"], marked["root"] = members["record"], members["root"]
    for close in part_chunks(context.inputs["closeness"], params["partition"], CLOSE):
        places = np.searchsorted(members["record"], close["record"])
        np.maximum.at(marked["equal"], places, close["equal"])
    tasks, rows = tasks_and_rows(members["record"])
    for number, path in enumerate(context.inputs["fingerprints"]):
        low, high = np.searchsorted(tasks, params["first_task"] + np.array([number, number + 1]))
        if low < high:
            known = np.load(path, mmap_mode="r")[rows[low:high]]
            for name in MARKS:
                marked[name][low:high] = known[name]
    writer = PartWriter(context.out / PARTS, _MARKED, params["partitions"])
    writer.add(marked, partition_of(marked["root"] * GOLDEN, params["partitions"]))
    writer.close()
    return {"members": len(marked)}


@step("cluster-choose", inputs=("parts",))
def choose_kept(context: TaskContext) -> Mapping[str, int]:
    """Every record of a cluster but the preferred one loses to it, partitioned by the block of the
    record that loses.
    """
    params = context.params

    def chunks() -> Iterator[npt.NDArray[Any]]:
        return part_chunks(context.inputs["parts"], params["partition"], _MARKED)

    def group(members: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        return (members["root"],)

    kept = firsts_of_groups(chunks(), _MARKED, group, preferred_first)
    writer = PartWriter(context.out / PARTS, LOSS, len(params["blocks"]))
    for rows, winners in beside_firsts(chunks(), kept, group):
        losses = losses_of(rows, winners, NEAR)
        writer.add(losses, blocks_of(losses["record"], params["blocks"]))
    writer.close()
    return {"clusters": len(kept), "near_duplicate": writer.number}
