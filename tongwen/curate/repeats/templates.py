"""Host templates: what most hosts print around every page is found by comparing their pages.

A line that stands in many documents of one host is either a template's (a notice, an invitation,
a list of links) or a form of its contents: the heading "## Syntax", "Output:", a table's first row.
On real pages the two differ in place, not in number. So lines are cut only in a block that
reaches to the beginning or the end of the page, and headings only with what they stand above.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.records.edits import KINDS, Edits, edited_documents, no_edits
from tongwen.curate.records.exchange import (
    PartWriter,
    part_chunks,
    partition_of,
    read_parts,
    rows_between,
    saved_edits,
    write_parts,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.repeats.units import Lines, lines_of
from tongwen.curate.text.units import GOLDEN
from tongwen.flow.task import TaskContext, step

LINES, HOSTS = "lines", "hosts"
"""Exchange files of `map_templates`."""
_LINE = np.dtype(
    [
        ("key", "<u8"),
        ("host", "<u8"),
        ("text", "<u8"),
        ("record", "<u8"),
        ("start", "<u4"),
        ("end", "<u4"),
    ]
)
_HOST = np.dtype([("host", "<u8"), ("pages", "<u8")])
_FREQUENT = np.dtype([("record", "<u8"), ("start", "<u4"), ("end", "<u4")])
_HOST_TEMPLATE = KINDS.index("host_template")
_CODE_ENDS = (";", "{", "}", ">", "()")
_LEAST_BLOCK_LETTERS = 16
"""A block without a line of so many letters (Chinese characters count twice) stays: they are too
short to say whether they are words or contents."""


@step("template-map", inputs=("documents", "pages", "edits"))
def map_templates(context: TaskContext) -> Mapping[str, int]:
    """Every line of every page (plain texts have no template), partitioned by host and line: the
    exchange `lines`; and the number of pages a host, partitioned by host: `hosts`.
    """
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    task, partitions = context.params["task"], context.params["partitions"]
    writer = PartWriter(context.out / LINES, _LINE, partitions)
    about = pq.read_table(context.file("pages"), columns=["is_text", "problem"])
    is_page = about["problem"].is_null().to_numpy() & ~about["is_text"].to_numpy()
    hosts: list[int] = []
    for row, document, edited in edited_documents(
        documents, edit_files, task, ["host"], np.flatnonzero(is_page)
    ):
        if not document["host"]:
            continue
        host = xxhash.xxh3_64_intdigest(document["host"].encode("utf-8", "surrogatepass"))
        hosts.append(host)
        lines = lines_of(edited.text)
        places = np.flatnonzero(lines.is_prose & (lines.weights > 0))
        rows = np.zeros(len(places), _LINE)
        rows["key"] = lines.keys[places, 0] ^ (lines.keys[places, 1] + np.uint64(host)) * GOLDEN
        rows["host"] = host
        rows["text"] = xxhash.xxh3_64_intdigest(edited.text.encode("utf-8", "surrogatepass"))
        rows["record"] = record_numbers(task, np.array([row]))
        rows["start"], rows["end"] = lines.starts[places], lines.ends[places]
        writer.add_by_key(rows, rows["key"])
    writer.close()
    counted = np.zeros(len(set(hosts)), _HOST)
    counted["host"], counted["pages"] = np.unique(np.array(hosts, np.uint64), return_counts=True)
    write_parts(context.out / HOSTS, counted, partition_of(counted["host"], partitions), partitions)
    return {"pages": len(hosts), "lines": writer.number}


@step("template-hosts", inputs=("parts",))
def count_hosts(context: TaskContext) -> Mapping[str, int]:
    """Pages of the hosts of one partition that have enough for a template: `hosts.npy`, sorted by
    host.
    """
    params = context.params
    counted = np.zeros(0, _HOST)
    for rows in part_chunks(context.inputs["parts"], params["partition"], _HOST):
        counted = _summed(np.concatenate([counted, rows]))
    large = counted[counted["pages"] >= params["minimum_documents"]]
    np.save(context.out / "hosts.npy", large)
    return {"hosts": len(counted), "hosts_with_enough_pages": len(large)}


def _summed(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """One row a host, sorted."""
    hosts, places = np.unique(counts["host"], return_inverse=True)
    summed = np.zeros(len(hosts), _HOST)
    summed["host"] = hosts
    np.add.at(summed["pages"], places, counts["pages"])
    return summed


@step("template-find", inputs=("hosts", "parts"))
def find_templates(context: TaskContext) -> Mapping[str, int]:
    """Lines that stand in enough different documents of their host, wherever: `frequent.npy`,
    sorted by record. Copies of a page count once, or all of it would be its host's template.
    """
    params = context.params
    rows = read_parts(context.inputs["parts"], params["partition"], _LINE)
    hosts, places = np.unique(rows["host"], return_inverse=True)
    pages = _pages(context.inputs["hosts"], hosts)
    rows = rows[pages[places] > 0]
    rows = rows[np.lexsort((rows["text"], rows["key"], rows["host"]))]
    starts = np.ones(len(rows), bool)
    same = (rows["host"][1:] == rows["host"][:-1]) & (rows["key"][1:] == rows["key"][:-1])
    starts[1:] = ~same
    is_new = np.ones(len(rows), bool)  # the first of its text in the group
    is_new[1:] = ~same | (rows["text"][1:] != rows["text"][:-1])
    groups = np.cumsum(starts) - 1
    documents = np.bincount(groups, is_new, minlength=1)[groups] if len(rows) else np.zeros(0)
    of_host = pages[np.searchsorted(hosts, rows["host"])]
    is_frequent = documents >= np.maximum(
        params["minimum_documents"], params["minimum_share"] * of_host.astype(np.float64)
    )
    found = np.zeros(int(is_frequent.sum()), _FREQUENT)
    for name in ("record", "start", "end"):
        found[name] = rows[name][is_frequent]
    found.sort(order=["record", "start"])
    np.save(context.out / "frequent.npy", found)
    return {"lines": len(rows), "frequent": len(found)}


def _pages(paths: Sequence[Path], hosts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Pages of some sorted hosts, 0 where they are too few; `paths` are the counts of each
    partition, of which one at a time is in memory.
    """
    partition = partition_of(hosts, len(paths))
    order = np.argsort(partition, kind="stable")
    bounds = np.searchsorted(partition[order], np.arange(len(paths) + 1))
    pages = np.zeros(len(hosts), np.uint64)
    for number, path in enumerate(paths):
        wanted = order[bounds[number] : bounds[number + 1]]
        known = np.load(path)
        if len(wanted) and len(known):
            places = np.minimum(np.searchsorted(known["host"], hosts[wanted]), len(known) - 1)
            is_known = known["host"][places] == hosts[wanted]
            pages[wanted[is_known]] = known["pages"][places[is_known]]
    return pages


