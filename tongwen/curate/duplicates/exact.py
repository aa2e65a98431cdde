"""Deduplication through exchanges: same address, same text, near the same text.

Records go by their numbers (`numbering`). Keys are hashes, partitioned by hash; the reduces sort.
Nothing depends on how records are grouped into tasks: what is kept follows from sources, dates,
lengths and document ids.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.curate.duplicates.fingerprints import FINGERPRINT
from tongwen.curate.records.exchange import (
    open_records,
    partition_of,
    read_parts,
    write_parts,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.rules.decide import NEAR_DUPLICATE, SAME_TEXT, SAME_URL
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

_URL, _TEXT, NEAR = range(3)
LOSS_STAGES = (SAME_URL, SAME_TEXT, NEAR_DUPLICATE)
_MEMBER = np.dtype(
    [("kind", "u1"), ("key", "<u8", 2), ("record", "<u8"), ("fingerprint", FINGERPRINT)]
)
_KEY = np.dtype([("key", "<u8"), ("record", "<u8")])
LOSS = np.dtype([("record", "<u8"), ("kept", "<u8"), ("kind", "u1")])
_PAIR_CHUNK = 4096

DUPLICATE_SCHEMA = pa.schema(
    [
        ("record", pa.uint64()),
        ("stage", pa.string()),
        ("similarity", pa.float64()),  # to the most similar one of its cluster; null when exact
        ("duplicate_of", pa.string()),  # doc_id of the one that is kept
        ("kept", pa.uint64()),
    ]
)


@step("exact-map", inputs=("decisions", "fingerprints"))
def map_exact(context: TaskContext) -> Mapping[str, int]:
    """Address and text of every open record, partitioned by their hash."""
    task, partitions = context.params["task"], context.params["partitions"]
    rows = open_records(context.file("decisions"), (), task)
    known = np.load(context.file("fingerprints"))[rows]
    members = []
    for kind, name in ((_URL, "url"), (_TEXT, "text")):
        if not context.params[f"same_{name}"]:
            continue
        has_key = known[name].any(axis=1)
        part = np.zeros(int(has_key.sum()), _MEMBER)
        part["kind"] = kind
        part["key"] = known[name][has_key]
        part["record"] = record_numbers(task, rows[has_key])
        part["fingerprint"] = known[has_key]
        members.append(part)
    both = np.concatenate([np.zeros(0, _MEMBER), *members])
    write_parts(context.out / PARTS, both, partition_of(both["key"][:, 0], partitions), partitions)
    return {"keys": len(both)}


@step("exact-group", inputs=("parts",))
def group_exact(context: TaskContext) -> Mapping[str, int]:
    """The members of all groups of more than one, sorted by group, the preferred one first."""
    members = read_parts(context.inputs["parts"], context.params["partition"], _MEMBER)
    members = members[np.lexsort(_preference(members))]
    is_first = _group_starts(members)
    sizes = np.diff(np.append(np.flatnonzero(is_first), len(members)))
    grouped = members[np.repeat(sizes > 1, sizes)]
    np.save(context.out / "groups.npy", grouped)
    return {"members": len(grouped)}


def _group_starts(members: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of some sorted members begin a new group."""
    starts = np.ones(len(members), bool)
    starts[1:] = (members["kind"][1:] != members["kind"][:-1]) | (
        members["key"][1:] != members["key"][:-1]
    ).any(axis=1)
    return starts


def _preference(members: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Sort keys, the last one first: groups, then newest for addresses, then the keep rule:
    first source, longer text, smaller doc_id.
    """
    marks = members["fingerprint"]
    ages = np.zeros(len(members), np.int64)
    is_url = members["kind"] == _URL
    dates = np.unique(marks["date"], return_inverse=True)[1]
    ages[is_url] = -dates[is_url]
    return (
        marks["doc_id"][:, 1],
        marks["doc_id"][:, 0],
        -marks["characters"].astype(np.int64),
        marks["rank"],
        ages,
        members["key"][:, 1],
        members["key"][:, 0],
        members["kind"],
    )


@step("exact-lose", inputs=("groups",))
def lose_exact(context: TaskContext) -> Mapping[str, int]:
    """Who loses to whom, by address first, then by text; writes `losses.npy`, sorted by record."""
    groups = np.concatenate([np.load(path) for path in context.inputs["groups"]])
    by_url = _losses(groups[groups["kind"] == _URL])
    texts = groups[groups["kind"] == _TEXT]
    by_text = _losses(texts[~np.isin(texts["record"], by_url["record"])])
    losses = np.concatenate([by_url, by_text])
    losses.sort(order="record")
    np.save(context.out / "losses.npy", losses)
    return {SAME_URL: len(by_url), SAME_TEXT: len(by_text)}


def _losses(members: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Every member of a group but the first loses to the first."""
    is_first = _group_starts(members)
    kept = members["record"][is_first][np.cumsum(is_first) - 1]
    losses = np.zeros(int((~is_first).sum()), LOSS)
    losses["record"] = members["record"][~is_first]
    losses["kept"] = kept[~is_first]
    losses["kind"] = members["kind"][~is_first]
    return losses


def final_kept(losses: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The record that is kept in the end, for losses sorted by record: what a page of the same
    address lost to may itself have lost to another text.
    """
    kept: npt.NDArray[np.uint64] = losses["kept"].copy()
    if len(losses) == 0:
        return kept
    while True:
        places = np.searchsorted(losses["record"], kept)
        places = np.minimum(places, len(losses) - 1)
        lost = losses["record"][places] == kept
        if not lost.any():
            return kept
        kept[lost] = losses["kept"][places[lost]]
