"""How good a scorer is on held-out text: ranking (AUC), calibration, agreement with labels."""

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_BINS = 10


def auc(scores: Values, is_positive: npt.NDArray[np.bool_]) -> float | None:
    """The probability that a positive scores above a negative, ties counting half: the area under
    the receiver operating characteristic (Hanley and McNeil 1982). None without both classes.
    """
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return None
    _, places, numbers = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(numbers)
    ranks = (ends - (numbers - 1) / 2)[places]  # the mean rank of equal scores
    above = ranks[is_positive].sum() - positives * (positives + 1) / 2
    return float(above / positives / negatives)


def calibration(
    probabilities: Values, outcomes: Values, weights: Values | None = None
) -> dict[str, Any]:
    """Expected calibration error over ten bins of equal width, the reliability table behind it,
    and the Brier score (Guo et al. 2017, arXiv 1706.04599; Brier 1950).

    Args:
        probabilities: 0 to 1.
        outcomes: 0 or 1.
        weights: of the examples; equal when None.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    places = np.minimum((probabilities * _BINS).astype(np.int64), _BINS - 1)
    total = weights.sum()
    table = []
    error = 0.0
    for place in range(_BINS):
        here = places == place
        weight = float(weights[here].sum())
        if weight == 0:
            continue
        predicted = float((probabilities[here] * weights[here]).sum() / weight)
        observed = float((outcomes[here] * weights[here]).sum() / weight)
        error += weight / total * abs(predicted - observed)
        table.append(
            {
                "from": place / _BINS,
                "to": (place + 1) / _BINS,
                "examples": int(here.sum()),
                "predicted": round(predicted, 4),
                "observed": round(observed, 4),
            }
        )
    brier = float(((probabilities - outcomes) ** 2 * weights).sum() / total)
    return {
        "expected_calibration_error": round(float(error), 4),
        "brier": round(brier, 4),
        "reliability": table,
    }


def binary_report(probabilities: Values, is_positive: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """AUC and calibration of a classifier of two classes, both counting the same.

    A user's files say nothing of how common the classes are in a crawl, so every probability is
    one for equally common classes, and is measured as such.
    """
    area = auc(probabilities, is_positive)
    return {
        "auc": None if area is None else round(area, 4),
        "positives": int(is_positive.sum()),
        "negatives": int((~is_positive).sum()),
        **calibration(probabilities, is_positive.astype(np.float64), balanced(is_positive)),
    }


def balanced(is_positive: npt.NDArray[np.bool_]) -> Values:
    """Weights that give both classes half of the total, the mean weight being 1."""
    number = len(is_positive)
    positives = int(is_positive.sum())
    if positives in (0, number):
        return np.ones(number)
    return np.where(is_positive, number / (2 * positives), number / (2 * (number - positives)))


def class_report(
    predicted: npt.NDArray[np.int64], actual: npt.NDArray[np.int64], labels: list[str]
) -> dict[str, Any]:
    """Accuracy, macro-F1 over the classes that occur, and precision, recall, F1 of each."""
    classes = {}
    scores = []
    for number, label in enumerate(labels):
        right = int(((predicted == number) & (actual == number)).sum())
        chosen, present = int((predicted == number).sum()), int((actual == number).sum())
        if not present and not chosen:
            continue
        score = 2 * right / (chosen + present)
        scores.append(score)
        classes[label] = {
            "examples": present,
            "precision": round(right / chosen, 4) if chosen else None,
            "recall": round(right / present, 4) if present else None,
            "f1": round(score, 4),
        }
    return {
        "accuracy": round(float((predicted == actual).mean()), 4) if len(actual) else None,
        "macro_f1": round(float(np.mean(scores)), 4) if scores else None,
        "examples": len(actual),
        "classes": classes,
    }
