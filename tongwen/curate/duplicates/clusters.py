"""Clusters of near duplicates, and the final list of who was dropped for whom.

Links are read one file at a time and joined by union-find as they come, so that memory grows with
the records that have a link, not with links or with records.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.duplicates.exact import DUPLICATE_SCHEMA, LOSS, LOSS_STAGES, NEAR, final_kept
from tongwen.curate.duplicates.fingerprints import FINGERPRINT
from tongwen.curate.duplicates.union_find import join_links, settle
from tongwen.curate.records.numbering import record_numbers, tasks_and_rows
from tongwen.flow.task import TaskContext, step

Records = npt.NDArray[np.uint64]

_MARK = np.dtype([(name, FINGERPRINT[name]) for name in ("doc_id", "rank", "characters")])


@step("cluster", inputs=("losses", "links", "fingerprints"))
def cluster(context: TaskContext) -> Mapping[str, int]:
    """Join the links to clusters, choose what is kept; add the exact duplicates.

    Reads the losses of exact duplicates, files of links (none where near duplicates are not looked
    for), and the fingerprints of all tasks, in order. Links less than `similarity` alike are left
    out. Writes `duplicates.parquet` (`DUPLICATE_SCHEMA`), sorted by record.
    """
    params = context.params
    link_files, fingerprints = context.inputs["links"], context.inputs["fingerprints"]
    near, closest, links = np.zeros(0, LOSS), np.zeros(0), 0
    if link_files:
        least = params["similarity"] * params["hashes"]
        records, roots, most_equal, links = linked(link_files, least)
        near, equal = _losses(records, roots, most_equal, marks(fingerprints, records))
        closest = equal / params["hashes"]
    exact = np.load(context.file("losses"))
    every = np.concatenate([exact, near])
    closeness = np.concatenate([np.full(len(exact), np.nan), closest])
    order = np.argsort(every["record"])
    every, closeness = every[order], closeness[order]
    kept = final_kept(every)
    table = pa.table(
        {
            "record": every["record"],
            "stage": pa.DictionaryArray.from_arrays(
                every["kind"].astype(np.int8), LOSS_STAGES
            ).cast(pa.string()),
            "similarity": pa.array(closeness, pa.float64(), from_pandas=True),
            "duplicate_of": _document_ids(fingerprints, kept),
            "kept": kept,
        },
        schema=DUPLICATE_SCHEMA,
    )
    pq.write_table(table, context.out / "duplicates.parquet", compression="zstd")
    counts = np.bincount(every["kind"], minlength=len(LOSS_STAGES))
    return {
        "linked_pairs": links,
        **{name: int(number) for name, number in zip(LOSS_STAGES, counts, strict=True)},
    }


def linked(
    paths: Sequence[Path], least_equal: float
) -> tuple[Records, npt.NDArray[np.int64], npt.NDArray[np.uint16], int]:
    """The records that have a link, sorted; the smallest record of each one's cluster, as a place
    in them; the most hashes each shares with another one; the number of links.
    """
    ends_of_links = (
        np.union1d(links["first"], links["second"]) for links in _links(paths, least_equal)
    )
    records = np.unique(np.concatenate([np.zeros(0, np.uint64), *ends_of_links]))
    parents = np.arange(len(records))
    most_equal = np.zeros(len(records), np.uint16)
    number = 0
    for links in _links(paths, least_equal):
        ends = [np.searchsorted(records, links[side]) for side in ("first", "second")]
        join_links(parents, most_equal, ends[0], ends[1], links["equal"].copy())
        number += len(links)
    settle(parents)
    return records, parents, most_equal, number


def _links(paths: Sequence[Path], least_equal: float) -> Iterator[npt.NDArray[Any]]:
    for path in paths:
        links = np.load(path)
        yield links[links["equal"] >= least_equal]


def _losses(
    records: Records,
    roots: npt.NDArray[np.int64],
    most_equal: npt.NDArray[np.uint16],
    known: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint16]]:
    """Every record of a cluster but the preferred one loses to it; and its most equal hashes."""
    order = np.lexsort(
        (
            known["doc_id"][:, 1],
            known["doc_id"][:, 0],
            -known["characters"].astype(np.int64),
            known["rank"],
            roots,
        )
    )
    sorted_roots = roots[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = sorted_roots[1:] != sorted_roots[:-1]
    winners = order[is_first][np.cumsum(is_first) - 1]
    losses = np.zeros(len(order) - int(is_first.sum()), LOSS)
    losses["record"] = records[order[~is_first]]
    losses["kept"] = records[winners[~is_first]]
    losses["kind"] = NEAR
    return losses, most_equal[order[~is_first]]


def marks(fingerprints: Sequence[Path], records: Records) -> npt.NDArray[Any]:
    """What the choice between some records looks at: each file is read once, one at a time.

    `records` are sorted; the fingerprints are those of tasks 0, 1, ...
    """
    found = np.zeros(len(records), _MARK)
    bounds = np.array([record_numbers(task, np.zeros(1))[0] for task in range(len(fingerprints))])
    places = np.append(np.searchsorted(records, bounds.astype(np.uint64)), len(records))
    for task, path in enumerate(fingerprints):
        start, end = places[task], places[task + 1]
        if start < end:
            known = np.load(path)[tasks_and_rows(records[start:end])[1]]
            for name in _MARK.names or ():
                found[name][start:end] = known[name]
    return found


def _document_ids(fingerprints: Sequence[Path], records: Records) -> pa.Array:
    """The document ids of some records in any order, as 32 hexadecimal digits."""
    different, places = np.unique(records, return_inverse=True)
    ids = marks(fingerprints, different)["doc_id"]
    digits = ids.astype(">u8").tobytes().hex()
    offsets = np.arange(len(ids) + 1, dtype=np.int64) * 32
    strings = pa.LargeStringArray.from_buffers(
        len(ids), pa.py_buffer(offsets), pa.py_buffer(digits.encode())
    )
    return strings.take(pa.array(places)).cast(pa.string())
