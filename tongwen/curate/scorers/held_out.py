"""Classifiers of two classes, and what they say of text they were not trained on.

With many pieces the parts CALIBRATE and TEST are held out. With few that would leave some dozens to
calibrate and measure with, so five models are trained, each without a fifth of the texts, and
every text is judged by the one that has not seen it; the model that is kept has seen all.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.linear import NGRAM, LinearModel, Weights, linear_models, train_linear
from tongwen.curate.scorers.logistic import fit_logistic, sigmoid
from tongwen.curate.scorers.measuring import balanced
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.samples import CALIBRATE, FOLDS, TEST, TRAIN, Sample

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """A trained classifier and its judgement of held-out pieces.

    Attributes:
        weights: of the model that is kept.
        biases: of the same.
        pieces: held-out pieces.
        logits: one for each piece, by a model that was not trained on it.
        is_positive: whether the piece has the positive label.
        is_crossed: whether the pieces are all there are, judged by five models.
    """

    weights: Weights
    biases: Weights
    pieces: list[Sample]
    logits: Values
    is_positive: Flags
    is_crossed: bool

    def calibrate(self, evidence: Values) -> tuple[Values, Values, Flags]:
        """Coefficients of a logistic regression on the evidence, of shape (pieces, columns);
        probabilities of pieces it was not fitted on, and whether those are positive.
        """
        is_positive = self.is_positive
        if not self.is_crossed:
            parts = np.array([piece.part for piece in self.pieces])
            chosen, tested = parts == CALIBRATE, parts == TEST
            fitted = _fit(evidence[chosen], is_positive[chosen])
            return fitted, _chances(evidence[tested], fitted), is_positive[tested]
        folds = np.array([piece.fold for piece in self.pieces])
        chances = np.zeros(len(folds))
        for fold in np.unique(folds):
            rest = _fit(evidence[folds != fold], is_positive[folds != fold])
            chances[folds == fold] = _chances(evidence[folds == fold], rest)
        return _fit(evidence, is_positive), chances, is_positive


def _fit(evidence: Values, is_positive: Flags) -> Values:
    return fit_logistic(evidence, is_positive, balanced(is_positive))


def _chances(evidence: Values, fitted: Values) -> Values:
    return sigmoid(evidence @ fitted[:-1] + fitted[-1])


class CalibratedModels:
    """The classifiers of a scorer, each with the slope and the constant that calibrate its logit.

    Args:
        folder: with weights and biases by language.
        key: of slope and constant in the details of a language.
    """

    def __init__(self, folder: ScorerFolder, key: str) -> None:
        self._models = linear_models(folder.arrays, folder.languages)
        self._lines = {language: folder.details[language][key] for language in folder.languages}

    def chance(self, units: Units, language: str) -> float | None:
        """The calibrated output, 0 to 1; None without a model for the language or without text."""
        if language not in self._models or not len(units.hashes):
            return None
        slope, constant = self._lines[language]
        logit = self._models[language].logit(units) * slope + constant
        return float(sigmoid(np.array(logit)))


def too_few(pieces: list[Sample], labels: tuple[str, ...], options: TrainingOptions) -> str | None:
    """Why a language cannot be trained, None if it can: too few pieces of a class in a part."""
    for label in labels:
        for part, least in ((TRAIN, options.fewest_pieces), (CALIBRATE, 2), (TEST, 2)):
            number = sum(1 for piece in pieces if piece.label == label and piece.part == part)
            if number < least:
                name = ("training", "calibration", "test")[part]
                return f"{number} {name} pieces of class {label!r}, at least {least} are needed"
    return None


def train_held_out(
    pieces: list[Sample], positive: str, language: str, options: TrainingOptions
) -> HeldOut:
    """A classifier of the pieces with one label against all others."""
    units = [scorer_units(piece.text) for piece in pieces]
    is_positive = np.array([piece.label == positive for piece in pieces])
    rarer = min(int(is_positive.sum()), int((~is_positive).sum()))
    if len(pieces) >= options.crossed_below and rarer >= options.crossed_below / 10:
        chosen = np.array([piece.part == TRAIN for piece in pieces])
        weights, biases = _train(units, is_positive, chosen, language, options)
        model = LinearModel(weights, biases, NGRAM[language])
        rest = np.flatnonzero(~chosen).tolist()
        logits = np.array([model.logit(units[place]) for place in rest])
        held_out = [pieces[place] for place in rest]
        return HeldOut(weights, biases, held_out, logits, is_positive[rest], False)
    folds = np.array([piece.fold for piece in pieces])
    logits = np.zeros(len(pieces))
    for fold in range(FOLDS):
        model = LinearModel(
            *_train(units, is_positive, folds != fold, language, options), NGRAM[language]
        )
        for place in np.flatnonzero(folds == fold).tolist():
            logits[place] = model.logit(units[place])
    weights, biases = _train(units, is_positive, np.ones(len(pieces), bool), language, options)
    return HeldOut(weights, biases, pieces, logits, is_positive, True)


def _train(
    units: list[Units], is_positive: Flags, chosen: Flags, language: str, options: TrainingOptions
) -> tuple[Weights, Weights]:
    return train_linear(
        [item for item, is_chosen in zip(units, chosen.tolist(), strict=True) if is_chosen],
        is_positive[chosen].astype(np.int64),
        balanced(is_positive[chosen]),
        outputs=1,
        ngram=NGRAM[language],
        bits=options.bucket_bits,
        epochs=options.epochs,
        seed=options.seed,
    )
