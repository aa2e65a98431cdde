"""Time and memory of every stage, compared with the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.flow.manifest import Manifest


@dataclass(frozen=True)
class CostRow:
    """One stage: actual and, if it was planned, predicted."""

    stage: str
    seconds: float
    share: float
    memory_bytes: int
    predicted_seconds: float | None
    predicted_memory_bytes: int | None

    @property
    def seconds_off(self) -> str | None:
        """How far the prediction was from the actual time, signed."""
        return _off(self.predicted_seconds, self.seconds)

    @property
    def memory_off(self) -> str | None:
        return _off(self.predicted_memory_bytes, self.memory_bytes)


@dataclass(frozen=True)
class Cost:
    """All finished stages; `seconds` is their sum."""

    rows: Sequence[CostRow]
    seconds: float
    has_plan: bool


def build_cost(manifests: Mapping[str, Manifest], plan: Mapping[str, Any] | None) -> Cost:
    """Manifests and `plan.json` side by side."""
    predicted = _predictions(plan or {})
    longest = max((manifest.seconds for manifest in manifests.values()), default=0.0) or 1.0
    rows = []
    for stage, manifest in manifests.items():
        seconds, memory = predicted.get(stage, (None, None))
        rows.append(
            CostRow(
                stage=stage,
                seconds=manifest.seconds,
                share=manifest.seconds / longest,
                memory_bytes=manifest.peak_memory_bytes,
                predicted_seconds=seconds,
                predicted_memory_bytes=memory,
            )
        )
    return Cost(rows, sum(row.seconds for row in rows), plan is not None)


def _predictions(plan: Mapping[str, Any]) -> dict[str, tuple[float | None, int | None]]:
    """Stage -> predicted seconds and bytes; an extension in several runs has the sum of their
    seconds and the most of their bytes.
    """
    found: dict[str, tuple[float | None, int | None]] = {}
    for name, stage in plan.get("stages", {}).items():
        seconds, memory = stage.get("predicted_seconds"), stage.get("predicted_memory_bytes")
        whole = name.partition(".")[0]
        if whole in found:
            before, most = found[whole]
            seconds = None if seconds is None or before is None else seconds + before
            memory = None if memory is None or most is None else max(memory, most)
        found[whole] = seconds, memory
    return found


def _off(predicted: float | None, actual: float) -> str | None:
    if not predicted or not actual:
        return None
    return f"{100 * (predicted - actual) / actual:+.0f} %"
