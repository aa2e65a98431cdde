"""Coherence: how probable it is that the sentences of a text are in an order somebody wrote.

Yi scores documents by it (01.AI 2024, arXiv 2403.04652, section 2.1) without saying how. Training
makes its own negatives of the reference: sentences shuffled, paragraphs shuffled, two texts
mixed (the shuffle test of Barzilay and Lapata 2008). A hashed classifier looks at how sentences
join; a logistic regression on other texts adds how much more often neighbours, sentences and
paragraphs, share words than they would in a random order (`cohesion`), and calibrates.

Experimental: no measurement of ours shows yet that a model trained on what it keeps is better.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.cohesion import (
    Sentences,
    junctions,
    rearranged,
    repetition_excess,
    sentences_of,
)
from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.linear import LinearModel, train_linear
from tongwen.curate.scorers.logistic import fit_logistic, sigmoid
from tongwen.curate.scorers.measuring import auc, balanced, binary_report
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import trained_languages
from tongwen.curate.scorers.samples import CALIBRATE, LANGUAGES, TEST, TRAIN, Sample, Samples

FEWEST_SENTENCES = 6  # of five or fewer many orders are as good
_FEWEST_PARAGRAPHS = 4  # three in another order are often as good
_WINDOW_SENTENCES = 64  # a book is as many windows: no text is surer for its length
DISTURBANCES = ("sentences", "paragraphs", "mixed")
"""What is done to a text to make a negative of it."""

_Whole = tuple[Units, Sentences]


def train_coherence(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples labelled `positive`.

    Raises:
        InputError: no language has enough texts of six sentences.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        parts = [_whole_texts(samples.of(language, part)) for part in range(3)]
        numbers = [len(part) for part in parts]
        if numbers[TRAIN] < options.fewest_pieces or min(numbers) < 4:
            report[language] = {
                "not_trained": f"{numbers[TRAIN]} training texts of {FEWEST_SENTENCES} sentences, "
                f"at least {options.fewest_pieces} are needed, and 4 of every other part"
            }
            continue
        model, weights, biases = _train_junctions(parts[TRAIN], options)
        evidence, is_whole, _ = _evidence(model, parts[CALIBRATE], options.seed)
        joined = fit_logistic(evidence, is_whole, balanced(is_whole))
        arrays[f"{language}_weights"], arrays[f"{language}_biases"] = weights, biases
        details[language] = {"joined": joined.tolist()}
        report[language] = _report(model, joined, parts[TEST], options.seed)
    return TrainedScorer(
        "coherence", trained_languages(details, report), arrays, details, report, {}
    )


def _whole_texts(pieces: list[Sample]) -> list[_Whole]:
    texts = [
        (units, sentences_of(units)) for units in (scorer_units(piece.text) for piece in pieces)
    ]
    return [text for text in texts if len(text[1].starts) >= FEWEST_SENTENCES]


def disturbed(text: _Whole, other: _Whole, how: str, seed: int) -> Units | None:
    """A negative made of `text`; None when it has too few paragraphs for that.

    Args:
        text: what to disturb.
        other: another text, for `mixed`.
        how: one of `DISTURBANCES`.
        seed: of the order.
    """
    units, sentences = text
    generator = np.random.Generator(np.random.PCG64(seed))
    number = len(sentences.starts)
    if how == "sentences":
        order = generator.permutation(number)
        return None if (order == np.arange(number)).all() else rearranged(units, sentences, order)
    if how == "paragraphs":
        paragraphs = np.unique(sentences.paragraphs)
        order = generator.permutation(len(paragraphs))
        if len(paragraphs) < _FEWEST_PARAGRAPHS or (order == np.arange(len(order))).all():
            return None
        parts = [np.flatnonzero(sentences.paragraphs == paragraphs[place]) for place in order]
        sizes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        return rearranged(units, sentences._replace(paragraphs=sizes), np.concatenate(parts))
    both = Units(
        np.concatenate([units.hashes, other[0].hashes]),
        np.concatenate([units.kinds, other[0].kinds]),
    )
    merged = Sentences(
        np.concatenate([sentences.starts, other[1].starts + len(units.hashes)]),
        np.concatenate([sentences.ends, other[1].ends + len(units.hashes)]),
        sentences.paragraphs,
    )
    # By turns some sentences of either text, in their order: as long as the text was.
    order = np.arange(number)
    place, is_other = 0, False
    while place < number:
        run = int(generator.integers(1, 5))
        taken = np.arange(place, min(place + run, number))
        if is_other:
            order[taken] = number + taken % len(other[1].starts)
        place, is_other = place + run, not is_other
    return rearranged(both, merged, order)


def _train_junctions(
    texts: list[_Whole], options: TrainingOptions
) -> tuple[LinearModel, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    features: list[Units] = []
    labels: list[int] = []
    for number, text in enumerate(texts):
        features.append(_joins(*text))
        labels.append(1)
        for turn, how in enumerate(DISTURBANCES):
            other = texts[(number + 1) % len(texts)]
            seed = options.seed * 1_000_003 + number * 7 + turn
            changed = disturbed(text, other, how, seed % 2**63)
            if changed is not None:
                features.append(_joins(changed, sentences_of(changed)))
                labels.append(0)
    numbers = np.array(labels, np.int64)
    weights, biases = train_linear(
        features, numbers, balanced(numbers == 1), outputs=1, ngram=1,
        bits=options.bucket_bits, epochs=options.epochs, seed=options.seed,
    )  # fmt: skip
    return LinearModel(weights, biases, 1), weights, biases


def _joins(units: Units, sentences: Sentences) -> Units:
    """The hashes of the junctions in the place of units, for the linear model."""
    found = junctions(units.hashes, *sentences)
    return Units(found, np.zeros(len(found), np.uint8))


def evidence_of(model: LinearModel, units: Units, sentences: Sentences) -> list[float]:
    """The junctions' logit, the excess of repeated words between sentences and between paragraphs
    at three distances each, and their number; of a long text the means of its windows.
    """
    number = len(sentences.starts)
    windows = -(-number // _WINDOW_SENTENCES)
    bounds = [number * place // windows for place in range(windows + 1)]
    rows = []
    for low, high in pairwise(bounds):
        part = Sentences(*(column[low:high] for column in sentences))
        order = np.arange(high - low)
        excess = [
            repetition_excess(units.hashes, units.kinds, part.starts, part.ends, groups)
            for groups in (order, part.paragraphs)
        ]
        rows.append([model.logit(_joins(units, part)), *excess[0], *excess[1]])
    return [*np.mean(np.array(rows), axis=0).tolist(), float(np.log(number))]


def _evidence(
    model: LinearModel, texts: list[_Whole], seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Evidence, whether the text is whole, and the disturbance's number (-1 of whole ones)."""
    rows, kinds = [], []
    for number, text in enumerate(texts):
        rows.append(evidence_of(model, *text))
        kinds.append(-1)
        for turn, how in enumerate(DISTURBANCES):
            other = texts[(number + 1) % len(texts)]
            changed = disturbed(text, other, how, (seed * 1_000_003 + number * 7 + turn) % 2**63)
            if changed is not None:
                rows.append(evidence_of(model, changed, sentences_of(changed)))
                kinds.append(turn)
    places = np.array(kinds, np.int64)
    return np.array(rows), places < 0, places


