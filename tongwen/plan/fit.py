"""Fitting L(N, D) = E + A / N^alpha + B / D^beta to the losses of a ladder of runs.

Hoffmann et al. 2022, arXiv:2203.15556, appendix D.3: the Huber loss of the difference of logarithms
is minimised over (ln A, ln B, ln E, alpha, beta) from many starts; it is summed over the runs, not
averaged (Besiroglu et al. 2024, arXiv:2404.10102, section 3: an average made the minimiser stop too
early). The minimiser is Levenberg and Marquardt's with the weights of the Huber loss (Holland and
Welsch 1977) and analytic derivatives; all starts, and all bootstrapped samples, are one batch.

Shape suffixes in this file: S starts or samples, P points, 5 constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.errors import InputError

Floats = npt.NDArray[np.float64]

HUBER_DELTA = 1e-3
"""Differences of logarithms beyond it count by their size, not by its square."""

_ITERATIONS = 300  # bounds the time of starts that creep along a flat valley
_SHARES_OF_FLOOR = (0.3, 0.6, 0.9)
_EXPONENTS = (0.15, 0.35, 0.8)
_SPLITS = (0.2, 0.8)
_LARGEST_EXPONENT = 3.0  # Hoffmann et al. found 0.34 and 0.28: far above them a term is a step,
_SMALLEST_EXPONENT = 0.01  # and far below a constant, as E is
_LEAST_SIZES = 3  # two sizes cannot tell a floor from an exponent
_SPREAD_OF_UNKNOWN = 2.0
"""A constant whose 80 % interval spans more than this factor is not determined by the runs."""

_LEAST_EFFECT = 0.002
"""Share of the loss below which a term of the law is nothing."""

NAMES = ("irreducible", "parameter_factor", "parameter_exponent", "token_factor", "token_exponent")
"""Of the constants, in the order of `Fit.constants`: E, A, alpha, B, beta."""


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        constants: E, A, alpha, B, beta.
        samples: the same of bootstrapped ladders, [samples, 5].
        residuals: ln of the law minus ln of the loss, of each point.
        deviation: robust standard deviation of the residuals, for 5 fitted constants.
        objective: sum of Huber losses.
        unknown: constants that the runs do not determine, with their 80 % interval, in words.
    """

    constants: tuple[float, ...]
    samples: Floats
    residuals: Floats
    deviation: float
    objective: float
    unknown: tuple[str, ...]


def fit_law(
    parameters: Sequence[float] | Floats,
    tokens: Sequence[float] | Floats,
    losses: Sequence[float] | Floats,
    *,
    samples: int = 200,
    seed: int = 1862,
) -> Fit:
    """The law of some runs.

    Args:
        parameters: N of each run.
        tokens: D.
        losses: L, in bits a byte or any other unit.
        samples: bootstrapped ladders.
        seed: of the bootstrap.

    Raises:
        InputError: fewer than 6 runs, 3 sizes or 3 numbers of tokens, or a value that is not
            positive and finite.
    """
    points = np.array([parameters, tokens, losses], dtype=np.float64)
    _check(points)
    logs_P = np.log(points)
    n_P, d_P = (logs_P[i] - logs_P[i].mean() for i in (0, 1))  # centred: better conditioned
    weights = np.ones((1, points.shape[1]))
    starts = _starts(logs_P[2])
    found, objectives = _minimise(starts, n_P, d_P, logs_P[2], weights)
    order = np.argsort(objectives)
    best = found[order[0]]
    drawn = _minimise_samples(
        found[_apart(found, order)], n_P, d_P, logs_P[2], samples, np.random.default_rng(seed)
    )
    residuals = _predicted(best[None], n_P, d_P)[0][0] - logs_P[2]
    constants = _plain(np.vstack([best, drawn]), logs_P)
    count = len(residuals)
    spread = 1.4826 * float(np.median(np.abs(residuals)))
    return Fit(
        constants=tuple(map(float, constants[0])),
        samples=constants[1:],
        residuals=residuals,
        deviation=spread * (count / max(1, count - 5)) ** 0.5,
        objective=float(objectives[order[0]]),
        unknown=(*_without_effect(constants[0], points), *_unknown(constants[1:])),
    )


