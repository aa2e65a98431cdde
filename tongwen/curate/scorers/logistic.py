"""Logistic regression on a few numbers a text: calibrates classifiers and joins their evidence."""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
_TOLERANCE = 1e-9  # Newton's method squares the error each round: exact for a round or two more


def sigmoid(logits: Values) -> Values:
    """1 / (1 + exp(-x)), without overflow."""
    result: Values = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    return result


def fit_logistic(
    features: Values, is_positive: npt.NDArray[np.bool_], weights: Values, *, penalty: float = 1.0
) -> Values:
    """Coefficients, the constant last, of a penalised logistic regression, by scikit-learn.

    With one feature, the logit of a classifier, this is Platt scaling (Platt 1999) with his
    softened targets (Lin, Lin and Weng 2007, appendix), so separable classes do not diverge.

    Args:
        features: of shape (examples, features).
        is_positive: one for each example.
        weights: one for each example.
        penalty: half of it times the squared coefficients, the constant's excepted, is added to
            the loss; a coefficient is that of a feature of unit variance there.
    """
    from sklearn.linear_model import LogisticRegression

    scales = features.std(axis=0)
    scales[scales == 0] = 1.0
    means = features.mean(axis=0)
    scaled = (features - means) / scales
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    targets = np.where(is_positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # A soft target is the same example twice, once of each class, weighted by the target.
    regression = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=_TOLERANCE)
    regression.fit(
        np.concatenate([scaled, scaled]),
        np.repeat([True, False], len(scaled)),
        np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    slopes = regression.coef_[0] / scales
    return np.append(slopes, regression.intercept_[0] - (slopes * means).sum())