@step("template-cut", inputs=("documents", "edits", "frequent"))
def cut_templates(context: TaskContext) -> Mapping[str, int]:
    """Cut the blocks of frequent lines at the beginnings and ends of the pages of one task.

    Reads the `frequent.npy` of all partitions; writes `edits.npy`.
    """
    documents, task = context.file("documents"), context.params["task"]
    total = pq.ParquetFile(documents).metadata.num_rows
    first, last = record_numbers(task, np.array([0, max(total - 1, 0)])).tolist()
    frequent = rows_between(context.inputs["frequent"], "record", first, last, _FREQUENT)
    frequent.sort(order=["record", "start"])
    rows = (np.unique(frequent["record"]) - np.uint64(first)).astype(np.int64)
    parts: list[Edits] = [no_edits()]
    for row, _, edited in edited_documents(documents, context.inputs["edits"], task, [], rows):
        low, high = np.searchsorted(
            frequent["record"], np.array([first + row, first + row + 1], np.uint64)
        )
        lines = lines_of(edited.text)
        found = template_lines(edited.text, lines, frequent["start"][low:high])
        edits = no_edits(len(found))
        edits["record"] = first + row
        edits["kind"] = _HOST_TEMPLATE
        for place, line in enumerate(found.tolist()):
            edits["start"][place], edits["end"][place] = edited.to_extracted(
                int(lines.starts[line]), int(lines.ends[line])
            )
        parts.append(edits)
    edits = saved_edits(context.out / "edits.npy", np.concatenate(parts))
    return {
        "frequent": len(frequent),
        "pages": len(np.unique(edits["record"])),
        "cut": len(edits),
        "cut_characters": int((edits["end"].astype(np.int64) - edits["start"]).sum()),
    }


def template_lines(
    text: str, lines: Lines, frequent_starts: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Which lines of a page to cut, ascending.

    Args:
        text: the page.
        lines: its lines.
        frequent_starts: where the lines begin that many pages of the host have.
    """
    filled = np.flatnonzero(lines.ends > lines.starts)
    is_frequent = np.isin(lines.starts[filled], frequent_starts)
    is_heading = np.zeros(len(filled), bool)
    for place in np.flatnonzero(is_frequent).tolist():
        line = text[lines.starts[filled[place]] : lines.ends[filled[place]]]
        is_heading[place] = line.startswith("#")
        is_frequent[place] = not (line.startswith("<") or line.endswith(_CODE_ENDS))
    # Signs without letters (rules, arrows) belong to the block they stand in.
    is_part = is_frequent | (lines.is_prose[filled] & (lines.weights[filled] == 0))
    rest = np.flatnonzero(~is_part)
    head = int(rest[0]) if len(rest) else len(filled)
    tail = int(rest[-1]) + 1 if len(rest) else len(filled)
    while head and (is_heading[head - 1] or not is_frequent[head - 1]):
        head -= 1  # what the heading stands above is not of the template
    while tail < len(filled) and not is_frequent[tail]:
        tail += 1
    weights = np.where(is_heading, 0, lines.weights[filled])
    blocks = [
        filled[block]
        for block in (np.arange(head), np.arange(tail, len(filled)))
        if len(block) and weights[block].max() >= _LEAST_BLOCK_LETTERS
    ]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *blocks]))
