"""One rule: a threshold over one value."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Rule(NamedTuple):
    """A threshold: documents whose `value` lies below a minimum or above a maximum fail it."""

    value: str
    is_minimum: bool
    threshold: float

    @property
    def name(self) -> str:
        return f"{'minimum' if self.is_minimum else 'maximum'}_{self.value}"

    def fails(self, value: float | None) -> bool:
        """Whether a measured value is outside. What was not measured passes."""
        if value is None or np.isnan(value):
            return False
        return value < self.threshold if self.is_minimum else value > self.threshold

    def is_outside(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """The same for many; NaN, what was not measured, passes."""
        found = values < self.threshold if self.is_minimum else values > self.threshold
        return np.asarray(found)


def rules_of(thresholds: Mapping[str, float | None]) -> Iterator[Rule]:
    """The rules that `minimum_X` and `maximum_X` settings name, those turned off left out."""
    for name, threshold in thresholds.items():
        side, _, value = name.partition("_")
        if threshold is not None:
            yield Rule(value, side == "minimum", float(threshold))
