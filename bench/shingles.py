"""How long should a shingle be? Planted copies against unrelated texts of the same source.

    python bench/shingles.py CORPUS

CORPUS is a folder with `text/*.jsonl.zst`. Each text of a source gets a copy: a share of characters
exchanged, sentences in another order, a fifth of the text replaced, or the beginning and end of
another text put around it. Unrelated pairs are two texts of one source, half of them after the
same first fifth of a third: a template. Recall is the share of copies whose estimated similarity is
above that of all but one in a thousand of the unrelated pairs; in brackets from 0.7 on, the default
of curation.
"""

import argparse
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from tongwen.curate.duplicates.minhash import similarity, sketch_texts

SOURCES = {"en": ("en-misc", "en-docs-00"), "zh": ("zh-articles", "zh-docs-00", "zh-law")}
LENGTHS = {"en": (3, 5, 7, 13), "zh": (3, 4, 5, 6, 8, 13)}
HASHES = 112
FALSE_SHARE = 0.001
THRESHOLD = 0.7
_CHARACTERS = 3_000
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*")

Edit = Callable[[str, str, random.Random], str]


def exchanged(share: float) -> Edit:
    """An edit that exchanges that share of characters, in runs of one to four."""

    def edit(text: str, _: str, draw: random.Random) -> str:
        characters = list(text)
        left = round(share * len(text))
        while left > 0:
            run = min(draw.randint(1, 4), left)
            place = draw.randrange(max(1, len(text) - run))
            source = draw.randrange(max(1, len(text) - run))
            characters[place : place + run] = text[source : source + run]
            left -= run
        return "".join(characters)

    return edit


def moved(text: str, _: str, draw: random.Random) -> str:
    """The sentences in another order, in groups of three."""
    sentences = _SENTENCE.split(text)
    groups = [sentences[start : start + 3] for start in range(0, len(sentences), 3)]
    draw.shuffle(groups)
    return " ".join(" ".join(group) for group in groups)


def replaced(text: str, other: str, _: random.Random) -> str:
    """Its middle fifth is that of another text: what a new paragraph changes."""
    size = len(text) * 2 // 5
    return text[:size] + "\n" + other[size : size + len(text) // 5] + "\n" + text[-size:]


def reframed(text: str, other: str, _: random.Random) -> str:
    """The text between a beginning and an end of another one, a tenth of its length each."""
    size = len(text) // 10
    return other[:size] + "\n" + text + "\n" + other[-size:]


EDITS: dict[str, Edit] = {
    "1 %": exchanged(0.01), "5 %": exchanged(0.05), "10 %": exchanged(0.1),
    "20 %": exchanged(0.2), "40 %": exchanged(0.4), "sentences moved": moved,
    "a fifth replaced": replaced, "other frame": reframed,
}  # fmt: skip


def texts_of(corpus: Path, name: str, number: int) -> list[str]:
    """The first `number` texts of at least 500 characters, cut to `_CHARACTERS`."""
    texts: list[str] = []
    with (corpus / "text" / f"{name}.jsonl.zst").open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(reader, encoding="utf-8"):
            text = json.loads(line)["text"][:_CHARACTERS]
            if len(text) >= 500 and len(texts) < number:
                texts.append(text)
    return texts


def signatures(texts: list[str], shingle: int) -> npt.NDArray[np.uint32]:
    sizes = np.full(len(texts), shingle, np.int64)
    return sketch_texts(pa.array(texts, pa.large_string()), sizes, hashes=HASHES, seed=1).signatures


def unrelated(texts: list[str], number: int, draw: random.Random) -> list[tuple[str, str]]:
    """Pairs of two texts; every second pair shares a template of a fifth of a text."""
    pairs = []
    for count in range(number):
        one, other, third = draw.sample(texts, 3)
        frame = third[: _CHARACTERS // 5] + "\n" if count % 2 else ""
        pairs.append((frame + one, frame + other))
    return pairs


def estimates(pairs: list[tuple[str, str]], shingle: int) -> npt.NDArray[np.float64]:
    firsts, seconds = zip(*pairs, strict=True)
    return similarity(signatures(list(firsts), shingle), signatures(list(seconds), shingle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, default=500, help="of each source")
    parser.add_argument("--unrelated", type=int, default=6_000, help="pairs of each source")
    options = parser.parse_args()
    for language, names in SOURCES.items():
        draw = random.Random(11)
        copies: dict[str, list[tuple[str, str]]] = {name: [] for name in EDITS}
        others = []
        for name in names:
            texts = texts_of(options.corpus, name, options.texts)
            others += unrelated(texts, options.unrelated, draw)
            for edit, change in EDITS.items():
                copies[edit] += [(text, change(text, draw.choice(texts), draw)) for text in texts]
        count = len(copies["5 %"])
        print(f"\n{language}: {count} texts, {len(others)} unrelated pairs")
        print("| shingle | unrelated over 0.7 | their 99.9 % | " + " | ".join(EDITS) + " |")
        print("|" + " --- |" * (3 + len(EDITS)))
        for shingle in LENGTHS[language]:
            false = estimates(others, shingle)
            limit = float(np.quantile(false, 1 - FALSE_SHARE))
            cells = [f"{(false >= THRESHOLD).mean():.4f}", f"{limit:.2f}"]
            for pairs in copies.values():
                found = estimates(pairs, shingle)
                cells.append(f"{(found > limit).mean():.2f} ({(found >= THRESHOLD).mean():.2f})")
            print(f"| {shingle} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