def _check(points: Floats) -> None:
    wrong = ~(np.isfinite(points) & (points > 0))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][1])
        size, tokens, loss = points[:, row]
        raise InputError(
            f"run {row + 1} has {size:g} parameters, {tokens:g} tokens and a loss of {loss:g}",
            hint="leave it out, or run it again",
        )
    count, sizes, budgets = points.shape[1], len({*points[0]}), len({*points[1]})
    if count < 6 or sizes < _LEAST_SIZES or budgets < _LEAST_SIZES:
        raise InputError(
            f"{count} runs of {sizes} sizes and {budgets} numbers of tokens do not determine a law "
            "of five constants",
            hint=f"at least 6 runs, {_LEAST_SIZES} sizes and {_LEAST_SIZES} numbers of tokens: add "
            "--widths or --tokens-per-parameter",
        )


def _starts(logs_P: Floats) -> Floats:
    """Floors, exponents and shares of the rest that go to size and tokens: [S, 5]."""
    smallest, middle = np.exp(logs_P.min()), np.exp(np.median(logs_P))
    rows = []
    for share, alpha, beta, split in product(_SHARES_OF_FLOOR, _EXPONENTS, _EXPONENTS, _SPLITS):
        floor = share * smallest
        rest = max(middle - floor, 1e-3 * middle)
        rows.append(
            [
                np.log(split * rest),
                np.log(alpha),
                np.log((1 - split) * rest),
                np.log(beta),
                np.log(floor),
            ]
        )
    return np.array(rows)


def _predicted(theta_S5: Floats, n_P: Floats, d_P: Floats) -> tuple[Floats, Floats]:
    """Logarithm of the law, [S, P], and its derivatives, [S, P, 5].

    Of (a, ln alpha, b, ln beta, e): exponents stay positive.
    """
    a, alpha, b, beta, e = (theta_S5[:, i, None] for i in range(5))
    alpha, beta = np.exp(alpha), np.exp(beta)
    terms = np.stack([a - alpha * n_P, b - beta * d_P, e + 0 * n_P])
    largest = terms.max(axis=0)
    shares = np.exp(terms - largest)
    total = shares.sum(axis=0)
    shares /= total
    derivatives = [
        shares[0],
        -shares[0] * alpha * n_P,
        shares[1],
        -shares[1] * beta * d_P,
        shares[2],
    ]
    return largest + np.log(total), np.stack(derivatives, axis=-1)


def _huber(residuals: Floats, weights: Floats) -> Floats:
    size = np.abs(residuals)
    loss = np.where(size <= HUBER_DELTA, size**2 / 2, HUBER_DELTA * (size - HUBER_DELTA / 2))
    return np.asarray((weights * loss).sum(axis=-1))


def _minimise(
    theta_S5: Floats, n_P: Floats, d_P: Floats, logs_P: Floats, weights: Floats
) -> tuple[Floats, Floats]:
    """The nearest minimum of each start, and the objective there.

    Args:
        theta_S5: starts.
        n_P: centred ln N.
        d_P: centred ln D.
        logs_P: ln L.
        weights: how often each point counts, [1 or S, P].
    """
    theta = theta_S5.copy()
    damping = np.full(len(theta), 1e-2)
    predicted, slopes = _predicted(theta, n_P, d_P)
    objective = _huber(predicted - logs_P, weights)
    for _ in range(_ITERATIONS):
        residuals = predicted - logs_P
        pull = weights * np.minimum(1.0, HUBER_DELTA / np.maximum(np.abs(residuals), 1e-300))
        gradient = np.einsum("spi,sp->si", slopes, pull * residuals)
        curvature = np.einsum("spi,sp,spj->sij", slopes, pull, slopes)
        diagonal = np.einsum("sii->si", curvature)
        damped = curvature + (damping[:, None] * diagonal + 1e-12)[:, :, None] * np.eye(5)
        step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
        moved = theta - np.clip(step, -1.0, 1.0)
        for place in (1, 3):
            moved[:, place] = np.clip(
                moved[:, place], np.log(_SMALLEST_EXPONENT), np.log(_LARGEST_EXPONENT)
            )
        now, their_slopes = _predicted(moved, n_P, d_P)
        value = _huber(now - logs_P, weights)
        is_better = value < objective
        if not is_better.any() and damping.min() > 1e8:
            break
        theta[is_better], objective[is_better] = moved[is_better], value[is_better]
        predicted[is_better], slopes[is_better] = now[is_better], their_slopes[is_better]
        damping = np.where(is_better, np.maximum(damping / 3, 1e-9), np.minimum(damping * 4, 1e9))
    return theta, objective


