"""Where the wall-clock of a run went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = ("data", "steps", "validation", "checkpoints", "skipped", "repeated")


class Ledger:
    """Seconds by part, over all resumptions.

    Goodput is the share of `steps`: optimizer steps that moved the model. `repeated` is what a
    kill or a rollback made the run do again, `skipped` steps that were left out. Loading and
    everything else is the remainder.

    Args:
        seconds: what earlier processes have spent, from the checkpoint.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = {part: seconds.get(part, 0.0) for part in PARTS}

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Count the body's time as `part`."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - started

    def move(self, seconds: float, to: str) -> None:
        """Count time of steps as another part after all."""
        self.seconds["steps"] -= seconds
        self.seconds[to] += seconds

    def shares(self, wall_seconds: float) -> dict[str, float]:
        """Each part's share of the wall-clock, and `other` for the rest."""
        whole = max(wall_seconds, sum(self.seconds.values()), 1e-9)
        shares = {part: self.seconds[part] / whole for part in PARTS}
        return shares | {"other": max(0.0, 1 - sum(shares.values()))}
