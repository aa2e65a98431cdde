"""Exact repeated spans without a suffix array: sampled hashes, exchanges, verification on the text.

A span is a run of units (words, or single characters of a script without spaces) of a certain
length, in two documents of one kind (English or Chinese) or twice in one. What Lee et
al. 2021 (arXiv 2107.06499) find by a suffix array of all text is found here by exchanges, in five
steps, so that no task holds more than a part:

1. `map_anchors`: hashes of sampled runs of half the length, by winnowing (`span_kernels.anchors`);
2. `find_repeats`: which of them stand twice;
3. `map_windows`: around those only, the hashes of all runs of the whole length;
4. `pair_windows`: of each, who has the preferred copy;
5. `quote_spans` and `cut_spans`: the letters of the kept copies, and the comparison with the other
   ones. What differs was a collision of hashes and stays.

Every run of the length whose preferred copy lies elsewhere is covered, no other; of what is covered
whole sentences are cut. A unit is cut only where a copy of it lies in a document that is preferred
to this one, or earlier in this one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tongwen.curate.records.edits import KINDS, Edits, edited_documents, no_edits
from tongwen.curate.records.exchange import (
    PREFERENCE,
    PartWriter,
    open_records,
    preference,
    read_parts,
    rows_between,
    saved_edits,
    source_ranks,
)
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.repeats.span_kernels import anchors, copies_of_first, sentence_cuts, windows
from tongwen.curate.repeats.units import Flags, Units, letters_of, placed_units
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import TaskContext, step

_ANCHOR = np.dtype([("key", "<u8"), ("record", "<u8"), ("unit", "<u4")])
_REPEAT = np.dtype([("record", "<u8"), ("unit", "<u4")])
_WINDOW = np.dtype([("key", "<u8"), ("preference", PREFERENCE), ("record", "<u8"), ("unit", "<u4")])
_PAIR = np.dtype([("kept", "<u8"), ("kept_unit", "<u4"), ("record", "<u8"), ("unit", "<u4")])
_SPAN = np.dtype(
    [("record", "<u8"), ("unit", "<u4"), ("units", "<u4"), ("kept", "<u8"), ("kept_unit", "<u4"),
     ("letters_start", "<u8"), ("letters_end", "<u8")]
)  # fmt: skip
_REPEATED_SPAN = KINDS.index("repeated_span")
_MOST_PAIRS = 4_000_000  # 24 bytes each: 96 MB, and as much again while they are sorted


def span_units(lang: str, params: Mapping[str, Any]) -> int | None:
    """The shortest span in units for documents of a language; None for source code."""
    if lang == "code":
        return None
    return int(params["span_characters"] if lang.startswith("zh") else params["span_words"])


@step("span-anchors", inputs=("documents", "decisions", "duplicates", "edits"))
def map_anchors(context: TaskContext) -> Mapping[str, int]:
    """The anchors of every record that is still open, partitioned by their hash."""
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    task = context.params["task"]
    writer = PartWriter(context.out / PARTS, _ANCHOR, context.params["partitions"])
    chosen = open_records(context.file("decisions"), context.inputs["duplicates"], task)
    for row, document, edited in edited_documents(documents, edit_files, task, ["lang"], chosen):
        size = span_units(document["lang"], context.params)
        if size is not None:
            keys, places = anchors(placed_units(edited.text).hashes, size)
            rows = np.zeros(len(keys), _ANCHOR)
            rows["key"], rows["unit"] = keys, places
            rows["record"] = record_numbers(task, np.array([row]))
            writer.add_by_key(rows, rows["key"])
    writer.close()
    return {"anchors": writer.number}


@step("span-repeats", inputs=("parts",))
def find_repeats(context: TaskContext) -> Mapping[str, int]:
    """Anchors whose hash stands in a partition twice: `repeats.npy`, sorted by record and unit.

    About 60 bytes of memory an anchor.
    """
    rows = read_parts(context.inputs["parts"], context.params["partition"], _ANCHOR)
    keys = rows["key"].copy()
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    is_repeated = np.zeros(len(rows), bool)
    is_repeated[1:] = same
    is_repeated[:-1] |= same
    chosen = rows[order[is_repeated]]
    found = np.zeros(len(chosen), _REPEAT)
    by_place = np.lexsort((chosen["unit"], chosen["record"]))
    found["record"], found["unit"] = chosen["record"][by_place], chosen["unit"][by_place]
    np.save(context.out / "repeats.npy", found)
    return {"anchors": len(rows), "repeated": len(found)}


@step("span-windows", inputs=("documents", "edits", "repeats"))
def map_windows(context: TaskContext) -> Mapping[str, int]:
    """All spans around repeated anchors, partitioned by their hash.

    Reads the `repeats.npy` of all partitions.
    """
    documents, params = context.file("documents"), context.params
    task, ranks = params["task"], source_ranks(params["sources"])
    writer = PartWriter(context.out / PARTS, _WINDOW, params["partitions"])
    first, last = _numbers(documents, task)
    repeats = rows_between(context.inputs["repeats"], "record", first, last, _REPEAT)
    repeats.sort(order=["record", "unit"])
    for row, document, edited in edited_documents(
        documents,
        context.inputs["edits"],
        task,
        ["doc_id", "source", "lang"],
        _rows(repeats, first),
    ):
        size = span_units(document["lang"], params)
        assert size is not None
        low, high = _range_of(repeats["record"], first + row)
        places = repeats["unit"][low:high].astype(np.int64)
        keys, starts = windows(placed_units(edited.text).hashes, size, places)
        rows = np.zeros(len(keys), _WINDOW)
        rows["key"], rows["unit"] = keys, starts
        rows["preference"] = np.array(preference(document, ranks), PREFERENCE)
        rows["record"] = first + row
        writer.add_by_key(rows, rows["key"])
    writer.close()
    return {"windows": writer.number}


@step("span-pairs", inputs=("parts",))
def pair_windows(context: TaskContext) -> Mapping[str, int]:
    """Every span that is not the preferred one of its hash, with that: `pairs.npy`, sorted by the
    record that keeps it.

    About 130 bytes of memory a window.
    """
    rows = read_parts(context.inputs["parts"], context.params["partition"], _WINDOW)
    keys = rows["key"].copy()
    copies, kept = copies_of_first(
        keys,
        np.argsort(keys, kind="stable"),
        rows["preference"]["first"].copy(),
        rows["preference"]["second"].copy(),
        rows["record"].copy(),
        rows["unit"].copy(),
    )
    pairs = np.zeros(len(copies), _PAIR)
    for side, places in (("", copies), ("kept_", kept)):
        pairs[f"{side}unit"] = rows["unit"][places]
    pairs["record"], pairs["kept"] = rows["record"][copies], rows["record"][kept]
    pairs = pairs[np.lexsort((pairs["unit"], pairs["record"], pairs["kept"]))]
    np.save(context.out / "pairs.npy", pairs)
    return {"windows": len(rows), "pairs": len(pairs)}


@step("span-quotes", inputs=("documents", "edits", "pairs"))
def quote_spans(context: TaskContext) -> Mapping[str, int]:
    """Join the windows whose kept copies lie in the records of one task to the longest spans, and
    write the letters of these copies.

    Reads the `pairs.npy` of all partitions; writes `spans.npy`, sorted by the record that loses,
    and `letters.npy`, to which they point.
    """
    documents, edit_files = context.file("documents"), context.inputs["edits"]
    params, pair_files = context.params, context.inputs["pairs"]
    task = params["task"]
    first, last = _numbers(documents, task)
    spans: list[npt.NDArray[Any]] = [np.zeros(0, _SPAN)]
    letters: list[npt.NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    written = 0
    for low, high in _groups(pair_files, first, last):
        pairs = rows_between(pair_files, "kept", low, high, _PAIR)
        found = _joined(pairs)
        rows = _rows(found, first, "kept")
        for row, document, edited in edited_documents(documents, edit_files, task, ["lang"], rows):
            size = span_units(document["lang"], params)
            assert size is not None
            start, end = _range_of(found["kept"], first + row)
            part = found[start:end]
            part["units"] += np.uint32(size - 1)
            quoted, starts, ends = _quoted(edited.text, part["kept_unit"], part["units"])
            part["letters_start"], part["letters_end"] = starts + written, ends + written
            letters.append(quoted)
            written += len(quoted)
        spans.append(found)
    every = np.concatenate(spans)
    every = every[np.lexsort((every["kept_unit"], every["kept"], every["unit"], every["record"]))]
    np.save(context.out / "spans.npy", every)
    np.save(context.out / "letters.npy", np.concatenate(letters))
    return {"spans": len(every), "letters": written}


@step("span-cut", inputs=("documents", "edits", "spans", "letters"))
def cut_spans(context: TaskContext) -> Mapping[str, int]:
    """Compare each span with the letters of its kept copy and cut the whole sentences in those that
    are equal; writes `edits.npy`.

    Reads the `spans.npy` and the `letters.npy` of all tasks, in the same order.
    """
    documents, params = context.file("documents"), context.params
    task = params["task"]
    letters = [np.load(path, mmap_mode="r") for path in context.inputs["letters"]]
    first, last = _numbers(documents, task)
    found = [rows_between([path], "record", first, last, _SPAN) for path in context.inputs["spans"]]
    spans = np.concatenate([np.zeros(0, _SPAN), *found])
    sources = np.repeat(np.arange(len(found)), [len(part) for part in found])
    order = np.lexsort((spans["unit"], spans["record"]))
    spans, sources = spans[order], sources[order]
    parts: list[Edits] = [no_edits()]
    refuted = mid_sentence = 0
    for row, document, edited in edited_documents(
        documents, context.inputs["edits"], task, ["lang"], _rows(spans, first)
    ):
        size = span_units(document["lang"], params)
        assert size is not None
        low, high = _range_of(spans["record"], first + row)
        units = placed_units(edited.text)
        quotes = [
            letters[source][start:end]
            for source, start, end in zip(
                sources[low:high],
                spans["letters_start"][low:high],
                spans["letters_end"][low:high],
                strict=True,
            )
        ]
        covered, wrong = covered_units(edited.text, units, spans[low:high], quotes, size)
        refuted += wrong
        starts, ends = sentence_cuts(edited.text, units, covered, size // 2)
        mid_sentence += int(covered.any() and not len(starts))
        edits = no_edits(len(starts))
        edits["record"] = first + row
        edits["kind"] = _REPEATED_SPAN
        for place, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            edits["start"][place], edits["end"][place] = edited.to_extracted(start, end)
        parts.append(edits)
    edits = saved_edits(context.out / "edits.npy", np.concatenate(parts))
    return {
        "spans": len(spans),
        "refuted": refuted,
        "documents": len(np.unique(edits["record"])),
        "documents_without_a_whole_sentence": mid_sentence,
        "cut_characters": int((edits["end"].astype(np.int64) - edits["start"]).sum()),
    }


def covered_units(
    text: str,
    units: Units,
    spans: npt.NDArray[Any],
    quotes: list[npt.NDArray[np.uint32]],
    size: int,
) -> tuple[Flags, int]:
    """Which units of a text lie in spans whose letters are those quoted, and how many spans differ.

    Of a span that repeats an earlier one of the same text, what overlaps with that one stays.
    """
    covered = np.zeros(len(units.hashes), bool)
    own, offsets = _unit_letters(text, units)
    refuted = 0
    for span, quote in zip(spans, quotes, strict=True):
        start = int(span["unit"])
        end = start + int(span["units"])
        assert end <= len(covered)
        if not np.array_equal(own[offsets[start] : offsets[end]], quote):
            refuted += 1
            continue
        if span["kept"] == span["record"]:
            start = max(start, int(span["kept_unit"]) + size)
        covered[start:end] = True
    return covered, refuted


def _unit_letters(text: str, units: Units) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The letters of all units one after another, and where each unit's begin (one more)."""
    sizes = units.ends - units.starts
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    places = np.repeat(units.starts - offsets[:-1], sizes) + np.arange(offsets[-1])
    return letters_of(text)[places], offsets


