"""What a run is: all that decides its course. Another run's checkpoints are told apart by it."""

import json
from dataclasses import asdict
from typing import Any

from tongwen.model.config import ModelConfig
from tongwen.train.settings import TrainSettings

_WITHOUT_EFFECT = (
    "checkpoint_every_steps",
    "checkpoint_in_background",
    "keep_checkpoints",
    "keep_every_steps",
    "average_last",
    "evaluate_every_steps",
    "validation_tokens",
    "hang_minutes",
    "hours_between_failures",
    "changed_run",
    "sample_prompts",
    "sample_tokens",
    "trackers",
    # What decides rounding only: another machine may go on with the run.
    "device",
    "precision",
    "parallel",
    "micro_batch_tokens",
    "recompute",
    "compile",
    # Named by the digest of the weights in it.
    "base",
)


def run_identity(
    config: ModelConfig, first_weights: str, settings: TrainSettings, data_parts: dict[str, Any]
) -> dict[str, Any]:
    """Key -> JSON value: the model's shape, first weights, settings, the data and its order."""
    identity = {
        **{f"model.{key}": value for key, value in asdict(config).items() if key != "read_from"},
        "first_weights": first_weights,
        **{key: value for key, value in asdict(settings).items() if key not in _WITHOUT_EFFECT},
        **{f"data.{key}": value for key, value in data_parts.items()},
    }
    if identity["warmup_tokens"] is None:  # runs of older releases do not have it
        del identity["warmup_tokens"]
    else:
        del identity["warmup_share"]
    as_read_back: dict[str, Any] = json.loads(json.dumps(identity))
    return as_read_back


def changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The keys that differ, with both values, in a few words."""
    found = [
        f"{key} {before.get(key)!r} -> {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more