def _apart(found: Floats, order: npt.NDArray[Any]) -> list[int]:
    """The best minimum and up to two others that are not the same one."""
    chosen = [int(order[0])]
    for place in order[1:]:
        if len(chosen) == 3:
            break
        if all(np.abs(found[place] - found[other]).max() > 0.05 for other in chosen):
            chosen.append(int(place))
    return chosen


def _minimise_samples(
    starts: Floats,
    n_P: Floats,
    d_P: Floats,
    logs_P: Floats,
    samples: int,
    random: np.random.Generator,
) -> Floats:
    """Constants of bootstrapped ladders: runs drawn with replacement, 3 sizes and 3 numbers of
    tokens among them at least; each starts from the minima of the whole.
    """
    weights: list[Floats] = []
    count = len(n_P)
    while len(weights) < samples:
        drawn = random.integers(0, count, count)
        if min(len({*n_P[drawn]}), len({*d_P[drawn]})) >= _LEAST_SIZES and len({*drawn}) > 5:
            weights.append(np.bincount(drawn, minlength=count).astype(np.float64))
        elif count <= 7:  # hardly a draw would do: leave one out instead
            weights.append(np.where(np.arange(count) == len(weights) % count, 0.0, 1.0))
    found, objectives = _minimise(
        np.tile(starts, (samples, 1)), n_P, d_P, logs_P, np.repeat(weights, len(starts), axis=0)
    )
    best = objectives.reshape(samples, len(starts)).argmin(axis=1)
    chosen: Floats = found.reshape(samples, len(starts), 5)[np.arange(samples), best]
    return chosen


def _plain(theta_S5: Floats, logs: Floats) -> Floats:
    """E, A, alpha, B, beta from the minimiser's own constants."""
    a, alpha, b, beta, e = (theta_S5[:, i] for i in range(5))
    alpha, beta = np.exp(alpha), np.exp(beta)
    columns = [
        np.exp(e),
        np.exp(a + alpha * logs[0].mean()),
        alpha,
        np.exp(b + beta * logs[1].mean()),
        beta,
    ]
    return np.stack(columns, axis=1)


def _without_effect(constants: Floats, points: Floats) -> list[str]:
    """Size or tokens, where the fitted law has next to nothing of them in any run."""
    _, a, alpha, b, beta = constants
    size, tokens, loss = points
    return [
        f"what more {name} would bring: in these runs the law sees nothing of it"
        for name, term in (("parameters", a * size**-alpha), ("tokens", b * tokens**-beta))
        if (term / loss).max() < _LEAST_EFFECT
    ]


def _unknown(samples: Floats) -> list[str]:
    """Of E and the exponents those whose interval is wide; A and B follow from them."""
    said = []
    for place, name in ((0, "E"), (2, "alpha"), (4, "beta")):
        low, high = np.quantile(samples[:, place], [0.1, 0.9])
        if high > _SPREAD_OF_UNKNOWN * low:
            said.append(f"{name}, {low:.3g} to {high:.3g}")
    return said
