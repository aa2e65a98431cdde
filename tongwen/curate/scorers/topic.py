"""Topic: which of the user's labels a text belongs to, and how sure that is.

One linear classifier with softmax for each language (`linear`), its confidence calibrated by a
temperature (Guo et al. 2017, arXiv 1706.04599). Every label counts the same in training, so a
rare topic is not swallowed by a common one.
"""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.folder import ScorerFolder, TrainedScorer
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.linear import NGRAM, LinearModel, linear_models, softmax, train_linear
from tongwen.curate.scorers.measuring import calibration, class_report
from tongwen.curate.scorers.options import TrainingOptions
from tongwen.curate.scorers.quality import trained_languages
from tongwen.curate.scorers.samples import CALIBRATE, LANGUAGES, TEST, TRAIN, Sample, Samples

_MOST_WEIGHT = 20.0  # of a rare label: its few texts would drown out the others
_MOST_LABELS = 256  # of a table of 64 MiB they leave 65,536 buckets
_TEMPERATURES = np.exp(np.linspace(np.log(0.1), np.log(10), 93))


def train_topic(samples: Samples, options: TrainingOptions) -> TrainedScorer:
    """Train on samples with at least two labels. A label with too few texts in a language is left
    out there, and named in the report.

    Raises:
        InputError: no language has two labels with enough texts.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    details: dict[str, Any] = {}
    report: dict[str, Any] = {}
    for language in LANGUAGES:
        pieces = samples.of(language)
        numbers = Counter(piece.label for piece in pieces if piece.part == TRAIN)
        labels = sorted(label for label in numbers if numbers[label] >= options.fewest_pieces)
        rest = sorted({piece.label for piece in pieces} - set(labels))
        if not 2 <= len(labels) <= _MOST_LABELS:
            report[language] = {
                "not_trained": f"{len(labels)} labels with {options.fewest_pieces} training "
                f"pieces, 2 to {_MOST_LABELS} are needed"
            }
            continue
        pieces = [piece for piece in pieces if piece.label in labels]
        model, weights, biases = _train(pieces, labels, language, options)
        temperature = _temperature(*_logits(model, pieces, labels, CALIBRATE))
        logits, actual = _logits(model, pieces, labels, TEST)
        chances = softmax(logits / temperature)
        predicted = chances.argmax(axis=1)
        arrays[f"{language}_weights"], arrays[f"{language}_biases"] = weights, biases
        details[language] = {"labels": labels, "temperature": temperature}
        report[language] = {
            **class_report(predicted, actual, labels),
            **calibration(chances.max(axis=1), (predicted == actual).astype(np.float64)),
            "labels_left_out": rest,
        }
    return TrainedScorer("topic", trained_languages(details, report), arrays, details, report, {})


def _train(
    pieces: list[Sample], labels: list[str], language: str, options: TrainingOptions
) -> tuple[LinearModel, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    training = [piece for piece in pieces if piece.part == TRAIN]
    numbers = np.array([labels.index(piece.label) for piece in training], np.int64)
    counts = np.bincount(numbers, minlength=len(labels))
    importance = np.minimum(len(numbers) / len(labels) / counts, _MOST_WEIGHT)
    # The table of all labels stays within 64 MiB.
    bits = min(options.bucket_bits, int(np.log2((1 << 24) / len(labels))))
    weights, biases = train_linear(
        [scorer_units(piece.text) for piece in training],
        numbers,
        importance[numbers],
        outputs=len(labels),
        ngram=NGRAM[language],
        bits=bits,
        epochs=options.epochs,
        seed=options.seed,
    )
    return LinearModel(weights, biases, NGRAM[language]), weights, biases


def _logits(
    model: LinearModel, pieces: list[Sample], labels: list[str], part: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    chosen = [piece for piece in pieces if piece.part == part]
    logits = [model.logits(scorer_units(piece.text)) for piece in chosen]
    actual = np.array([labels.index(piece.label) for piece in chosen], np.int64)
    return np.array(logits).reshape(-1, len(labels)), actual


def _temperature(logits: npt.NDArray[np.float64], actual: npt.NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy on the calibration part; 1 without texts."""
    if not len(actual):
        return 1.0
    rows = np.arange(len(actual))
    losses = [
        -np.log(np.maximum(softmax(logits / value)[rows, actual], 1e-12)).mean()
        for value in _TEMPERATURES
    ]
    return round(float(_TEMPERATURES[int(np.argmin(losses))]), 6)


class TopicScorer:
    """Gives the columns `topic`, a label, and `topic_confidence`."""

    def __init__(self, folder: ScorerFolder) -> None:
        self._models = linear_models(folder.arrays, folder.languages)
        self._details = folder.details

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """The values for one text; none without a model for its language."""
        if language not in self._models or not len(units.hashes):
            return {}
        details = self._details[language]
        chances = softmax(self._models[language].logits(units) / details["temperature"])
        best = int(chances.argmax())
        return {"topic": details["labels"][best], "topic_confidence": float(chances[best])}