def _quoted(
    text: str, first_units: npt.NDArray[Any], numbers: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The letters of a text from its first quoted unit to its last, and where in them the quotes
    start and end.
    """
    letters, offsets = _unit_letters(text, placed_units(text))
    starts = offsets[first_units.astype(np.int64)]
    ends = offsets[first_units.astype(np.int64) + numbers]
    low = int(starts.min())
    return letters[low : int(ends.max())], starts - low, ends - low


def _joined(pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pairs of windows that follow one another in both texts as one span; `units` counts windows.

    Sorted by the record that keeps.
    """
    shifts = pairs["kept_unit"].astype(np.int64) - pairs["unit"]
    order = np.lexsort((pairs["unit"], shifts, pairs["record"], pairs["kept"]))
    pairs, shifts = pairs[order], shifts[order]
    is_first = np.ones(len(pairs), bool)
    is_first[1:] = (
        (pairs["kept"][1:] != pairs["kept"][:-1])
        | (pairs["record"][1:] != pairs["record"][:-1])
        | (shifts[1:] != shifts[:-1])
        | (pairs["unit"][1:] != pairs["unit"][:-1] + 1)
    )
    starts = np.flatnonzero(is_first)
    spans = np.zeros(len(starts), _SPAN)
    for name in ("record", "unit", "kept", "kept_unit"):
        spans[name] = pairs[name][starts]
    spans["units"] = np.diff(np.append(starts, len(pairs)))
    return spans


def _groups(paths: Sequence[Path], first: int, last: int) -> list[tuple[int, int]]:
    """Ranges of keeping records with about `_MOST_PAIRS` pairs each, so that memory is bounded."""
    columns = [np.zeros(0, np.uint64)]
    for path in paths:
        kept = np.load(path, mmap_mode="r")["kept"]
        low, high = np.searchsorted(kept, np.array([first, last + 1], np.uint64))
        columns.append(np.array(kept[low:high]))
    every = np.sort(np.concatenate(columns))
    groups = []
    start = 0
    while start < len(every):
        high_record = every[min(start + _MOST_PAIRS, len(every)) - 1]
        groups.append((int(every[start]), int(high_record)))
        start = int(np.searchsorted(every, high_record, "right"))
    return groups


def _numbers(documents: Path, task: int) -> tuple[int, int]:
    """The numbers of a task's first and last record."""
    total = pq.ParquetFile(documents).metadata.num_rows
    first, last = record_numbers(task, np.array([0, max(total - 1, 0)])).tolist()
    return first, last


def _rows(found: npt.NDArray[Any], first: int, field: str = "record") -> npt.NDArray[np.int64]:
    """The rows, within their task, of the records that are named."""
    return (np.unique(found[field]) - np.uint64(first)).astype(np.int64)


def _range_of(records: npt.NDArray[np.uint64], record: int) -> tuple[int, int]:
    """Where a record's rows lie among sorted ones."""
    low, high = np.searchsorted(records, np.array([record, record + 1], np.uint64))
    return int(low), int(high)
