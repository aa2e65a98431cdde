"""Near duplicates: pairs of records that share a band, verified on their whole signatures.

Four steps, each with bounded memory and sequential reading: band keys are exchanged by key, the
pairs of each bucket by the block of their first record, which adds its signature, and then by the
block of their second, where the two signatures are compared. A block is a run of extraction tasks
with about as many records as a partition.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.duplicates.exact import LOSS
from tongwen.curate.duplicates.minhash import Signatures, band_keys, similarity
from tongwen.curate.records.exchange import (
    blocks_of,
    open_records,
    part_chunks,
    partition_of,
    read_parts,
    write_parts,
)
from tongwen.curate.records.numbering import record_numbers, tasks_and_rows
from tongwen.flow.exchange import PARTS, PartFile
from tongwen.flow.task import TaskContext, step

_BAND = np.dtype([("key", "<u8"), ("mark", "<u8"), ("record", "<u8")])
_PAIR = np.dtype([("first", "<u8"), ("second", "<u8")])
LINK = np.dtype([("first", "<u8"), ("second", "<u8"), ("equal", "<u2")])
"""Two records and how many of their hashes are equal."""

_NEIGHBOURS = 4  # a bucket of n has 5 n pairs, not n²: a template can hold all pages of a host
_CHUNK_ROWS = 50_000  # a pair carries its signature, hundreds of bytes: tens of MB at once


@step("band-map", inputs=("decisions", "fingerprints", "signatures", "lost"))
def map_bands(context: TaskContext) -> Mapping[str, int]:
    """The band keys of every record that neither the rules have dropped nor lost as an exact
    duplicate, partitioned by key.
    """
    params = context.params
    rows = open_records(context.file("decisions"), (), params["task"])
    records = record_numbers(params["task"], rows)
    known = np.load(context.file("fingerprints"))
    is_open = known["has_signature"][rows]
    lost = read_parts(context.inputs["lost"], params["block"], LOSS)["record"]
    is_open &= ~np.isin(records, lost)
    rows, records = rows[is_open], records[is_open]
    bands = np.zeros((len(rows), params["bands"]), _BAND)
    signatures = _signatures(context.inputs["signatures"], params["bands"] * params["rows"])[rows]
    bands["key"] = band_keys(signatures, params["bands"], params["rows"])
    bands["mark"] = known["doc_id"][rows, :1]
    bands["record"] = records[:, None]
    flat = bands.ravel()
    partition = partition_of(flat["key"], params["partitions"])
    write_parts(context.out / PARTS, flat, partition, params["partitions"])
    return {"keys": len(flat)}


@step("band-pair", inputs=("parts",))
def pair_bands(context: TaskContext) -> Mapping[str, int]:
    """Candidate pairs of each bucket, partitioned by the block of their first record.

    Every record is paired with the `_NEIGHBOURS` before it and with the first of the bucket: all
    pairs of small buckets, five a record of large ones. The order is that of document ids, so
    neither the order of files nor their grouping changes the pairs.
    """
    bands = read_parts(context.inputs["parts"], context.params["partition"], _BAND)
    bands = bands[np.argsort(bands["key"])]
    same = np.zeros(len(bands) + 1, bool)
    same[1:-1] = bands["key"][1:] == bands["key"][:-1]
    bands = bands[same[:-1] | same[1:]]  # buckets of two and more
    bands = bands[np.lexsort((bands["record"], bands["mark"], bands["key"]))]
    is_first = np.ones(len(bands), bool)
    is_first[1:] = bands["key"][1:] != bands["key"][:-1]
    starts = np.flatnonzero(is_first)
    places = np.arange(len(bands))
    first = np.repeat(starts, np.diff(np.append(starts, len(bands))))
    sides = [(first, places)]
    sides += [(places - back, places) for back in range(1, _NEIGHBOURS + 1)]
    pairs = np.concatenate(
        [
            _pairs(bands["record"][one[inside]], bands["record"][other[inside]])
            for one, other in sides
            for inside in [(one >= first) & (one < other)]
        ]
    )
    pairs = _unique(pairs)
    blocks = context.params["blocks"]
    write_parts(context.out / PARTS, pairs, blocks_of(pairs["first"], blocks), len(blocks))
    return {"pairs": len(pairs)}


def _pairs(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
    pairs = np.empty(len(one), _PAIR)
    pairs["first"], pairs["second"] = np.minimum(one, other), np.maximum(one, other)
    return pairs


def _unique(pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pairs, sorted, each once."""
    pairs = pairs[np.lexsort((pairs["second"], pairs["first"]))]
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = pairs[1:] != pairs[:-1]
    return pairs[is_new]


