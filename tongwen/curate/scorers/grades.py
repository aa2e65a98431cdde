"""Grades: the grade from 0 to 5 that a language model would give a text, learnt from its labels.

FineWeb-Edu distils grades of a large model into a regression on embeddings (Penedo et al. 2024,
arXiv 2406.17557, section 4). Here it is the linear classifier of `linear` with the grade's fifth as
a soft target, a fractional logit (Papke and Wooldridge 1996): fast enough for every page, and its
values stay between 0 and 5. Calibrated and measured on texts it was not trained on.
"""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.held_out import CalibratedModels
from tongwen.curate.scorers.linear import NGRAM, LinearModel, Weights, train_linear
from tongwen.curate.scorers.logistic import fit_logistic, sigmoid
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import trained_languages
from tongwen.curate.scorers.samples import (
    CALIBRATE,
    FOLDS,
    LANGUAGES,
    TEST,
    TRAIN,
    Sample,
    Samples,
)

GRADED = {"educational_grade": "educational", "quality_grade": "quality"}
"""Kinds of scorers that give grades, each its column, and the field of labels they learn from."""
HIGHEST = 5
_GOOD = 3  # FineWeb-Edu keeps from 3 on
_LABELS = tuple(str(grade) for grade in range(HIGHEST + 1))

Values = npt.NDArray[np.float64]


def train_grades(kind: str, samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples labelled 0 to 5; others are left out and named in the report.

    Raises:
        InputError: no language has enough texts with two different grades.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        everything = samples.of(language)
        pieces = [piece for piece in everything if piece.label in _LABELS]
        if problem := _too_few(pieces, options):
            report[language] = {"not_trained": problem}
            continue
        units = [scorer_units(piece.text) for piece in pieces]
        targets = np.array([int(piece.label) / HIGHEST for piece in pieces])
        weights, biases, fitted, predicted, tested = _fit(pieces, units, targets, language, options)
        arrays[f"{language}_weights"], arrays[f"{language}_biases"] = weights, biases
        details[language] = {"fitted": fitted.tolist()}
        report[language] = {
            **grade_report(predicted * HIGHEST, targets[tested] * HIGHEST),
            "pieces_with_other_labels": len(everything) - len(pieces),
        }
    return TrainedScorer(kind, trained_languages(details, report), arrays, details, report, {})


def _too_few(pieces: list[Sample], options: TrainingOptions) -> str | None:
    training = Counter(piece.label for piece in pieces if piece.part == TRAIN)
    if training.total() < options.fewest_pieces or len(training) < 2:
        return (
            f"{training.total()} training pieces with {len(training)} different grades, at least "
            f"{options.fewest_pieces} with 2 are needed"
        )
    return None


def _fit(
    pieces: list[Sample],
    units: list[Units],
    targets: Values,
    language: str,
    options: TrainingOptions,
) -> tuple[Weights, Weights, Values, Values, npt.NDArray[np.int64]]:
    """Weights and biases, the calibration, and predictions (0 to 1) for the pieces of the places
    returned last, none of which taught what judged it (as `held_out` does for two classes).
    """

    def logits(chosen: npt.NDArray[np.bool_], judged: npt.NDArray[np.int64]) -> Values:
        model = LinearModel(*_train(units, targets, chosen, language, options), NGRAM[language])
        return np.array([model.logit(units[place]) for place in judged.tolist()])

    parts = np.array([piece.part for piece in pieces])
    if len(pieces) >= options.crossed_below:
        weights, biases = _train(units, targets, parts == TRAIN, language, options)
        model = LinearModel(weights, biases, NGRAM[language])
        calibrate, test = np.flatnonzero(parts == CALIBRATE), np.flatnonzero(parts == TEST)
        known = np.array([model.logit(units[place]) for place in calibrate.tolist()])
        fitted = _calibrated(known, targets[calibrate])
        unseen = np.array([model.logit(units[place]) for place in test.tolist()])
        return weights, biases, fitted, sigmoid(unseen * fitted[0] + fitted[1]), test
    folds = np.array([piece.fold for piece in pieces])
    crossed = np.zeros(len(pieces))
    for fold in range(FOLDS):
        here = np.flatnonzero(folds == fold)
        if len(here) and (folds != fold).any():
            crossed[here] = logits(folds != fold, here)
    predicted = np.zeros(len(pieces))
    for fold in np.unique(folds).tolist():
        here = folds == fold
        line = _calibrated(crossed[~here], targets[~here])
        predicted[here] = sigmoid(crossed[here] * line[0] + line[1])
    weights, biases = _train(units, targets, np.ones(len(pieces), bool), language, options)
    every: npt.NDArray[np.int64] = np.arange(len(pieces), dtype=np.int64)
    return weights, biases, _calibrated(crossed, targets), predicted, every


def _train(
    units: list[Units],
    targets: Values,
    chosen: npt.NDArray[np.bool_],
    language: str,
    options: TrainingOptions,
) -> tuple[Weights, Weights]:
    """A soft target is the text twice, once of each class, weighted by the target."""
    places = np.flatnonzero(chosen)
    twice = np.concatenate([places, places])
    labels = np.repeat(np.array([1, 0]), len(places))
    importance = np.concatenate([targets[places], 1 - targets[places]])
    used = np.flatnonzero(importance > 0)
    return train_linear(
        [units[place] for place in twice[used].tolist()],
        labels[used],
        2 * importance[used],
        outputs=1,
        ngram=NGRAM[language],
        bits=options.bucket_bits,
        epochs=options.epochs,
        seed=options.seed,
    )


def _calibrated(logits: Values, targets: Values) -> Values:
    """Slope and constant that make a grade's fifth of a logit."""
    both = np.concatenate([logits, logits])
    is_positive = np.repeat(np.array([True, False]), len(logits))
    return fit_logistic(both[:, None], is_positive, np.concatenate([targets, 1 - targets]))


def grade_report(predicted: Values, actual: Values) -> dict[str, Any]:
    """How near predicted grades are to the labels, and how well their order agrees.

    The error of always answering the mean grade is beside it: a scorer that is not clearly below
    that has learnt nothing. `f1_from_3` is that of telling 3 and more from less, FineWeb-Edu's use.
    """
    good, chosen = actual >= _GOOD, predicted >= _GOOD
    found = int((good & chosen).sum())
    either = int(good.sum()) + int(chosen.sum())
    counts = Counter(int(grade) for grade in actual.tolist())
    return {
        "examples": len(actual),
        "mean_absolute_error": round(float(np.abs(predicted - actual).mean()), 4),
        "mean_absolute_error_of_the_mean": round(float(np.abs(actual - actual.mean()).mean()), 4),
        "rank_correlation": _rank_correlation(predicted, actual),
        "f1_from_3": round(2 * found / either, 4) if either else None,
        "grades": {str(grade): counts[grade] for grade in sorted(counts)},
    }


def _rank_correlation(first: Values, second: Values) -> float | None:
    """Spearman's, ties sharing their mean rank; None when one of the two is constant."""
    ranks = [_ranks(values) for values in (first, second)]
    if any(np.ptp(item) == 0 for item in ranks):
        return None
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 4)


def _ranks(values: Values) -> Values:
    _, places, numbers = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(numbers)
    ranks: Values = (ends - (numbers - 1) / 2)[places]
    return ranks


class GradeScorer:
    """Gives the column of its kind, a grade from 0 to 5."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._column = folder.kind
        self._models = CalibratedModels(folder, "fitted")

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The grade of one text; none without a model for its language."""
        share = self._models.chance(units, language)
        return {} if share is None else {self._column: HIGHEST * share}
