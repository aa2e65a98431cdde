"""Connected components of links by partition: alternating large-star and small-star operations.

Kiveris et al. 2014 (Connected Components in MapReduce and Beyond, SoCC). An edge leads from a
record to one with a smaller number, its parent. The large-star operation at a record gives its
children to its smallest parent, the small-star operation joins all its parents to the smallest one.
Both keep the components and never add an edge; after a few rounds every record has one parent, the
smallest record of its component.

Each operation is an exchange, partitioned by record. A task reads the edges of its records twice,
some at a time: once for the smallest parent of each record, once to rewrite them. So memory grows
with the records of a partition, not with edges, components or the children of one record.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.duplicates.groups import firsts_of_groups
from tongwen.curate.duplicates.union_find import join_links, settle
from tongwen.curate.records.exchange import PartWriter, blocks_of, part_chunks, partition_of
from tongwen.curate.text.units import GOLDEN
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

CHILDREN, PARENTS, CLOSENESS = "children", "parents", "closeness"
"""Exchange files: edges by their child and by their parent; the most equal hashes of records."""

EDGE = np.dtype([("child", "<u8"), ("parent", "<u8")])
CLOSE = np.dtype([("record", "<u8"), ("equal", "<u2")])
MEMBER = np.dtype([("record", "<u8"), ("root", "<u8")])
"""A record and the smallest one of its component."""

Edges = npt.NDArray[Any]


@step("cluster-map", inputs=("links",))
def map_links(context: TaskContext) -> Mapping[str, int]:
    """Edges of one file of links, joined within the file, and for each of its records the most
    hashes it shares with another one. Links less than `similarity` alike are left out.
    """
    params = context.params
    links = np.load(context.file("links"))
    links = links[links["equal"] >= params["similarity"] * params["hashes"]]
    records, roots, most_equal = joined(links)
    is_child = roots != np.arange(len(records))
    edges = np.zeros(int(is_child.sum()), EDGE)
    edges["child"], edges["parent"] = records[is_child], records[roots[is_child]]
    writer = _EdgeWriter(context.out, params["partitions"])
    writer.add(edges)
    writer.close()
    close = np.zeros(len(records), CLOSE)
    close["record"], close["equal"] = records, most_equal
    blocks = PartWriter(context.out / CLOSENESS, CLOSE, len(params["blocks"]))
    blocks.add(close, blocks_of(records, params["blocks"]))
    blocks.close()
    return {"linked_pairs": len(links), "edges": len(edges)}


def joined(
    links: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """The records that have a link, sorted; the smallest record of each one's component, as a place
    in them; the most hashes each shares with another one.
    """
    records = np.union1d(links["first"], links["second"])
    roots = np.arange(len(records))
    most_equal = np.zeros(len(records), np.uint16)
    ends = [np.searchsorted(records, links[side]) for side in ("first", "second")]
    join_links(roots, most_equal, ends[0], ends[1], links["equal"].copy())
    settle(roots)
    return records, roots, most_equal


@step("large-star", inputs=("children", "parents"))
def large_star(context: TaskContext) -> Mapping[str, int]:
    """Give the children of each record of a partition to its smallest parent.

    Counts the edges that `moved` and those to `several` parents, not the smallest; when there are
    neither, every component is a star.
    """
    params = context.params
    least, several = _smallest_parents(context.inputs["children"], params["partition"])
    writer = PartWriter(context.out / PARTS, EDGE, params["partitions"])
    moved = 0
    for edges in part_chunks(context.inputs["parents"], params["partition"], EDGE):
        found = edges.copy()
        places = np.searchsorted(least["child"], edges["parent"])
        has_parent = places < len(least)
        has_parent[has_parent] = least["child"][places[has_parent]] == edges["parent"][has_parent]
        found["parent"][has_parent] = least["parent"][places[has_parent]]
        moved += int(has_parent.sum())
        found = _unique(found)
        writer.add(found, _partition(found["child"], params["partitions"]))
    writer.close()
    return {"edges": writer.number, "moved": moved, "several": several}


@step("small-star", inputs=("parts",))
def small_star(context: TaskContext) -> Mapping[str, int]:
    """Join the parents of each record of a partition, and the record, to its smallest parent."""
    params = context.params
    least, _ = _smallest_parents(context.inputs["parts"], params["partition"])
    writer = _EdgeWriter(context.out, params["partitions"])
    for edges in part_chunks(context.inputs["parts"], params["partition"], EDGE):
        smallest = least["parent"][np.searchsorted(least["child"], edges["child"])]
        found = np.zeros(len(edges), EDGE)
        is_other = edges["parent"] != smallest
        found["child"] = np.where(is_other, edges["parent"], edges["child"])
        found["parent"] = smallest
        writer.add(_unique(found))
    writer.close()
    return {"edges": writer.number}


@step("cluster-members", inputs=("children", "parents"))
def list_members(context: TaskContext) -> Mapping[str, int]:
    """Every record of a component with its root, by the block of the record, from stars."""
    params = context.params
    least, _ = _smallest_parents(context.inputs["children"], params["partition"])
    roots = np.zeros(0, np.uint64)
    for edges in part_chunks(context.inputs["parents"], params["partition"], EDGE):
        roots = np.union1d(roots, edges["parent"])
    members = np.zeros(len(least) + len(roots), MEMBER)
    members["record"] = np.concatenate([least["child"], roots])
    members["root"] = np.concatenate([least["parent"], roots])
    writer = PartWriter(context.out / PARTS, MEMBER, len(params["blocks"]))
    writer.add(members, blocks_of(members["record"], params["blocks"]))
    writer.close()
    return {"members": len(members), "clusters": len(roots)}


def _smallest_parents(paths: Sequence[Path], partition: int) -> tuple[Edges, int]:
    """The edge from each child to its smallest parent, sorted by child; and how many edges lead to
    another one.
    """
    least = firsts_of_groups(
        part_chunks(paths, partition, EDGE),
        EDGE,
        group=lambda edges: (edges["child"],),
        place=lambda edges: (edges["parent"],),
    )
    several = 0
    for edges in part_chunks(paths, partition, EDGE):
        smallest = least["parent"][np.searchsorted(least["child"], edges["child"])]
        several += int((edges["parent"] != smallest).sum())
    return least, several


def _unique(edges: Edges) -> Edges:
    """The edges of a chunk, each once."""
    edges = edges[np.lexsort((edges["parent"], edges["child"]))]
    is_new = np.ones(len(edges), bool)
    is_new[1:] = edges[1:] != edges[:-1]
    return edges[is_new]


def _partition(records: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.uint64]:
    return partition_of(records * GOLDEN, partitions)


class _EdgeWriter:
    """Writes each edge twice, for the partition of its child and for that of its parent."""

    def __init__(self, out: Path, partitions: int) -> None:
        self._partitions = partitions
        self._writers = {
            side: PartWriter(out / name, EDGE, partitions)
            for side, name in (("child", CHILDREN), ("parent", PARENTS))
        }

    @property
    def number(self) -> int:
        return self._writers["child"].number

    def add(self, edges: Edges) -> None:
        for side, writer in self._writers.items():
            writer.add(edges, _partition(edges[side], self._partitions))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
