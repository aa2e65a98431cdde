"""A linear classifier over hashed n-grams of units: what quality, safety and topic are made of.

As fastText (Joulin et al. 2016, arXiv 1607.01759) without the hidden layer: every n-gram of 1 to
2 words, 1 to 3 Chinese characters, falls into one of 2^bits buckets (Weinberger et al. 2009, arXiv
0902.2206), and a class's logit is the sum of the buckets' weights divided by the root of the
number of n-grams, so that the norm of a text's features hardly depends on its length. From
`FEATURES_COUNTED` n-grams on it does not grow at all: a book is no surer than a chapter.
Trained by AdaGrad (Duchi et al. 2011), one text at a time in an order drawn from the seed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.hashing import Hashes, Units, extended, joined
from tongwen.kernels import inner, kernel

Weights = npt.NDArray[np.float32]
Logits = npt.NDArray[np.float64]

FEATURES_COUNTED = 4_000
NGRAM = {"en": 2, "zh": 3}
"""The longest n-grams, in units."""
# Of the squares: without it a bucket's first slope moves it by the whole rate, however small.
_START = 1e-2


@inner
def _add_logits(
    hashes: Hashes, ngram: int, shift: np.uint64, weights: Weights, logits: Logits
) -> float:
    """Adds up the weights of all n-grams; gives the factor that makes logits of the sums."""
    number = 0
    outputs = weights.shape[1]
    for first in range(len(hashes)):
        value = np.uint64(0)
        for last in range(first, min(first + ngram, len(hashes))):
            value = extended(value, hashes[last])
            bucket = value >> shift
            for output in range(outputs):
                logits[output] += weights[bucket, output]
            number += 1
    factor: float = np.sqrt(min(number, FEATURES_COUNTED)) / number if number else 0.0
    return factor


@kernel(allocates=True)
def _score(
    hashes: Hashes, ngram: int, shift: np.uint64, weights: Weights, biases: Weights
) -> Logits:
    # The length is known only at the end: add up first, scale once.
    logits = np.zeros(weights.shape[1])
    factor = _add_logits(hashes, ngram, shift, weights, logits)
    for output in range(len(logits)):
        logits[output] = logits[output] * factor + biases[output]
    return logits


@kernel
def _score_one(
    hashes: Hashes, ngram: int, shift: np.uint64, weights: Weights, bias: float
) -> float:
    """`_score` for one output, which is most of the work there is."""
    total = 0.0
    number = 0
    for first in range(len(hashes)):
        value = np.uint64(0)
        for last in range(first, min(first + ngram, len(hashes))):
            value = extended(value, hashes[last])
            total += weights[value >> shift]
            number += 1
    if number == 0:
        return bias
    logit: float = total * np.sqrt(min(number, FEATURES_COUNTED)) / number + bias
    return logit


@inner(allocates=True)
def _errors(logits: Logits, label: int) -> None:
    """Turns logits into the gradient of the logistic loss, one output, or of softmax's."""
    if len(logits) == 1:
        logits[0] = 1 / (1 + np.exp(-logits[0])) - label
        return
    top = logits.max()
    total = 0.0
    for output in range(len(logits)):
        logits[output] = np.exp(logits[output] - top)
        total += logits[output]
    for output in range(len(logits)):
        logits[output] = logits[output] / total - (1.0 if output == label else 0.0)


