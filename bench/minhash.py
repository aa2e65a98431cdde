"""Near-duplicate signatures beside rensa and datatrove: speed and quality, in one run.

    python bench/minhash.py CORPUS

CORPUS is a folder with `text/*.jsonl.zst`, rows with `text`, and `web/*.warc.gz`. Speed: from the
text of a document to its signature of 112 hashes, English with shingles of 5 words and Chinese of
5 characters, in CPU seconds of one process; the median of three passes. rensa gets shingles
made by splitting and slicing in Python, its fastest way from text with whole-set sketches;
datatrove runs `get_shingles` and `get_signature` of its first step, with its own tokenizers.

Quality: 2,000 pages of the crawl, and copies of some with planted edits, against the exact Jaccard
similarity of all pairs. Each tool keeps its own shingles and way to propose and verify pairs
(datatrove: 14 x 8 bands and no verification; rensa: 28 bands and its own estimate); truth is the
similarity of our folded shingles. The peers are installed, pinned, in an environment of their
own below `--environment`.
"""

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard
from peers import interpreter, result_of

from tongwen.curate.duplicates.minhash import band_keys, shingle_hashes, similarity, sketch_texts
from tongwen.curate.html.main_content import extract
from tongwen.curate.text.characters import folded
from tongwen.curate.text.units import units_of
from tongwen.formats.charset.decode import decode
from tongwen.formats.readers import read_records

PEERS = (
    "rensa==0.5.0", "datatrove==0.10.1", "regex==2026.7.10", "spacy==3.8.18", "tokenizers==0.22.1",
    "jieba==0.42.1", "xxhash==3.6.0",
)  # fmt: skip
FILES = {"en": ("en-misc", "en-docs-00"), "zh": ("zh-articles", "zh-docs-00")}
SHINGLE = {"en": 5, "zh": 5}
HASHES = 112
THRESHOLD = 0.7
_PASSES = 3
_BATCH_ROWS = 256


def texts_of(corpus: Path, name: str) -> Iterator[str]:
    """The texts of one file of the corpus."""
    with (corpus / "text" / f"{name}.jsonl.zst").open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            yield json.loads(line)["text"]


def sample(corpus: Path, language: str, characters: int) -> list[str]:
    """Texts of about so many characters in all."""
    texts: list[str] = []
    for name in FILES[language]:
        for text in texts_of(corpus, name):
            if characters <= 0:
                return texts
            texts.append(text)
            characters -= len(text)
    return texts


def our_signatures(texts: list[str], language: str) -> npt.NDArray[np.uint32]:
    batch = pa.array(texts, pa.large_string())
    parts = []
    for start in range(0, len(batch), _BATCH_ROWS):
        part = batch.slice(start, _BATCH_ROWS)
        sizes = np.full(len(part), SHINGLE[language], np.int64)
        parts.append(sketch_texts(part, sizes, hashes=HASHES, seed=1).signatures)
    return np.concatenate(parts)


def our_rate(texts: list[str], language: str) -> float:
    """Characters a CPU second from Arrow buffers to signatures."""
    batch = pa.array(texts, pa.large_string())
    sizes = np.full(_BATCH_ROWS, SHINGLE[language], np.int64)
    seconds = []
    for _ in range(_PASSES + 1):  # the first one compiles and fills the tables
        started = time.process_time()
        for start in range(0, len(batch), _BATCH_ROWS):
            part = batch.slice(start, _BATCH_ROWS)
            sketch_texts(part, sizes[: len(part)], hashes=HASHES, seed=1)
        seconds.append(time.process_time() - started)
    return sum(map(len, texts)) / statistics.median(seconds[1:])


