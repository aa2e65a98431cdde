"""Trains the extractor's trees from pages whose main text a person chose.

A block is labelled by the share of its word triples that are in the chosen text. A page weighs one,
shared out over its blocks by their words. The second forest sees what the first says of the blocks
around; it is trained on answers of forests that never saw the page's host, for those of a forest on
its own pages are too good.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from zlib import crc32

import numpy as np
import numpy.typing as npt

from tongwen.curate.html.boosting import Boosting, bins_of, train
from tongwen.curate.html.features import (
    Features,
    Surveyed,
    chances_of,
    features_of,
    seconds_of,
    survey,
)
from tongwen.curate.html.forest import Forest, layouts_of
from tongwen.curate.html.page import Page, parse
from tongwen.errors import InputError
from tongwen.formats.compression import DECOMPRESSION_ERRORS, decompressed

KEPT_SHARE = 0.6
"""Of a block's triples of words that are in the chosen text, from which it is part of it."""

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
_LEAST_WEIGHT = 6e-3
"""Blocks with less of a page's words are drawn with a chance that falls with it, and count more."""

FIRST = Boosting(trees=80, leaves=31, rate=0.12, column_share=0.3)
SECOND = Boosting(trees=220, leaves=31, rate=0.07, column_share=0.25)


class GoldPage(NamedTuple):
    """A page and what a person chose of it.

    Attributes:
        html: of the page.
        text: its main text; empty when only snippets are known.
        url: pages of one host teach together.
        wanted, unwanted: snippets that its main text holds or must not hold.
    """

    html: str
    text: str
    url: str = ""
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """Two forests, and what they learned from.

    Attributes:
        forests: the first and the second.
        pages, hosts, blocks: that were learned from.
        kept_share: of the blocks' words that are main text.
    """

    forests: tuple[Forest, Forest]
    pages: int
    hosts: int
    blocks: int
    kept_share: float


def read_gold(paths: Sequence[Path]) -> Iterator[GoldPage]:
    """Pages of JSON Lines files; raises `InputError` with the line that is none.

    A row has `html`, `url` and the chosen `text` (or `main_content`), or lists of snippets `with`
    and `without`.
    """
    for path in paths:
        for number, line in enumerate(_lines(path), 1):
            if line.strip():
                yield _gold_page(line, f"line {number} of {path}")


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of a file that may be compressed."""
    try:
        with path.open("rb") as raw:
            yield from decompressed(raw)
    except DECOMPRESSION_ERRORS as error:
        raise InputError(f"cannot read {path}: {error}", hint="make the file again") from error


def _gold_page(line: bytes, place: str) -> GoldPage:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place} is not JSON: {error}", hint="write one page a line") from error
    if not isinstance(row, dict) or not isinstance(row.get("html"), str):
        raise InputError(f"{place} has no html", hint="rows have html, text and url")
    text = row.get("text", row.get("main_content"))
    wanted, unwanted = (tuple(row.get(name) or ()) for name in ("with", "without"))
    if text is None and not wanted and not unwanted:
        raise InputError(
            f"{place} does not say what its main text is",
            hint="give text (or main_content), or lists of snippets as with and without",
        )
    return GoldPage(row["html"], text or "", str(row.get("url") or ""), wanted, unwanted)


def host_of(url: str) -> str:
    """What pages are split by."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url


def labels_of(page: Page, gold: GoldPage) -> tuple[Features, Features]:
    """1 for each block of the chosen text, else 0; and its share of the page's words."""
    texts = [page.block(number).text for number in range(len(page.blocks))]
    labels, weights = np.zeros(len(texts), np.float32), np.zeros(len(texts), np.float32)
    chosen = _WORD.findall(gold.text.lower())
    triples = set(zip(chosen, chosen[1:], chosen[2:], strict=False))
    pairs = set(pairwise(chosen))
    lines = {" ".join(_WORD.findall(line.lower())) for line in gold.text.split("\n")}
    for number, text in enumerate(texts):
        words = _WORD.findall(text.lower())
        weights[number] = len(words)
        if not gold.text and (gold.wanted or gold.unwanted):
            is_wanted = any(snippet in text for snippet in gold.wanted)
            labels[number] = is_wanted
            if not is_wanted and not any(snippet in text for snippet in gold.unwanted):
                weights[number] = 0  # nobody said
        elif len(words) > 2:
            found = sum(
                triple in triples for triple in zip(words, words[1:], words[2:], strict=False)
            )
            labels[number] = found >= KEPT_SHARE * (len(words) - 2)
        elif len(words) == 2:
            labels[number] = (words[0], words[1]) in pairs
        elif words:
            labels[number] = words[0] in lines
    return labels, weights / max(1.0, float(weights.sum()))


class Drawn(NamedTuple):
    """A gold page and those of its blocks that are learned from.

    Attributes:
        surveyed: the page.
        host: pages of one host teach together.
        blocks: numbers of the blocks.
        rows, labels, weights: of these blocks.
    """

    surveyed: Surveyed
    host: str
    blocks: npt.NDArray[np.int64]
    rows: Features
    labels: Features
    weights: Features


def draw(gold: Iterable[GoldPage], seed: int = 0) -> list[Drawn]:
    """Read and label pages; most of the many blocks of a word or two are left out."""
    pages = []
    for number, own in enumerate(gold):
        page = parse(own.html)
        labels, weights = labels_of(page, own)
        chances = np.minimum(1.0, weights / _LEAST_WEIGHT)
        blocks = np.flatnonzero(
            np.random.default_rng([seed, number]).random(len(weights)) < chances
        )
        surveyed = survey(page)
        rows = features_of(surveyed)[blocks]
        drawn_weights = (weights[blocks] / chances[blocks]).astype(np.float32)
        pages.append(Drawn(surveyed, host_of(own.url), blocks, rows, labels[blocks], drawn_weights))
    return pages


def train_extractor(pages: Sequence[Drawn], seed: int = 0) -> Trained:
    """Two forests; the same pages in the same order and the same seed give the same trees.

    2,000 pages take a minute or two of one CPU and 1 GB.
    """
    hosts = sorted({page.host for page in pages})
    if len(hosts) < 2:
        raise InputError(f"gold pages of {len(hosts)} host(s)", hint="give pages of two or more")
    halves = np.array([crc32(page.host.encode()) % 2 for page in pages])
    if halves.all() or not halves.any():
        halves = np.array([hosts.index(page.host) % 2 for page in pages])
    owners = np.repeat(np.arange(len(pages)), [len(page.blocks) for page in pages])
    labels = np.concatenate([page.labels for page in pages])
    weights = np.concatenate([page.weights for page in pages])
    weights = (weights / weights.mean()).astype(np.float32)
    cuts, binned = bins_of(np.concatenate([page.rows for page in pages]))

    def grown(members: npt.NDArray[np.bool_], number: int) -> Forest:
        chosen = np.ascontiguousarray(binned[:, members])
        return train(cuts, chosen, labels[members], weights[members], FIRST, seed + number)

    of_half = layouts_of(grown(halves[owners] == half, half) for half in (0, 1))
    first = grown(np.ones(len(owners), np.bool_), 2)
    seconds = [
        seconds_of(page.surveyed, chances_of(page.surveyed, of_half[1 - half]))[page.blocks]
        for page, half in zip(pages, halves, strict=True)
    ]
    more_cuts, more = bins_of(np.concatenate(seconds))
    binned = np.concatenate([binned, more])
    second = train(cuts + more_cuts, binned, labels, weights, SECOND, seed + 3)
    kept = float((labels * weights).sum() / weights.sum())
    return Trained((first, second), len(pages), len(hosts), len(labels), kept)