@kernel(allocates=True)
def _train(
    hashes: Hashes,
    offsets: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    importance: Logits,
    order: npt.NDArray[np.int64],
    ngram: int,
    shift: np.uint64,
    weights: Weights,
    squares: Weights,
    biases: Weights,
    rate: float,
    penalty: float,
) -> None:
    # One example after the other on one thread: a seed gives the same bytes. N-grams are hashed
    # again for the update rather than kept: a text has thousands, and hashing is two operations.
    outputs = weights.shape[1]
    bias_squares = np.full(outputs, 1.0)
    for example in order:
        here = hashes[offsets[example] : offsets[example + 1]]
        logits = np.zeros(outputs)
        factor = _add_logits(here, ngram, shift, weights, logits)
        for output in range(outputs):
            logits[output] = logits[output] * factor + biases[output]
        _errors(logits, labels[example])
        for output in range(outputs):
            logits[output] *= importance[example]
            bias_squares[output] += logits[output] ** 2
            biases[output] -= rate * logits[output] / np.sqrt(bias_squares[output])
        for first in range(len(here)):
            value = np.uint64(0)
            for last in range(first, min(first + ngram, len(here))):
                value = extended(value, here[last])
                bucket = value >> shift
                for output in range(outputs):
                    slope = logits[output] * factor + penalty * factor * weights[bucket, output]
                    squares[bucket, output] += slope * slope
                    weights[bucket, output] -= rate * slope / np.sqrt(squares[bucket, output])


def train_linear(
    texts: list[Units],
    labels: npt.NDArray[np.int64],
    importance: Logits,
    *,
    outputs: int,
    ngram: int,
    bits: int,
    epochs: int,
    rate: float = 0.1,
    penalty: float = 0.01,
    seed: int,
) -> tuple[Weights, Weights]:
    """Weights of shape (2^bits, outputs), and biases.

    Args:
        texts: the training texts.
        labels: 0 or 1 with one output, else the number of the class.
        importance: the weight of each text in the loss.
        outputs: 1, or the number of classes.
        ngram: units of the longest n-gram.
        bits: of the bucket's number.
        epochs: how often each text is seen; the rate falls to a tenth over them.
        rate: of AdaGrad.
        penalty: L2, applied to the weights a text touches.
        seed: of the order of the texts.
    """
    hashes, offsets = joined(texts)
    weights = np.zeros((1 << bits, outputs), np.float32)
    squares = np.full((1 << bits, outputs), _START, np.float32)
    biases = np.zeros(outputs, np.float32)
    generator = np.random.Generator(np.random.PCG64(seed))
    for epoch in range(epochs):
        order = generator.permutation(len(texts)).astype(np.int64)
        slower = rate * (1 - 0.9 * epoch / max(1, epochs - 1))
        _train(
            hashes, offsets, labels, importance, order, ngram, np.uint64(64 - bits),
            weights, squares, biases, slower, penalty,
        )  # fmt: skip
    return weights, biases


class LinearModel:
    """A trained classifier for one language.

    Args:
        weights: of shape (buckets, outputs), buckets a power of two.
        biases: one for each output.
        ngram: units of the longest n-gram.
    """

    def __init__(self, weights: Weights, biases: Weights, ngram: int) -> None:
        self._weights = weights
        self._flat = weights[:, 0] if weights.shape[1] > 1 else weights.reshape(-1)
        self._biases = np.array(biases)
        self._ngram = ngram
        self._shift = np.uint64(64 - (len(weights).bit_length() - 1))

    def logits(self, units: Units) -> Logits:
        """One logit for each output."""
        result: Logits = _score(units.hashes, self._ngram, self._shift, self._weights, self._biases)
        return result

    def logit(self, units: Units) -> float:
        """The logit of a classifier with one output."""
        return float(
            _score_one(units.hashes, self._ngram, self._shift, self._flat, float(self._biases[0]))
        )


def linear_models(
    arrays: Mapping[str, npt.NDArray[Any]], languages: Iterable[str]
) -> dict[str, LinearModel]:
    """The models of a scorer's folder by language: its `LANGUAGE_weights` and `LANGUAGE_biases`."""
    return {
        name: LinearModel(arrays[f"{name}_weights"], arrays[f"{name}_biases"], NGRAM[name])
        for name in languages
    }


def softmax(logits: Logits) -> Logits:
    """Probabilities of the classes, along the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: Logits = powers / powers.sum(axis=-1, keepdims=True)
    return result
