"""Quality: how probable it is that a text is from the user's reference and not from a raw crawl.

A linear classifier for each language (`linear`), Platt-scaled on text it was not trained on. Yi
trains one towards Wikipedia-like pages (01.AI 2024, arXiv 2403.04652, section 2.1); what is good
is up to the user here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, units_of
from tongwen.curate.scorers.linear import NGRAM, LinearModel, train_linear
from tongwen.curate.scorers.logistic import fit_logistic, sigmoid
from tongwen.curate.scorers.measuring import balanced, binary_report
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.samples import CALIBRATE, LANGUAGES, TEST, TRAIN, Sample, Samples
from tongwen.errors import InputError

POSITIVE, NEGATIVE = "positive", "negative"


def train_quality(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples labelled `positive` and `negative`.

    Raises:
        InputError: no language has enough of both.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        pieces = samples.of(language)
        if problem := too_few(pieces, (POSITIVE, NEGATIVE), options):
            report[language] = {"not_trained": problem}
            continue
        model, weights, biases = train_binary(pieces, POSITIVE, language, options)
        logits, is_positive, parts = held_out_logits(model, pieces, POSITIVE)
        calibrating, testing = parts == CALIBRATE, parts == TEST
        platt = fit_logistic(
            logits[calibrating, None], is_positive[calibrating], balanced(is_positive[calibrating])
        )
        arrays[f"{language}_weights"], arrays[f"{language}_biases"] = weights, biases
        details[language] = {"platt": platt.tolist()}
        chances = sigmoid(logits[testing] * platt[0] + platt[1])
        report[language] = binary_report(chances, is_positive[testing])
    return TrainedScorer("quality", trained_languages(details, report), arrays, details, report, {})


def too_few(pieces: list[Sample], labels: tuple[str, ...], options: TrainingOptions) -> str | None:
    """Why a language cannot be trained, None if it can: too few pieces of a class in a part."""
    for label in labels:
        for part, least in ((TRAIN, options.fewest_pieces), (CALIBRATE, 2), (TEST, 2)):
            number = sum(1 for piece in pieces if piece.label == label and piece.part == part)
            if number < least:
                name = ("training", "calibration", "test")[part]
                return f"{number} {name} pieces of class {label!r}, at least {least} are needed"
    return None


def trained_languages(details: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """The languages that got a model.

    Raises:
        InputError: there are none.
    """
    languages = [language for language in LANGUAGES if language in details]
    if not languages:
        reasons = "; ".join(f"{name}: {item['not_trained']}" for name, item in report.items())
        raise InputError(
            f"not enough text to train on ({reasons})",
            hint="give more text, or texts of both classes",
        )
    return languages


def train_binary(
    pieces: list[Sample], positive: str, language: str, options: TrainingOptions
) -> tuple[LinearModel, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A classifier of the pieces of part TRAIN with one label against all others."""
    training = [piece for piece in pieces if piece.part == TRAIN]
    is_positive = np.array([piece.label == positive for piece in training])
    weights, biases = train_linear(
        [units_of(piece.text) for piece in training],
        is_positive.astype(np.int64),
        balanced(is_positive),
        outputs=1,
        ngram=NGRAM[language],
        bits=options.bucket_bits,
        epochs=options.epochs,
        seed=options.seed,
    )
    return LinearModel(weights, biases, NGRAM[language]), weights, biases


def held_out_logits(
    model: LinearModel, pieces: list[Sample], positive: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Logit, class and part of every piece that was not trained on."""
    held_out = [piece for piece in pieces if piece.part != TRAIN]
    return (
        np.array([model.logit(units_of(piece.text)) for piece in held_out]),
        np.array([piece.label == positive for piece in held_out]),
        np.array([piece.part for piece in held_out], np.int64),
    )


class QualityScorer:
    """Gives the column `quality`, a probability."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._models = {
            language: LinearModel(
                folder.arrays[f"{language}_weights"],
                folder.arrays[f"{language}_biases"],
                NGRAM[language],
            )
            for language in folder.languages
        }
        self._platt = {name: folder.details[name]["platt"] for name in folder.languages}

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none without a model for its language."""
        if language not in self._models or not len(units.hashes):
            return {}
        slope, constant = self._platt[language]
        logit = self._models[language].logit(units) * slope + constant
        return {"quality": float(sigmoid(np.array(logit)))}
