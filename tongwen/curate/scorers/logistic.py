"""Logistic regression on a few numbers a text: calibrates classifiers and joins their evidence."""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_STEPS = 50
_TOLERANCE = 1e-9


def sigmoid(logits: Values) -> Values:
    """1 / (1 + exp(-x)), without overflow."""
    result: Values = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return result


def fit_logistic(
    features: Values, is_positive: npt.NDArray[np.bool_], weights: Values, *, penalty: float = 1.0
) -> Values:
    """Coefficients, the constant last, of a penalised logistic regression by Newton's method.

    With one feature, the logit of a classifier, this is Platt scaling (Platt 1999) with his
    softened targets (Lin, Lin and Weng 2007, appendix), so separable classes do not diverge.

    Args:
        features: of shape (examples, features).
        is_positive: one for each example.
        weights: one for each example.
        penalty: half of it times the squared coefficients, the constant's excepted, is added to
            the loss; a coefficient is that of a feature of unit variance there.
    """
    number = features.shape[1]
    scales = features.std(axis=0)
    scales[scales == 0] = 1.0
    means = features.mean(axis=0)
    design = np.column_stack([(features - means) / scales, np.ones(len(features))])
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    targets = np.where(is_positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    ridge = np.append(np.full(number, penalty), 1e-6)
    coefficients = np.zeros(number + 1)
    for _ in range(_STEPS):
        chances = sigmoid(design @ coefficients)
        gradient = design.T @ (weights * (chances - targets)) + ridge * coefficients
        spread = weights * np.maximum(chances * (1 - chances), 1e-6)
        step = np.linalg.solve((design * spread[:, None]).T @ design + np.diag(ridge), gradient)
        largest = np.abs(step).max()
        coefficients -= step * min(1.0, 5 / max(largest, 1e-12))
        if largest < _TOLERANCE:
            break
    slopes = coefficients[:number] / scales
    return np.append(slopes, coefficients[number] - (slopes * means).sum())