def pages(corpus: Path, number: int) -> dict[str, list[str]]:
    """Main texts of pages of every WARC file in turn, and copies of some with planted edits."""
    draw = random.Random(7)
    found: dict[str, list[str]] = {"en": [], "zh": []}
    for path in sorted((corpus / "web").glob("*.warc.gz")):
        for record in read_records(path, "warc"):
            text = extract(decode(record.body, record.charset).text).text
            if len(text) >= 200:
                han = sum("\u4e00" <= character <= "\u9fff" for character in text)
                found["zh" if han > len(text) / 5 else "en"].append(text)
    for texts in found.values():
        draw.shuffle(texts)
        del texts[number // 2 :]
        copied = draw.sample(texts, len(texts) // 5)
        texts.extend(edited(text, draw.choice((0.005, 0.01, 0.02, 0.05)), draw) for text in copied)
    return found


def edited(text: str, share: float, draw: random.Random) -> str:
    """The text with that share of its characters exchanged for others of it."""
    characters = list(text)
    for place in draw.sample(range(len(text)), round(share * len(text))):
        characters[place] = draw.choice(text)
    return "".join(characters)


def shingle_sets(texts: list[str], size: int) -> list[npt.NDArray[np.uint64]]:
    sets = []
    for text in texts:
        units = units_of(folded(text))[0]
        out = np.zeros(max(1, len(units)), np.uint64)
        number = shingle_hashes(units, size, np.uint64(99), out) if len(units) else 0
        sets.append(np.unique(out[:number]))
    return sets


@numba.njit
def _shared(
    places: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    owners: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
) -> npt.NDArray[np.int32]:
    """How many shingles each two texts share, from an inverted index."""
    number = len(bounds) - 1
    counts = np.zeros((number, number), np.int32)
    for text in range(number):
        for place in places[bounds[text] : bounds[text + 1]]:
            for owner in owners[starts[place] : starts[place + 1]]:
                counts[text, owner] += 1
    return counts


def jaccard(sets: list[npt.NDArray[np.uint64]]) -> npt.NDArray[np.float64]:
    """The exact similarity of all pairs, of shape (texts, texts)."""
    every = np.concatenate(sets)
    sizes = np.array([len(part) for part in sets])
    different, places = np.unique(every, return_inverse=True)
    order = np.argsort(places, kind="stable")
    owners = np.repeat(np.arange(len(sets)), sizes)[order]
    starts = np.searchsorted(places[order], np.arange(len(different) + 1))
    shared = _shared(places, np.append(0, np.cumsum(sizes)), owners, starts)
    union = sizes[:, None] + sizes[None, :] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 0.0)


def our_pairs(texts: list[str], language: str, bands: int, rows: int) -> set[tuple[int, int]]:
    """Pairs that share a band and agree on the threshold, among all pairs."""
    signatures = our_signatures(texts, language)
    keys = band_keys(signatures, bands, rows)
    pairs = set()
    for first in range(len(texts)):
        meets = np.flatnonzero((keys[first + 1 :] == keys[first]).any(axis=1)) + first + 1
        if len(meets):
            alike = similarity(np.repeat(signatures[first : first + 1], len(meets), 0),
                               signatures[meets])  # fmt: skip
            pairs.update((first, int(second)) for second in meets[alike >= THRESHOLD])
    return pairs


def scores(found: set[tuple[int, int]], exact: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Recall from the threshold and from 0.1 above; precision from the threshold, and 0.1 below."""
    firsts, seconds = np.nonzero(np.triu(exact, 1) >= THRESHOLD)
    truth = set(zip(firsts.tolist(), seconds.tolist(), strict=True))
    clear = {pair for pair in truth if exact[pair] >= THRESHOLD + 0.1}
    near = {pair for pair in found if exact[pair] >= THRESHOLD - 0.1}
    return (
        len(found & truth) / len(truth), len(found & clear) / len(clear),
        len(found & truth) / len(found), len(near) / len(found),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--characters", type=int, default=8_000_000)
    parser.add_argument("--pages", type=int, default=2_000)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/minhash"))
    options = parser.parse_args()
    speed = {language: sample(options.corpus, language, options.characters) for language in FILES}
    quality = pages(options.corpus, options.pages)
    given = {"speed": speed, "quality": quality, "shingle": SHINGLE, "hashes": HASHES,
             "threshold": THRESHOLD, "passes": _PASSES}  # fmt: skip
    rates = {"tongwen": {language: our_rate(texts, language) for language, texts in speed.items()}}
    peers = result_of(interpreter(options.environment, PEERS), "minhash_peers.py", given)
    rates.update({name: result["rates"] for name, result in peers.items()})
    for language, texts in speed.items():
        ours = rates["tongwen"][language]
        print(f"\n{language}: {len(texts)} texts, {sum(map(len, texts)) / 1e6:.1f} M characters")
        print("| signatures | million characters/s | ours is faster |\n| --- | --- | --- |")
        for name, rate in rates.items():
            print(f"| {name} | {rate[language] / 1e6:.2f} | {ours / rate[language]:.0f}x |")
    for language, texts in quality.items():
        exact = jaccard(shingle_sets(texts, SHINGLE[language]))
        pairs = int((np.triu(exact, 1) >= THRESHOLD).sum())
        print(f"\n{language}: {len(texts)} pages, {pairs} pairs of similarity {THRESHOLD} and more")
        print("| pairs | found | recall | recall from 0.8 | precision | of them from 0.6 |")
        print("|" + " --- |" * 6)
        results = {f"tongwen {bands} x {rows}": our_pairs(texts, language, bands, rows)
                   for bands, rows in ((14, 8), (16, 7), (18, 6), (22, 5), (28, 4))}  # fmt: skip
        for name, result in peers.items():
            results[name] = {(one, other) for one, other in result["pairs"][language]}
        for name, found in results.items():
            cells = " | ".join(f"{value:.3f}" for value in scores(found, exact))
            print(f"| {name} | {len(found)} | {cells} |")


if __name__ == "__main__":
    main()