@step("pair-sign", inputs=("parts", "signatures"))
def sign_pairs(context: TaskContext) -> Mapping[str, int]:
    """Add the signature of their first record to the pairs of one block; partitioned by the block
    of the second.

    Reads the pairs, and the signatures of the block's tasks, in order.
    """
    params = context.params
    pairs = _unique(read_parts(context.inputs["parts"], params["partition"], _PAIR))
    known = _Block(context.inputs["signatures"], params["first_task"], params["hashes"])
    signed = _signed_pair(params["hashes"])
    targets = blocks_of(pairs["second"], params["blocks"])
    writer = PartFile(context.out / PARTS, len(params["blocks"]))
    order = np.argsort(targets, kind="stable")
    for start in range(0, len(pairs), _CHUNK_ROWS):
        chunk = order[start : start + _CHUNK_ROWS]
        rows = np.empty(len(chunk), signed)
        rows["first"], rows["second"] = pairs["first"][chunk], pairs["second"][chunk]
        rows["signature"] = known.signatures(rows["first"])
        present, sizes = np.unique(targets[chunk], return_counts=True)
        writer.add(present, sizes * signed.itemsize, rows.tobytes())
    writer.close()
    return {"candidate_pairs": len(pairs)}


@step("pair-verify", inputs=("parts", "signatures"))
def verify_pairs(context: TaskContext) -> Mapping[str, int]:
    """Compare whole signatures; writes `links.npy` (dtype `LINK`), the pairs at least
    `least_similarity` alike.

    Reads the signed pairs whose second record is in this block, and the signatures of the block's
    tasks, in order.
    """
    params = context.params
    hashes = params["hashes"]
    known = _Block(context.inputs["signatures"], params["first_task"], hashes)
    found = [np.zeros(0, LINK)]
    signed = part_chunks(
        context.inputs["parts"], params["partition"], _signed_pair(hashes), _CHUNK_ROWS
    )
    for rows in signed:
        shares = similarity(rows["signature"], known.signatures(rows["second"]))
        links = np.empty(len(rows), LINK)
        links["first"], links["second"] = rows["first"], rows["second"]
        links["equal"] = np.rint(shares * hashes)
        found.append(links[shares >= params["least_similarity"]])
    every = np.concatenate(found)
    np.save(context.out / "links.npy", every)
    return {"linked_pairs": len(every)}


def _signed_pair(hashes: int) -> np.dtype[Any]:
    return np.dtype([("first", "<u8"), ("second", "<u8"), ("signature", "<u4", (hashes,))])


def _signatures(paths: Sequence[Path], hashes: int) -> Signatures:
    every = [np.fromfile(path, np.uint32) for path in paths]
    return np.concatenate([np.zeros(0, np.uint32), *every]).reshape(-1, hashes)


class _Block:
    """The signatures of a run of tasks, in memory."""

    def __init__(self, paths: Sequence[Path], first_task: int, hashes: int) -> None:
        self._signatures = _signatures(paths, hashes)
        sizes = [path.stat().st_size // (4 * hashes) for path in paths]
        self._offsets = np.append(0, np.cumsum(sizes))
        self._first_task = first_task

    def signatures(self, records: npt.NDArray[np.uint64]) -> Signatures:
        tasks, rows = tasks_and_rows(records)
        found: Signatures = self._signatures[self._offsets[tasks - self._first_task] + rows]
        return found