def _report(
    model: LinearModel, joined: npt.NDArray[np.float64], texts: list[_Whole], seed: int
) -> dict[str, Any]:
    evidence, is_whole, kinds = _evidence(model, texts, seed)
    chances = sigmoid(evidence @ joined[:-1] + joined[-1])
    areas = {}
    for turn, how in enumerate(DISTURBANCES):
        chosen = is_whole | (kinds == turn)
        area = auc(chances[chosen], is_whole[chosen])
        areas[how] = None if area is None else round(area, 4)
    return {**binary_report(chances, is_whole), "auc_by_disturbance": areas}


class CoherenceScorer:
    """Gives the column `coherence`, a probability."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._models = {
            name: LinearModel(folder.arrays[f"{name}_weights"], folder.arrays[f"{name}_biases"], 1)
            for name in folder.languages
        }
        self._joined = {name: np.array(folder.details[name]["joined"]) for name in folder.languages}

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none for fewer than six sentences or an unknown language."""
        if language not in self._models:
            return {}
        sentences = sentences_of(units)
        if len(sentences.starts) < FEWEST_SENTENCES:
            return {}
        joined = self._joined[language]
        evidence = np.array(evidence_of(self._models[language], units, sentences))
        return {"coherence": float(sigmoid(np.array(evidence @ joined[:-1] + joined[-1])))}
