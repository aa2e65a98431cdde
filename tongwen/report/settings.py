"""Settings of the report stage."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the report shows."""

    dropped_examples_per_reason: int = 3
