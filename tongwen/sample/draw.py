"""Random draws with the same values on every machine and Python version."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of draws named by its keys; equal keys result in equal draws, whatever came before.

    Built on `random.Random.random` alone: it is the one method whose sequence Python promises to
    keep from version to version.
    """

    def __init__(self, *keys: str | int) -> None:
        self._random = random.Random("/".join(str(key) for key in keys)).random

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        return int(self._random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def pick(self, values: Sequence[T]) -> T:
        """One of `values`."""
        return values[self.below(len(values))]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """All of `values` in a new order (Fisher and Yates)."""
        result = list(values)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def sample(self, values: Sequence[T], count: int) -> list[T]:
        """`count` different places of `values`, or all of them where there are fewer."""
        return self.shuffled(values)[:count]
