"""What a larger crawl of the same kind would yield and cost, projected from this one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongwen.report.funnel import Funnel

_TERABYTE = 1e12
_LEAST_PAGES = 1_000
"""Fewer pages say too little about a terabyte."""


@dataclass(frozen=True)
class Yield:
    """One terabyte (10^12 bytes) of the crawl, in file sizes on disk.

    Attributes:
        tokens: kept; None without an encode stage.
        characters: kept.
        worker_hours: hours of one worker process.
        crawl_bytes: what the projection rests on.
        slowest: step -> share of the time, the longest first.
    """

    tokens: float | None
    characters: float
    worker_hours: float
    crawl_bytes: int
    slowest: tuple[tuple[str, float], ...]


def build_yield(cost: Mapping[str, Any] | None, funnel: Funnel | None) -> Yield | None:
    """The projection; None where too little was read to project from."""
    if not cost or not funnel or funnel.read["all"].pages < _LEAST_PAGES:
        return None
    times = _TERABYTE / max(1, cost["crawl_bytes"])
    kept = funnel.kept["all"]
    steps = sorted(cost["steps"].items(), key=lambda step: -float(step[1]["seconds"]))
    return Yield(
        tokens=None if kept.tokens is None else kept.tokens * times,
        characters=kept.characters * times,
        worker_hours=cost["worker_seconds"] * times / 3600,
        crawl_bytes=cost["crawl_bytes"],
        slowest=tuple(
            (name, step["seconds"] / max(1e-9, cost["worker_seconds"])) for name, step in steps[:4]
        ),
    )
