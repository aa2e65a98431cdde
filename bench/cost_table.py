"""Figures of the efficiency ledger, from whatever rows are there.

The rule of evidence is that of modded-nanogpt's track 3: all seeds stop at the same point, and an
effect counts beyond 3.09 standard errors (one chance in a thousand, one-sided). The deviation of a
run is pooled over all groups of a size, so that three seeds do not have to tell their own.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Row = Mapping[str, Any]
Cost = Literal["tokens", "flops", "cpu_seconds"]
Floats = npt.NDArray[np.float64]

COSTS: tuple[Cost, ...] = ("tokens", "flops", "cpu_seconds")
MEASURES = ("en", "zh", "mean")
"""Languages, and the mean of both."""
LEAST_ERRORS = 3.09
BASELINE, RECIPE = "baseline", "recipe"
_DRAWS = 2_000
_SEED = 1862


def bits(row: Row, measure: str) -> float:
    """Bits per byte of held-out text."""
    found = row["bits_per_byte"]
    return float(sum(found.values()) / len(found) if measure == "mean" else found[measure])


def spent(rows: Sequence[Row], cost: Cost) -> float:
    """What a run of these costs. Of CPU seconds the least: what else the machine does only adds."""
    if cost == "cpu_seconds":
        least = min(row[cost] / row["tokens"] for row in rows)
        return float(least * np.mean([row["tokens"] for row in rows]))
    return float(np.mean([row[cost] for row in rows]))


@dataclass(frozen=True)
class Worth:
    """How much more the baseline costs for the same loss.

    Attributes:
        ratio: baseline's cost over this one's.
        low, high: 95 % interval of the bootstrap; None with a single seed.
        is_extrapolated: the loss is outside what was measured of the curve it is held against.
    """

    ratio: float
    low: float | None
    high: float | None
    is_extrapolated: bool


@dataclass(frozen=True)
class Effect:
    """A group against another one at the same number of tokens.

    Attributes:
        difference: in bits per byte, below 0 where the first is better.
        standard_error: of the difference; None with a single seed everywhere.
        seeds: of the group.
    """

    difference: float
    standard_error: float | None
    seeds: int

    @property
    def counts(self) -> bool:
        """Whether it is beyond `LEAST_ERRORS` standard errors."""
        error = self.standard_error
        return error is not None and abs(self.difference) >= LEAST_ERRORS * error


class SizeTable:
    """All runs of one size.

    Args:
        rows: of that size.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        groups: dict[tuple[str, str, float], list[Row]] = defaultdict(list)
        for row in rows:
            groups[row["part"], row["variant"], row["share"]].append(row)
        self._groups = {key: _newest(found) for key, found in groups.items()}

    def group(self, part: str, variant: str, share: float = 1.0) -> Sequence[Row]:
        """The seeds of one variant."""
        return self._groups.get((part, variant, share), [])

    def variants(self, part: str) -> list[str]:
        return sorted({variant for found, variant, _ in self._groups if found == part})

    def shares(self, variant: str) -> list[float]:
        """Budgets at which the baseline or the recipe was measured, ascending."""
        return sorted(share for part, name, share in self._groups
                      if part == "budget" and name == variant)  # fmt: skip

    @cached_property
    def sweep(self) -> list[Row]:
        return [row for row in self.rows if row["part"] == "sweep"]

    def residuals(self, measure: str) -> Floats:
        """Of every run around the mean of its group, scaled to be those of the population."""
        found: list[float] = []
        for (part, _, _), rows in self._groups.items():
            if part == "sweep" or len(rows) < 2:
                continue
            values = np.array([bits(row, measure) for row in rows])
            scale = math.sqrt(len(values) / (len(values) - 1))
            found += ((values - values.mean()) * scale).tolist()
        return np.array(found)

    def deviation(self, measure: str) -> float | None:
        """Pooled standard deviation of a run."""
        residuals = self.residuals(measure)
        return float(np.sqrt(np.mean(residuals**2))) if len(residuals) else None

    def mean(self, rows: Sequence[Row], measure: str) -> float:
        return float(np.mean([bits(row, measure) for row in rows]))

    def effect(self, rows: Sequence[Row], against: Sequence[Row], measure: str) -> Effect:
        """Of one group against another."""
        deviation = self.deviation(measure)
        error = None
        if deviation is not None:
            error = deviation * math.sqrt(1 / len(rows) + 1 / len(against))
        difference = self.mean(rows, measure) - self.mean(against, measure)
        return Effect(difference, error, len(rows))

    def worth(self, measure: str, cost: Cost, share: float = 1.0) -> Worth | None:
        """Baseline's cost over the recipe's at the baseline's loss on that share of its tokens."""
        base = self.group("budget", BASELINE, share)
        curve = [self.group("budget", RECIPE, share) for share in self.shares(RECIPE)]
        curve = [rows for rows in curve if len(rows) == len(curve[-1])]
        if not base or len(curve) < 2:
            return None
        return self._ratio(curve, base, measure, cost)

    def worth_of(self, rows: Sequence[Row], variant: str, measure: str, cost: Cost) -> Worth | None:
        """Cost that the baseline or the recipe needs for the loss of these runs, over theirs."""
        curve = [self.group("budget", variant, share) for share in self.shares(variant)]
        if not rows or len(curve) < 2:
            return None
        found = self._ratio(curve, rows, measure, cost)
        inverse = [None if end is None else 1 / end for end in (found.high, found.low)]
        return Worth(1 / found.ratio, inverse[0], inverse[1], found.is_extrapolated)

    def _ratio(
        self, curve: Sequence[Sequence[Row]], rows: Sequence[Row], measure: str, cost: Cost
    ) -> Worth:
        """Cost of `rows` over the cost at which the curve has their loss."""
        logs = np.log([spent(found, cost) for found in curve])
        losses = np.array([self.mean(found, measure) for found in curve])
        target = self.mean(rows, measure)
        own_cost = math.log(spent(rows, cost))
        ratio = math.exp(own_cost - _log_cost(logs, losses, target))
        is_outside = not losses.min() <= target <= losses.max()
        residuals = self.residuals(measure)
        if not len(residuals):
            return Worth(ratio, None, None, is_outside)
        # Budgets of a seed are ends of one trunk, so their errors are taken to be the same.
        rng = np.random.default_rng(_SEED)
        seeds = min(len(found) for found in curve)
        own = rng.choice(residuals, (_DRAWS, len(rows))).mean(axis=1)
        other = rng.choice(residuals, (_DRAWS, seeds)).mean(axis=1)
        drawn = [
            math.exp(own_cost - _log_cost(logs, losses + other[n], target + own[n]))
            for n in range(_DRAWS)
        ]
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        return Worth(ratio, low, high, is_outside)


def _log_cost(logs: Floats, losses: Floats, target: float) -> float:
    """Where straight pieces between the budgets have the loss; beyond them the last goes on."""
    order = np.argsort(logs)
    logs, losses = logs[order], np.minimum.accumulate(losses[order])
    piece = int(np.clip(np.searchsorted(-losses, -target), 1, len(losses) - 1))
    slope = (losses[piece] - losses[piece - 1]) / (logs[piece] - logs[piece - 1])
    if slope == 0:
        return float(logs[piece])
    return float(logs[piece] + (target - losses[piece]) / slope)


def _newest(rows: Sequence[Row]) -> list[Row]:
    """One row a seed: of a seed that was run again with another setting the last one."""
    return list({row["seed"]: row for row in rows}.values())


def tables(rows: Iterable[Row]) -> dict[str, SizeTable]:
    """By size, the smallest first."""
    by_size: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["parameters"] if row["part"] == "sweep" else 0):
        by_size[row["size"]].append(row)
    ordered = sorted(by_size, key=lambda name: min(row["parameters"] for row in by_size[name]))
    return {name: SizeTable(by_size[name]) for name in ordered}
