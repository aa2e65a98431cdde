"""Deduplication through exchanges: same address, same text, near the same text.

Records go by their numbers (`numbering`). Keys are hashes, partitioned by hash; the reduces sort.
Nothing depends on how records are grouped into tasks: what is kept follows from sources, dates,
lengths and document ids.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.fingerprints import FINGERPRINT
from tongwen.curate.minhash import Signatures, band_keys, similarity
from tongwen.curate.numbering import record_numbers, task_and_row
from tongwen.curate.rules import NEAR_DUPLICATE, SAME_TEXT, SAME_URL
from tongwen.flow.task import TaskContext

_URL, _TEXT, NEAR = range(3)
STAGES = (SAME_URL, SAME_TEXT, NEAR_DUPLICATE)
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


def open_rows(decisions: Path) -> npt.NDArray[np.int64]:
    """Rows of a task that no rule has dropped."""
    column = pq.read_table(decisions, columns=["drop_stage"])["drop_stage"]
    return np.flatnonzero(column.is_null().to_numpy()).astype(np.int64)


def write_parts(
    out: Path, rows: npt.NDArray[Any], partition: npt.NDArray[Any], partitions: int
) -> None:
    """Write the rows of each partition, 0 to `partitions` - 1, to its file, in their order."""
    order = np.argsort(partition.astype(np.uint16), kind="stable")  # a radix sort for 16 bits
    bounds = np.searchsorted(partition[order], np.arange(partitions + 1))
    for number in range(partitions):
        with (out / f"part-{number:05d}").open("wb") as file:
            file.write(rows[order[bounds[number] : bounds[number + 1]]].tobytes())


def read_parts(paths: list[Path], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    return np.concatenate([np.fromfile(path, dtype) for path in paths])


def map_exact(context: TaskContext) -> Mapping[str, int]:
    """Address and text of every open record, partitioned by their hash."""
    decisions, fingerprints = context.inputs
    rows = open_rows(decisions)
    known = np.load(fingerprints)[rows]
    members = []
    for kind, name in ((_URL, "url"), (_TEXT, "text")):
        if not context.params[f"same_{name}"]:
            continue
        has_key = known[name].any(axis=1)
        part = np.zeros(int(has_key.sum()), _MEMBER)
        part["kind"] = kind
        part["key"] = known[name][has_key]
        part["record"] = record_numbers(context.params["task"], rows[has_key])
        part["fingerprint"] = known[has_key]
        members.append(part)
    both = np.concatenate([np.zeros(0, _MEMBER), *members])
    partitions = context.params["partitions"]
    partition = (both["key"][:, 0] >> np.uint64(32)) % np.uint64(partitions)
    write_parts(context.out, both, partition, partitions)
    return {"keys": len(both)}


def group_exact(context: TaskContext) -> Mapping[str, int]:
    """The members of all groups of more than one, sorted by group, the preferred one first."""
    members = read_parts(context.inputs, _MEMBER)
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


def lose_exact(context: TaskContext) -> Mapping[str, int]:
    """Who loses to whom, by address first, then by text; writes `losses.npy`, sorted by record."""
    groups = np.concatenate([np.load(path) for path in context.inputs])
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


def map_bands(context: TaskContext) -> Mapping[str, int]:
    """The band keys of every record that is still open, partitioned by key."""
    decisions, fingerprints, signature_file, losses = context.inputs
    params = context.params
    rows = open_rows(decisions)
    records = record_numbers(params["task"], rows)
    is_open = np.load(fingerprints)["has_signature"][rows]
    is_open &= ~np.isin(records, np.load(losses)["record"])
    rows, records = rows[is_open], records[is_open]
    keys = np.zeros((len(rows), params["bands"]), _KEY)
    if len(rows):
        hashes = params["bands"] * params["rows"]
        signatures = np.memmap(signature_file, np.uint32, "r").reshape(-1, hashes)
        keys["key"] = band_keys(signatures[rows], params["bands"], params["rows"])
        keys["record"] = records[:, None]
    flat = keys.ravel()
    partition = (flat["key"] >> np.uint64(32)) % np.uint64(params["partitions"])
    write_parts(context.out, flat, partition, params["partitions"])
    return {"keys": len(flat)}


def pair_bands(context: TaskContext) -> Mapping[str, int]:
    """Candidate pairs: in each bucket every record with the first one and the one before it.

    That is two pairs a record, however large the bucket.
    """
    keys = read_parts(context.inputs, _KEY)
    keys.sort(order=["key", "record"])
    same = keys["key"][1:] == keys["key"][:-1]
    before = np.stack([keys["record"][:-1][same], keys["record"][1:][same]], axis=1)
    starts = np.flatnonzero(np.concatenate(([True], ~same))) if len(keys) else np.zeros(0, int)
    first = np.repeat(keys["record"][starts], np.diff(np.append(starts, len(keys))))
    star = np.stack([first[1:][same], keys["record"][1:][same]], axis=1)
    pairs = np.unique(np.concatenate([before, star]), axis=0)
    np.save(context.out / "pairs.npy", pairs)
    return {"pairs": len(pairs)}


class _Signatures:
    """The signatures and fingerprints of all tasks, mapped into memory."""

    def __init__(self, fingerprints: list[Path], signatures: list[Path], hashes: int) -> None:
        self._fingerprints = [np.load(path, mmap_mode="r") for path in fingerprints]
        self._signatures = [
            np.memmap(path, np.uint32, "r").reshape(-1, hashes)
            if path.stat().st_size
            else np.zeros((0, hashes), np.uint32)
            for path in signatures
        ]

    def signatures(self, records: npt.NDArray[np.uint64]) -> Signatures:
        places = map(task_and_row, records.tolist())
        return np.stack([self._signatures[task][row] for task, row in places])

    def fingerprints(self, records: npt.NDArray[np.uint64]) -> npt.NDArray[Any]:
        places = map(task_and_row, records.tolist())
        rows = [self._fingerprints[task][row] for task, row in places]
        return np.array(rows, FINGERPRINT)


def cluster(context: TaskContext) -> Mapping[str, int]:
    """Verify the candidate pairs, join them to clusters, choose what is kept.

    Writes `duplicates.parquet` (`DUPLICATE_SCHEMA`), sorted by record. Random access to the
    mapped signatures: about 50,000 pairs a second.
    """
    tasks, partitions = context.params["tasks"], context.params["partitions"]
    threshold = context.params["similarity"]
    pair_files = context.inputs[1 : 1 + partitions]
    fingerprint_files = context.inputs[1 + partitions : 1 + partitions + tasks]
    known = _Signatures(
        fingerprint_files, context.inputs[1 + partitions + tasks :], context.params["hashes"]
    )
    losses = np.load(context.inputs[0])
    pairs = np.zeros((0, 2), np.uint64)
    if pair_files:
        pairs = np.unique(np.concatenate([np.load(path) for path in pair_files]), axis=0)
    links, similarities = _verified(pairs, known, threshold)
    near, closest = _near_losses(links, similarities, known)
    every = np.concatenate([losses, near])
    closeness = np.concatenate([np.full(len(losses), np.nan), closest])
    order = np.argsort(every["record"])
    every, closeness = every[order], closeness[order]
    kept = final_kept(every)
    marks = known.fingerprints(kept)["doc_id"] if len(kept) else np.zeros((0, 2), np.uint64)
    table = pa.table(
        {
            "record": every["record"],
            "stage": pa.array([STAGES[kind] for kind in every["kind"]], pa.string()),
            "similarity": pa.array(closeness, pa.float64(), from_pandas=True),
            "duplicate_of": pa.array(
                [f"{(int(high) << 64) | int(low):032x}" for high, low in marks], pa.string()
            ),
            "kept": kept,
        },
        schema=DUPLICATE_SCHEMA,
    )
    pq.write_table(table, context.out / "duplicates.parquet", compression="zstd")
    counts = np.bincount(every["kind"], minlength=3)
    return {
        "candidate_pairs": len(pairs),
        "linked_pairs": len(links),
        **{name: int(number) for name, number in zip(STAGES, counts, strict=True)},
    }


def _verified(
    pairs: npt.NDArray[np.uint64], known: _Signatures, threshold: float
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64]]:
    """The pairs whose whole signatures agree on at least the threshold, and how much they do."""
    links, values = [np.zeros((0, 2), np.uint64)], [np.zeros(0)]
    for start in range(0, len(pairs), _PAIR_CHUNK):
        chunk = pairs[start : start + _PAIR_CHUNK]
        estimate = similarity(known.signatures(chunk[:, 0]), known.signatures(chunk[:, 1]))
        links.append(chunk[estimate >= threshold])
        values.append(estimate[estimate >= threshold])
    return np.concatenate(links), np.concatenate(values)


def _near_losses(
    links: npt.NDArray[np.uint64], similarities: npt.NDArray[np.float64], known: _Signatures
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Clusters are the connected components; the first by the keep rule stays of each.

    Gives the losses and, for each, its similarity to the closest document it is linked with.
    """
    if len(links) == 0:
        return np.zeros(0, LOSS), np.zeros(0)
    records, ends = np.unique(links, return_inverse=True)
    ends = ends.reshape(links.shape).astype(np.int64)
    members = np.zeros(len(records), _MEMBER)
    members["kind"] = NEAR
    members["key"][:, 0] = components(ends, len(records))
    members["record"] = records
    members["fingerprint"] = known.fingerprints(records)
    losses = _losses(members[np.lexsort(_preference(members))])
    closest = np.zeros(len(records))
    for side in (0, 1):
        np.maximum.at(closest, ends[:, side], similarities)
    return losses, closest[np.searchsorted(records, losses["record"])]


@numba.njit(cache=True)
def components(links: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    """The smallest node of each node's connected component, by union-find with path halving."""
    parents = np.arange(number)
    for position in range(len(links)):
        first, second = links[position, 0], links[position, 1]
        while parents[first] != first:
            parents[first] = parents[parents[first]]
            first = parents[first]
        while parents[second] != second:
            parents[second] = parents[parents[second]]
            second = parents[second]
        if first < second:
            parents[second] = first
        else:
            parents[first] = second
    for node in range(number):
        parents[node] = parents[parents[node]]
    return parents


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
