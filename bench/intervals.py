"""Simulated models of known skill: how often intervals hold it, and how often equals differ.

    python bench/intervals.py [--draws 5000]

Items of five kinds: independent, rarely answered differently, five questions to a passage, graded
from 0 to 1, and programs with pass@1 of ten samples. Each draw has two models of skill 0.6 (0.5 for
the second kind). Printed: the share of draws whose 95 % interval holds the skill, that of paired
intervals which hold 0, and that of paired tests with p below 0.05.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tongwen.evaluate.statistics import estimate, paired_difference

Scores = NDArray[np.float64]
Draw = Callable[[Generator], tuple[Scores, Scores, list[str]]]


def right_or_wrong(rng: Generator, items: int, skill: float, redrawn: float) -> list[Scores]:
    """Two models whose answers are independent on a share of the items, equal on the others."""
    first = rng.random(items) < skill
    second = np.where(rng.random(items) < redrawn, rng.random(items) < skill, first)
    return [first.astype(float), second.astype(float)]


def independent(rng: Generator) -> tuple[Scores, Scores, list[str]]:
    """300 items; one in five is answered differently."""
    first, second = right_or_wrong(rng, 300, 0.6, 0.4)
    return first, second, [str(number) for number in range(300)]


def rare(rng: Generator) -> tuple[Scores, Scores, list[str]]:
    """1,000 items; one in twenty-five is answered differently."""
    first, second = right_or_wrong(rng, 1000, 0.5, 0.08)
    return first, second, [str(number) for number in range(1000)]


def clustered(rng: Generator) -> tuple[Scores, Scores, list[str]]:
    """80 passages with five questions each, which share their fate three times out of four."""
    draws = []
    for _ in range(2):
        fate = np.repeat(rng.random(80) < 0.6, 5)
        draws.append(np.where(rng.random(400) < 0.75, fate, rng.random(400) < 0.6).astype(float))
    return draws[0], draws[1], [str(number // 5) for number in range(400)]


def graded(rng: Generator) -> tuple[Scores, Scores, list[str]]:
    """200 items with an F1 between 0 and 1, of mean 0.6."""
    skill = rng.beta(3, 2, 200)
    first, second = (np.where(rng.random(200) < 0.5, skill, rng.beta(3, 2, 200)) for _ in range(2))
    return first, second, [str(number) for number in range(200)]


def programs(rng: Generator) -> tuple[Scores, Scores, list[str]]:
    """164 problems, pass@1 of ten samples each; the mean chance is 0.6."""
    chance = rng.beta(1.2, 0.8, 164)
    first, second = (rng.binomial(10, chance) / 10 for _ in range(2))
    return first, second, [str(number) for number in range(164)]


KINDS: tuple[tuple[Draw, float], ...] = (
    (independent, 0.6), (rare, 0.5), (clustered, 0.6), (graded, 0.6), (programs, 0.6),
)  # fmt: skip


def main() -> None:
    """Print one line a kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=5000)
    options = parser.parse_args()
    print(f"{options.draws:,} draws  interval holds skill  paired interval holds 0  p < 0.05")
    for draw, skill in KINDS:
        rng = np.random.default_rng(99)
        holds = paired = false = 0
        for _ in range(options.draws):
            first, second, clusters = draw(rng)
            interval = estimate(first.tolist(), clusters).interval
            difference = paired_difference(first.tolist(), second.tolist(), clusters)
            holds += interval is not None and interval[0] <= skill <= interval[1]
            assert difference.interval is not None
            assert difference.p_value is not None
            paired += difference.interval[0] <= 0 <= difference.interval[1]
            false += difference.p_value < 0.05
        shares = [100 * count / options.draws for count in (holds, paired, false)]
        print(
            f"{draw.__name__:12}  " + "  ".join(f"{share:19.1f} %" for share in shares), flush=True
        )


if __name__ == "__main__":
    main()
