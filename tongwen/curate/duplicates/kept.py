"""Who was dropped for whom in the end, by block of records.

What a page of the same address lost to may itself have lost to another text, and that to a near
duplicate. No one loses twice in the same way, so two steps along the losses reach the record that
is kept. Each is an exchange: a loss travels to the block of the record it names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.duplicates.exact import DUPLICATE_SCHEMA, LOSS, LOSS_STAGES, NEAR
from tongwen.curate.records.exchange import PartWriter, blocks_of, part_chunks, read_parts
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

BY_RECORD = "by-record"
"""Exchange file of losses by the block of the record that loses; `PARTS` is by that of the kept."""
COPIES = np.dtype([("record", "<u8"), ("copies", "<u8")])
"""A record and how many others were dropped for it."""


@step("loss-gather", inputs=("parts",))
def gather_losses(context: TaskContext) -> Mapping[str, int]:
    """The losses of the records of one block, sorted: `losses.npy`; and an exchange of them by the
    block of the record that each has lost to.
    """
    params = context.params
    losses = read_parts(context.inputs["parts"], params["partition"], LOSS)
    losses = losses[np.argsort(losses["record"])]
    np.save(context.out / "losses.npy", losses)
    writer = PartWriter(context.out / PARTS, LOSS, len(params["blocks"]))
    writer.add(losses, blocks_of(losses["kept"], params["blocks"]))
    writer.close()
    return {"losses": len(losses)}


@step("loss-follow", inputs=("losses", "parts"))
def follow_losses(context: TaskContext) -> Mapping[str, int]:
    """Where the record that was lost to has itself lost, name what it lost to.

    Reads the losses of one block, and the losses to its records.
    """
    params = context.params
    known = np.load(context.file("losses"))
    by_kept = PartWriter(context.out / PARTS, LOSS, len(params["blocks"]))
    by_record = PartWriter(context.out / BY_RECORD, LOSS, len(params["blocks"]))
    followed = 0
    for losses in part_chunks(context.inputs["parts"], params["partition"], LOSS):
        found = losses.copy()
        if len(known):
            places = np.searchsorted(known["record"], losses["kept"])
            places = np.minimum(places, len(known) - 1)
            is_lost = known["record"][places] == losses["kept"]
            for name in ("kept", "kept_id"):
                found[name][is_lost] = known[name][places[is_lost]]
            followed += int(is_lost.sum())
        by_kept.add(found, blocks_of(found["kept"], params["blocks"]))
        by_record.add(found, blocks_of(found["record"], params["blocks"]))
    by_kept.close()
    by_record.close()
    return {"followed": followed}


@step("duplicates", inputs=("lost", "kept"))
def list_duplicates(context: TaskContext) -> Mapping[str, int]:
    """Of one block `duplicates.parquet` (`DUPLICATE_SCHEMA`), sorted by record, and `copies.npy`
    (`COPIES`), sorted by record.
    """
    params = context.params
    lost = read_parts(context.inputs["lost"], params["partition"], LOSS)
    lost = lost[np.argsort(lost["record"])]
    is_near = lost["kind"] == NEAR
    similarity = np.where(is_near, lost["equal"] / params["hashes"], np.nan)
    kinds = pa.DictionaryArray.from_arrays(lost["kind"].astype(np.int8), LOSS_STAGES)
    table = pa.table(
        {
            "record": lost["record"],
            "stage": kinds.cast(pa.string()),
            "similarity": pa.array(similarity, pa.float64(), from_pandas=True),
            "duplicate_of": _hexadecimal(lost["kept_id"]),
            "kept": lost["kept"],
        },
        schema=DUPLICATE_SCHEMA,
    )
    pq.write_table(table, context.out / "duplicates.parquet", compression="zstd")
    copies = np.zeros(0, COPIES)
    for losses in part_chunks(context.inputs["kept"], params["partition"], LOSS):
        copies = _counted(copies, losses["kept"])
    np.save(context.out / "copies.npy", copies)
    counts = np.bincount(lost["kind"], minlength=len(LOSS_STAGES)).tolist()
    return dict(zip(LOSS_STAGES, counts, strict=True))


def _counted(copies: npt.NDArray[Any], kept: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    """Counts with one more for each time that a record is in `kept`."""
    records, places = np.unique(np.concatenate([copies["record"], kept]), return_inverse=True)
    summed = np.zeros(len(records), COPIES)
    summed["record"] = records
    added = np.concatenate([copies["copies"], np.ones(len(kept), np.uint64)])
    np.add.at(summed["copies"], places, added)
    return summed


def _hexadecimal(ids: npt.NDArray[np.uint64]) -> pa.Array:
    """Document ids as 32 hexadecimal digits."""
    digits = np.ascontiguousarray(ids).astype(">u8").tobytes().hex()
    offsets = np.arange(len(ids) + 1, dtype=np.int64) * 32
    strings = pa.LargeStringArray.from_buffers(
        len(ids), pa.py_buffer(offsets), pa.py_buffer(digits.encode())
    )
    return strings.cast(pa.string())
