"""The user's files as training samples: pieces of text with a language, a label and a part.

The part (train, calibrate, test) follows from a hash of the page's host, or of the text where
there is none, so that a page's neighbours never judge what the page has taught. Of more text than
the limit the pieces with the smallest hashes are taken: the order of files and rows decides
nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import xxhash

from tongwen.curate.text.prose import prose
from tongwen.errors import InputError
from tongwen.files import file_digest
from tongwen.formats.text_rows import text_files, text_rows

LANGUAGES = ("en", "zh")
TRAIN, CALIBRATE, TEST = range(3)
FOLDS = 5  # four fifths of the text to train on, for five times the time
_PART_BOUNDS = (0.65, 0.8)
_FEWEST_CHARACTERS = 20  # a title or a button teaches its words only
_PIECE_SEPARATORS = ("\n\n", "\n", "。", ". ", " ")


@dataclass(frozen=True)
class Sample:
    """A piece of one text.

    Attributes:
        text: prose, without fenced code and the frames of tables.
        language: `en` or `zh`.
        label: its class; empty when it has none.
        part: TRAIN, CALIBRATE or TEST.
        fold: 0 to 4, for cross-fitting; like the part, one for all of a host or text.
        key: 64-bit hash of the piece and the seed; sorts samples.
        name: where it came from: url, id, or file and row.
    """

    text: str
    language: str
    label: str
    part: int
    fold: int
    key: int
    name: str


@dataclass(frozen=True)
class Source:
    """Files with one meaning.

    Attributes:
        paths: files, or folders of them.
        label: the class of every text; None takes it from the row's label field; empty for the
            name of the file.
    """

    paths: tuple[Path, ...]
    label: str | None


@dataclass
class Samples:
    """All samples, sorted by key, and what became of the files they are from."""

    pieces: list[Sample]
    files: list[dict[str, Any]]
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, language: str, part: int | None = None) -> list[Sample]:
        """The samples in one language, of one part or all."""
        return [
            piece for piece in self.pieces
            if piece.language == language and part in (None, piece.part)
        ]  # fmt: skip


def language_group(lang: str) -> str | None:
    """`en` or `zh` for a language tag, None for what no scorer reads."""
    lowered = lang.lower()
    if lowered == "en" or lowered.startswith("en-"):
        return "en"
    return "zh" if lowered == "zh" or lowered.startswith("zh-") else None


def read_samples(
    sources: Iterable[Source],
    *,
    seed: int,
    piece_characters: int,
    maximum_characters: int,
    text_field: str = "text",
    label_field: str = "label",
) -> Samples:
    """Read the files of all sources.

    Args:
        sources: what to read.
        seed: draws parts and which pieces are taken.
        piece_characters: longer texts are cut into pieces of about this length.
        maximum_characters: taken for each label and language.
        text_field: of JSON Lines and Parquet rows.
        label_field: the same, for sources without a label of their own.

    Raises:
        InputError: a file is missing, of an unknown kind, damaged, or holds no usable text.
    """
    counts: Counter[str] = Counter()
    heaps: dict[tuple[str, str], _Heap] = {}
    files = []
    for source in sources:
        for path in text_files(source.paths):
            used = 0
            for row in text_rows(path, text_field):
                label = _label(source, path, row, label_field)
                used += _take(row, label, heaps, counts, seed, piece_characters, maximum_characters)
            if not used:
                raise InputError(
                    f"{path} has no English or Chinese text of {_FEWEST_CHARACTERS} characters"
                    + ("" if source.label is not None else f" with a {label_field!r}"),
                    hint="check the field names and the languages, or leave the file out",
                )
            files.append({"name": path.name, "digest": file_digest(path), "texts": used})
    pieces = [sample for heap in heaps.values() for sample in heap.samples]
    pieces.sort(key=lambda piece: (piece.key, piece.label))
    counts["pieces"] = len(pieces)
    counts["duplicate_pieces"] = sum(heap.duplicates for heap in heaps.values())
    counts["pieces_over_the_limit"] = sum(heap.left_out for heap in heaps.values())
    return Samples(pieces, sorted(files, key=lambda item: (item["name"], item["digest"])), counts)


class _Heap:
    """The samples of one label and language with the smallest keys, up to a number of
    characters. Of samples with the same text the first by part and name stays.
    """

    def __init__(self, maximum_characters: int) -> None:
        self._maximum = maximum_characters
        self._keys: list[int] = []  # negative: the largest key comes first
        self._by_key: dict[int, Sample] = {}
        self._characters = 0
        self.left_out = self.duplicates = 0

    @property
    def samples(self) -> list[Sample]:
        return list(self._by_key.values())

    def add(self, sample: Sample) -> None:
        known = self._by_key.get(sample.key)
        if known is not None:
            self.duplicates += 1
            if (sample.part, sample.name) < (known.part, known.name):
                self._by_key[sample.key] = sample
            return
        if self._characters >= self._maximum and sample.key > -self._keys[0]:
            self.left_out += 1
            return
        heappush(self._keys, -sample.key)
        self._by_key[sample.key] = sample
        self._characters += len(sample.text)
        # The fewest with the smallest keys that reach the limit.
        while self._characters - len(self._by_key[-self._keys[0]].text) >= self._maximum:
            largest = self._by_key.pop(-heappop(self._keys))
            self._characters -= len(largest.text)
            self.left_out += 1


def _take(
    row: Mapping[str, Any],
    label: str | None,
    heaps: dict[tuple[str, str], _Heap],
    counts: Counter[str],
    seed: int,
    piece_characters: int,
    maximum_characters: int,
) -> int:
    """Put the pieces of one row into its heap; 1 when it was usable."""
    counts["texts"] += 1
    text = row["text"]
    if label is None:
        counts["without_label"] += 1
        return 0
    if len(text.strip()) < _FEWEST_CHARACTERS:
        counts["too_short"] += 1
        return 0
    language = language_group(row["lang"]) if row["lang"] else _identified(text)
    if language is None:
        counts["other_language"] += 1
        return 0
    group = row["host"] or text
    # Of another seed than keys: the pieces with the smallest keys must be of all parts.
    drawn = xxhash.xxh3_64_intdigest(group.encode("utf-8", "surrogatepass"), seed=seed + 1)
    share = drawn / 2**64
    part = TRAIN if share < _PART_BOUNDS[0] else CALIBRATE if share < _PART_BOUNDS[1] else TEST
    heap = heaps.setdefault((label, language), _Heap(maximum_characters))
    for piece in pieces_of(prose(text), piece_characters):
        key = xxhash.xxh3_64_intdigest(piece.encode("utf-8", "surrogatepass"), seed=seed)
        heap.add(Sample(piece, language, label, part, drawn % FOLDS, key, row["name"]))
    return 1


def pieces_of(text: str, characters: int) -> Iterator[str]:
    """The text in pieces of about `characters`, cut where a paragraph, line or sentence ends."""
    start = 0
    while len(text) - start > characters * 3 // 2:
        end = start + characters
        for separator in _PIECE_SEPARATORS:
            place = text.rfind(separator, start + characters // 2, end)
            if place >= 0:
                end = place + len(separator)
                break
        yield text[start:end].strip()
        start = end
    rest = text[start:].strip()
    if len(rest) >= _FEWEST_CHARACTERS:
        yield rest


def _identified(text: str) -> str | None:
    from tongwen.curate.extract.language import identify

    return language_group(identify(text[:5_000]).lang)


def _label(source: Source, path: Path, row: Mapping[str, Any], label_field: str) -> str | None:
    if source.label is None:
        value = row["row"].get(label_field)
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return None if value is None or value == "" else str(value)
    return source.label or path.name.split(".")[0]
