"""Perplexity under a small character n-gram model of the user's reference, and where it lies among
held-out reference text of the same language and length.

As CCNet (Wenzek et al. 2020, arXiv 1911.00359), which keeps what lies below a percentile, but a
percentile there is of all lengths together: a short text has a spread of its own, and two words
can have any perplexity. Here a text of fewer than 50 characters is not scored, and percentiles are
those of its length.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, class_table
from tongwen.curate.scorers.measuring import auc
from tongwen.curate.scorers.ngrams import (
    ORDER,
    START,
    SYMBOL_BITS,
    UNKNOWN,
    NgramModel,
    Symbols,
    summary,
    train_ngrams,
)
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import POSITIVE, trained_languages
from tongwen.curate.scorers.samples import CALIBRATE, LANGUAGES, TEST, TRAIN, Sample, Samples
from tongwen.curate.text.characters import CodePoints, code_points
from tongwen.kernels import kernel

FEWEST_CHARACTERS = 50  # two words can have any perplexity
LENGTHS = (50, 100, 200, 400, 800, 1_600, 3_200)
"""Where each length bucket begins, in scored characters."""
_POINT_MASK = np.uint32(0xFFFFFF)
_QUANTILES = 101  # whole per cents and both ends


@kernel(allocates=True)
def _symbols(
    points: CodePoints, table: npt.NDArray[np.uint32], symbols: npt.NDArray[np.uint16]
) -> Symbols:
    """START and a symbol for every character, runs of spaces and of line breaks as one."""
    found = np.empty(len(points) + 1, np.uint16)
    found[0] = START
    number = 1
    blank = np.uint32(0x0A)  # the text's beginning is as good as a line break
    for position in range(len(points)):
        raw = points[position]
        point = table[raw] & _POINT_MASK if raw < len(table) else raw
        if point == 0x20 or point == 0x0A:
            if blank == 0 or (blank == 0x20 and point == 0x0A):
                number -= blank != 0  # the line break takes the space's place
            else:
                continue
            blank = point
        else:
            blank = np.uint32(0)
        found[number] = symbols[point] if point < len(symbols) else UNKNOWN
        number += 1
    return found[:number].copy()


def symbols_of(text: str, symbols: npt.NDArray[np.uint16]) -> Symbols:
    """The text as the model reads it: letters folded as in `hashing`, digits as 0."""
    found: Symbols = _symbols(code_points(text), class_table(), symbols)
    return found


def _alphabet(texts: list[str], symbol_bits: int) -> tuple[npt.NDArray[np.uint16], int]:
    """A symbol for each of the most frequent characters, UNKNOWN for the rest, and how many."""
    table = class_table()
    counts = np.zeros(len(table), np.int64)
    for text in texts:
        points = code_points(text)
        folded = table[np.minimum(points, len(table) - 1)] & _POINT_MASK
        counts += np.bincount(folded, minlength=len(table))
    order = np.argsort(-counts, kind="stable")[: (1 << symbol_bits) - 2]
    order = order[counts[order] > 0]
    symbols = np.full(len(table), UNKNOWN, np.uint16)
    symbols[order] = np.arange(UNKNOWN + 1, UNKNOWN + 1 + len(order))
    return symbols, len(order) + 1


def train_perplexity(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples labelled `positive`; those labelled `negative`, if any, are only measured.

    Raises:
        InputError: no language has enough text.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        pieces = [piece for piece in samples.of(language) if piece.label == POSITIVE]
        numbers = [sum(1 for piece in pieces if piece.part == part) for part in range(3)]
        if numbers[TRAIN] < options.fewest_pieces or min(numbers) < 2:
            report[language] = {
                "not_trained": f"{numbers[TRAIN]} training pieces, "
                f"at least {options.fewest_pieces} are needed, and 2 of every other part"
            }
            continue
        training = [piece.text for piece in pieces if piece.part == TRAIN]
        symbols, number = _alphabet(training, SYMBOL_BITS[language])
        model = train_ngrams(
            np.concatenate([symbols_of(text, symbols) for text in training]),
            number_of_symbols=number,
            symbol_bits=SYMBOL_BITS[language],
            order=ORDER[language],
        )
        arrays[f"{language}_table"] = model.table
        arrays[f"{language}_singles"] = model.singles
        arrays[f"{language}_symbols"] = symbols
        quantiles = _quantiles(_cuts(pieces, CALIBRATE), model, symbols)
        arrays[f"{language}_quantiles"] = quantiles
        details[language] = {}
        scored = _Language(model, symbols, quantiles)
        others = [piece for piece in samples.of(language) if piece.label != POSITIVE]
        report[language] = _report(scored, pieces, others, options.seed) | summary(model)
    return TrainedScorer(
        "perplexity", trained_languages(details, report), arrays, details, report, {}
    )


def _cuts(pieces: list[Sample], part: int) -> list[str]:
    """The pieces of one part, and beginnings of them of every length bucket they reach: a
    reference of long texts has to judge short ones too.
    """
    cuts = []
    for piece in pieces:
        if piece.part != part:
            continue
        cuts.append(piece.text)
        for low, high in pairwise(LENGTHS):
            if len(piece.text) >= 2 * high:
                # Of its own place and length in each text, drawn by the piece's key.
                start = piece.key % (len(piece.text) - high)
                cuts.append(piece.text[start : start + low + (piece.key >> 20) % (high - low)])
    return cuts


def _quantiles(
    texts: list[str], model: NgramModel, symbols: npt.NDArray[np.uint16]
) -> npt.NDArray[np.float32]:
    """Bits per character at each per cent, shape (length buckets, 101); a bucket with too few
    texts takes those of the nearest one that has enough.
    """
    buckets: list[list[float]] = [[] for _ in LENGTHS]
    for text in texts:
        found = symbols_of(text, symbols)
        length = len(found) - 1
        if length >= FEWEST_CHARACTERS:
            buckets[_bucket(length)].append(model.bits(found) / length)
    usable = [place for place, values in enumerate(buckets) if len(values) >= 10]
    if not usable:
        usable = [max(range(len(buckets)), key=lambda place: len(buckets[place]))]
    result = np.zeros((len(LENGTHS), _QUANTILES), np.float32)
    for place in range(len(LENGTHS)):
        nearest = min(usable, key=lambda other: (abs(other - place), other))
        values = buckets[nearest] or [0.0]
        result[place] = np.quantile(np.array(values), np.linspace(0, 1, _QUANTILES))
    return result


def _bucket(length: int) -> int:
    return int(np.searchsorted(LENGTHS, length, "right")) - 1


class _Language:
    """Model, alphabet and quantiles of one language."""

    def __init__(
        self,
        model: NgramModel,
        symbols: npt.NDArray[np.uint16],
        quantiles: npt.NDArray[np.float32],
    ) -> None:
        self.model = model
        self._symbols = symbols
        self._quantiles = quantiles

    def bits(self, text: str) -> tuple[float, int]:
        """Bits per character, and characters; white space counts as one."""
        found = symbols_of(text, self._symbols)
        length = len(found) - 1
        return (self.model.bits(found) / length if length else 0.0), length

    def percentile(self, bits: float, length: int) -> float:
        """Per cent of the held-out reference of this length with fewer bits per character."""
        values = self._quantiles[_bucket(length)]
        return float(np.interp(bits, values, np.arange(_QUANTILES, dtype=np.float64)))


def _report(
    scored: _Language, pieces: list[Sample], others: list[Sample], seed: int
) -> dict[str, Any]:
    """Bits per character of held-out text; how uniform the percentiles of held-out texts are; and
    how well bits tell held-out reference from negatives, given ones and scrambled ones.
    """
    values, percentiles = _scores(scored, _cuts(pieces, TEST))
    whole = _scores(scored, [piece.text for piece in pieces if piece.part == TEST])[0]
    negatives = _scores(scored, [piece.text for piece in others if piece.part == TEST])[0]
    scrambled = _scores(
        scored,
        [_scrambled(piece.text, piece.language, seed) for piece in pieces if piece.part == TEST],
    )[0]
    nominal = np.linspace(0.05, 0.95, 19)
    observed = [float((percentiles <= 100 * share).mean()) for share in nominal]
    return {
        "bits_per_character": round(float(whole.mean()), 4) if len(whole) else None,
        "texts": len(values),
        "auc": _bits_auc(whole, negatives),
        "auc_scrambled": _bits_auc(whole, scrambled),
        "percentile_calibration_error": round(float(np.abs(observed - nominal).mean()), 4),
        "percentiles": [
            {"nominal": round(float(share), 2), "observed": round(found, 4)}
            for share, found in zip(nominal, observed, strict=True)
        ],
    }


def _scores(
    scored: _Language, texts: list[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    pairs = []
    for text in texts:
        bits, length = scored.bits(text)
        if length >= FEWEST_CHARACTERS:
            pairs.append((bits, scored.percentile(bits, length)))
    table = np.array(pairs).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _bits_auc(reference: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> float | None:
    area = auc(
        -np.concatenate([reference, others]),
        np.arange(len(reference) + len(others)) < len(reference),
    )
    return None if area is None else round(area, 4)


def _scrambled(text: str, language: str, seed: int) -> str:
    """The text with its words, in Chinese its characters, in a random order."""
    parts = list(text) if language == "zh" else text.split(" ")
    generator = np.random.Generator(np.random.PCG64([seed, len(text)]))
    joiner = "" if language == "zh" else " "
    return joiner.join(parts[place] for place in generator.permutation(len(parts)))


class PerplexityScorer:
    """Gives the columns `perplexity` (2^bits per character) and `perplexity_percentile`."""

    def __init__(self, folder: ScorerFolder) -> None:
        arrays: Mapping[str, npt.NDArray[Any]] = folder.arrays
        self._languages = {
            name: _Language(
                NgramModel(
                    arrays[f"{name}_table"],
                    np.array(arrays[f"{name}_singles"]),
                    SYMBOL_BITS[name],
                    ORDER[name],
                ),
                np.array(arrays[f"{name}_symbols"]),
                np.array(arrays[f"{name}_quantiles"]),
            )
            for name in folder.languages
        }

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none for a short one or without a model for its language."""
        if language not in self._languages:
            return {}
        scored = self._languages[language]
        bits, length = scored.bits(text)
        if length < FEWEST_CHARACTERS:
            return {}
        return {
            "perplexity": 2.0**bits,
            "perplexity_percentile": scored.percentile(bits, length),
        }
