"""Settings of the plan stage."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """What the machine offers and what it costs."""

    memory_gib: float | None = None
    """Memory the run may use; what this machine has free when absent."""
    calibration_steps: int = 3
    """Real optimizer steps that are timed to predict the run's time; 0 predicts nothing."""
    price_per_hour: float | None = None
    """Price of the machine for an hour, in any currency."""
