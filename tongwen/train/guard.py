"""What a run does about a step that would harm it: leave it out, or go back.

A step is left out when its loss or gradient norm is not finite, or lies further above the recent
ones than so many standard deviations (as in OLMo 2, Walsh et al. 2025, arXiv:2501.00656, section
3.1). The window is part of the checkpoint, so a resumed run decides as an undisturbed one.
"""

import math
from collections.abc import Sequence
from statistics import fmean, pstdev

WINDOW_STEPS = 128
_LEAST_STEPS = 64
"""With fewer the spread is not known: early training falls fast."""
_LEAST_DEVIATION_SHARE = 0.01
"""A very even stretch must not make an ordinary step look like a spike."""


def is_spike(value: float, recent: Sequence[float], sigmas: float | None) -> bool:
    """Whether a value is not finite or far above the recent ones."""
    if not math.isfinite(value):
        return True
    if sigmas is None or len(recent) < _LEAST_STEPS:
        return False
    mean = fmean(recent)
    deviation = max(pstdev(recent, mean), _LEAST_DEVIATION_SHARE * abs(mean))
    return value > mean + sigmas * deviation


def remember(recent: list[float], value: float) -> None:
    """Add an accepted value; forget what is older than the window."""
    recent.append(value)
    del recent[:-WINDOW_STEPS]


def checkpoint_steps(save_seconds: float, step_seconds: float, failure_seconds: float) -> int:
    """Steps between checkpoints that lose the least time: to saving, and to work done again.

    Young 1974: sqrt(2 x time to save x mean time between failures).
    """
    interval = math.sqrt(2 * save_seconds * failure_seconds)
    return max(1, round(interval / max(1e-9, step_seconds)))
