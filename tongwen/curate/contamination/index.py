"""The index of test items: their n-grams, which items hold them, and what is known of each item."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from tongwen.curate.contamination.benchmarks import Benchmark, Item, read_items
from tongwen.curate.contamination.grams import (
    Anchors,
    Places,
    find_grams,
    gram_keys,
    has_letter,
    make_anchors,
    make_table,
    units_of_text,
)
from tongwen.curate.text.units import Hashes
from tongwen.errors import InputError, TongwenError
from tongwen.files import read_json, read_jsonl, write_json, write_jsonl
from tongwen.flow.task import TaskContext, step

INDEX_FILES = (
    "keys.npy", "gram_units.npy", "table.npy", "lengths.npy", "anchor_filter.npy",
    "anchor_table.npy", "anchor_keys.npy", "anchor_sizes.npy", "occurrence_starts.npy",
    "occurrence_items.npy", "occurrence_places.npy", "items.parquet", "probes.jsonl", "index.json",
)  # fmt: skip
"""What the index step writes and later steps read, in this order."""

_EXCERPT_CHARACTERS = 200  # of an item, for the report: a reader finds it again by that
_PROBES_A_BENCHMARK = 3  # items that `self_test` plants in a text before anything is searched

ITEM_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("place", pa.string()),
        ("units", pa.int64()),  # of all its passages
        ("gram_units", pa.int64()),  # longest n-gram it is looked for by; 0 when it is too short
        ("excerpt", pa.string()),
    ]
)


@dataclass(frozen=True)
class _Sizes:
    words: int
    characters: int
    minimum_words: int
    minimum_characters: int

    def gram(self, units: int, singles: int, words: int) -> int:
        """Units of the n-grams of a passage; 0 when it is too short, or too much of it numbers, to
        say anything. `words` are the units with a letter.
        """
        if 2 * words < units:
            return 0
        is_spaceless = 2 * singles > units
        most = self.characters if is_spaceless else self.words
        least = self.minimum_characters if is_spaceless else self.minimum_words
        return min(units, most) if units >= least else 0


class _Builder:
    """Collects the passages of all items as runs of units."""

    def __init__(self, sizes: _Sizes) -> None:
        self._sizes = sizes
        self._length = 0
        self.hashes: list[Hashes] = []
        self.are_words: list[npt.NDArray[np.bool_]] = []
        self.passages: list[tuple[int, int, int, int, int]] = []
        """Start in all hashes, units, units of an n-gram, item, place in the item."""
        self.items: list[dict[str, Any]] = []

    def add(self, benchmark: str, item: Item) -> None:
        number, place, longest, singles, words = len(self.items), 0, 0, 0, 0
        first = self._length
        for text in item.passages:
            units = units_of_text(text)
            size = len(units.hashes)
            are_words = has_letter(text, units)
            own_words = int(are_words.sum())
            gram = self._sizes.gram(size, units.singles, own_words)
            if gram:
                self.passages.append((self._length, size, gram, number, place))
            longest = max(longest, gram)
            self.hashes.append(units.hashes)
            self.are_words.append(are_words)
            self._length += size
            place += size
            singles += units.singles
            words += own_words
        if not longest:  # a short question and its short answers, one after another
            longest = self._sizes.gram(place, singles, words)
            if longest:
                self.passages.append((first, place, longest, number, 0))
        self.items.append(
            {"benchmark": benchmark, "place": item.place, "units": place, "gram_units": longest,
             "excerpt": " / ".join(item.passages)[:_EXCERPT_CHARACTERS]}
        )  # fmt: skip


@step("contamination-index", inputs=("benchmarks",))
def index_benchmarks(context: TaskContext) -> Mapping[str, int]:
    """Read all test sets and write the index (`INDEX_FILES`).

    Params: `benchmarks`, a list of `Benchmark` fields; `owners`, the place in it of each input
    file's benchmark; and `words`, `characters`, `minimum_words`, `minimum_characters`.

    A passage as long as an n-gram is known by all its n-grams, a shorter one as a whole if it has
    the minimum; the short passages of an item that has no other are taken together.

    Raises:
        InputError: a benchmark has no item, or none long enough to be found.
    """
    params = context.params
    names = ("words", "characters", "minimum_words", "minimum_characters")
    builder = _Builder(_Sizes(**{name: params[name] for name in names}))
    probes: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    owned = list(zip(params["owners"], context.inputs["benchmarks"], strict=True))
    for place, values in enumerate(params["benchmarks"]):
        files = [path for owner, path in owned if owner == place]
        benchmark = Benchmark(**values)
        start = len(builder.items)
        candidates: list[tuple[int, int, Item]] = []
        for item in _items(benchmark, files):
            builder.add(benchmark.name, item)
            if builder.items[-1]["gram_units"]:
                draw = xxhash.xxh3_64_intdigest(f"probe\0{item.place}".encode())
                candidates.append((draw, len(builder.items) - 1, item))
                candidates = sorted(candidates)[:_PROBES_A_BENCHMARK]
        found = builder.items[start:]
        usable = sum(1 for item in found if item["gram_units"])
        _check_usable(benchmark.name, files, len(found), usable)
        summary.append(
            {"benchmark": benchmark.name, "items": len(found), "too_short": len(found) - usable}
        )
        probes += [
            {"item": number, "benchmark": benchmark.name, "place": item.place,
             "text": "\n".join(item.passages)}
            for _, number, item in candidates
        ]  # fmt: skip
    grams = _write_grams(context.out, builder)
    table = pa.Table.from_pylist(builder.items, ITEM_SCHEMA)
    pq.write_table(table, context.out / "items.parquet", compression="zstd")
    write_jsonl(context.out / "probes.jsonl", probes)
    write_json(context.out / "index.json", {"benchmarks": summary, "grams": grams})
    return {"items": len(builder.items), "grams": grams}


def _items(benchmark: Benchmark, files: Sequence[Path]) -> Iterator[Item]:
    for path in files:
        yield from read_items(benchmark, path)


def _check_usable(name: str, files: Sequence[Path], items: int, usable: int) -> None:
    where = ", ".join(str(path) for path in files[:3]) + (" ..." if len(files) > 3 else "")
    if items == 0:
        raise InputError(
            f"the benchmark {name} has no items in {where or 'no file at all'}",
            hint="is this the right file? Nothing would be taken out of the documents for it",
        )
    if usable == 0:
        raise InputError(
            f"none of the {items} items of the benchmark {name} in {where} is long enough",
            hint="name more `fields`, or lower curate.contamination.minimum_words",
        )


def _write_grams(out: Path, builder: _Builder) -> int:
    """Write keys, look-up tables and occurrences; how many different n-grams there are."""
    starts, sizes, units, items, places = np.array(builder.passages, np.int64).reshape(-1, 5).T
    hashes = np.concatenate([np.zeros(0, np.uint64), *builder.hashes])
    lengths = np.unique(units)
    keys, anchors = gram_keys(
        hashes,
        np.ascontiguousarray(starts),
        np.ascontiguousarray(sizes),
        np.ascontiguousarray(units),
        int(lengths[0]),
    )
    grams_of_passage = sizes - units + 1
    owner = np.repeat(np.arange(len(starts)), grams_of_passage)
    offset = np.arange(len(keys)) - np.repeat(
        np.cumsum(grams_of_passage) - grams_of_passage, grams_of_passage
    )
    words = np.cumsum(np.concatenate([np.zeros(1, bool), *builder.are_words]))
    begin = starts[owner] + offset
    says_something = 2 * (words[begin + units[owner]] - words[begin]) >= units[owner]
    keys, anchors = keys[says_something], anchors[says_something]
    owner, offset = owner[says_something], offset[says_something]
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    begins = make_anchors(anchors, np.searchsorted(lengths, units[owner]))
    arrays: dict[str, npt.NDArray[Any]] = {
        "keys": unique,
        "gram_units": units[owner][first].astype(np.uint16),
        "table": make_table(unique),
        "lengths": lengths,
        "anchor_filter": begins.words,
        "anchor_table": begins.table,
        "anchor_keys": begins.keys,
        "anchor_sizes": begins.sizes,
        "occurrence_starts": np.searchsorted(inverse[order], np.arange(len(unique) + 1)),
        "occurrence_items": items[owner][order].astype(np.uint32),
        "occurrence_places": (places[owner] + offset)[order].astype(np.uint32),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
    return len(unique)


class Occurrences(NamedTuple):
    """Where in the items an n-gram stands: its units, items, and first unit in each of them."""

    units: int
    items: list[int]
    places: list[int]


class Index:
    """A finished index, mapped into memory, so that the workers of a machine share it."""

    def __init__(self, files: Sequence[Path]) -> None:
        by_name = {path.name: path for path in files}
        arrays = {
            name: np.asarray(np.load(by_name[name], mmap_mode="r"))
            for name in INDEX_FILES
            if name.endswith(".npy")
        }
        self._lengths: Places = arrays["lengths.npy"]
        self._keys: Hashes = arrays["keys.npy"]
        self._gram_units = arrays["gram_units.npy"]
        self._table = arrays["table.npy"]
        self._anchors = Anchors(
            arrays["anchor_filter.npy"], arrays["anchor_table.npy"],
            arrays["anchor_keys.npy"], arrays["anchor_sizes.npy"],
        )  # fmt: skip
        self._starts = arrays["occurrence_starts.npy"]
        self._items = arrays["occurrence_items.npy"]
        self._places = arrays["occurrence_places.npy"]
        self._files = by_name

    def find(self, hashes: Hashes) -> npt.NDArray[np.int64]:
        """Hits in the units of a text, [hits, 3]: first unit, units, number of the n-gram."""
        hits: npt.NDArray[np.int64] = find_grams(
            hashes, self._lengths, self._anchors, self._table, self._keys
        )
        return hits

    def occurrences(self, gram: int) -> Occurrences:
        """Where in the items an n-gram stands."""
        part = slice(int(self._starts[gram]), int(self._starts[gram + 1]))
        return Occurrences(
            int(self._gram_units[gram]), self._items[part].tolist(), self._places[part].tolist()
        )

    def keys(self, grams: npt.NDArray[Any]) -> Hashes:
        """The hashes of n-grams by their numbers."""
        keys: Hashes = self._keys[grams]
        return keys

    def items(self) -> pa.Table:
        """All items (`ITEM_SCHEMA`)."""
        return pq.read_table(self._files["items.parquet"])

    def summary(self) -> list[dict[str, Any]]:
        """Items and too short items of each benchmark."""
        summary: list[dict[str, Any]] = read_json(self._files["index.json"])["benchmarks"]
        return summary

    def self_test(self) -> int:
        """Plant some items of each benchmark in a text and look for them; how many there were.

        A scan that finds nothing looks like a clean corpus. So every task proves first that it
        finds what it must.

        Raises:
            TongwenError: one was not found, or a text without items had hits.
        """
        probes = list(read_jsonl(self._files["probes.jsonl"]))
        for probe in probes:
            planted = f"Before it, 前文。\n{probe['text']}\nAfter it, 后文。"
            hits = self.find(units_of_text(planted).hashes)
            found = {item for gram in hits[:, 2] for item in self.occurrences(int(gram)).items}
            if probe["item"] not in found:
                raise TongwenError(
                    f"decontamination finds nothing: {probe['place']} of the benchmark "
                    f"{probe['benchmark']} was planted in a text and not found",
                    hint="the index is damaged or the program at fault; no document was passed",
                )
        if not probes or len(self.find(units_of_text("No item. 没有题目。").hashes)):
            raise TongwenError(
                "the index of test items has nothing to test it with, or finds items everywhere",
                hint="remove the folder of this step and run again",
            )
        return len(probes)
