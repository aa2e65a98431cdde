"""Loss curves of pretrain, extend and tune."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from tongwen.report.charts import Series, line_chart
from tongwen.report.words import both, words

_TABLE_ROWS = 12
_EVENTS = ("damaged_checkpoint", "rollback", "forecast")
_COLUMNS = (
    "step",
    "tokens",
    "loss",
    "valid_en_bits_per_byte",
    "valid_zh_bits_per_byte",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "mfu_causal",
)


@dataclass(frozen=True)
class Phase:
    """One training stage.

    Attributes:
        last: the last value of every measure.
        tokens_per_second: the median of the steps.
        not_finite: rows whose loss was not a number.
        damaged: checkpoints that a resumed run passed over.
        rollbacks: how often the run went back past a spike.
        rows: about a dozen rows for the table, the first and the last among them.
    """

    stage: str
    last: Mapping[str, float]
    tokens_per_second: float | None
    steps: int
    not_finite: int
    damaged: int
    rollbacks: int
    loss_chart: Markup
    validation_chart: Markup
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def build_phase(stage: str, rows: Sequence[Mapping[str, Any]]) -> Phase:
    """Curves and figures of one stage's `metrics.jsonl`; of a step that was run twice after a
    kill, the later row counts.
    """
    kinds = Counter(row.get("kind") for row in rows)
    merged = _by_step([row for row in rows if row.get("kind") not in _EVENTS])
    last = {
        name: row[name]
        for row in merged
        for name in _COLUMNS
        if isinstance(row.get(name), int | float)
    }
    rates = [row["tokens_per_second"] for row in merged if row.get("tokens_per_second")]
    return Phase(
        stage=stage,
        last=last,
        tokens_per_second=median(rates) if rates else None,
        steps=len(merged),
        not_finite=sum("loss" in row and not _is_finite(row["loss"]) for row in merged),
        damaged=kinds["damaged_checkpoint"],
        rollbacks=kinds["rollback"],
        loss_chart=line_chart(
            [Series(words("series_loss"), "ink", _points(merged, "loss"), is_noisy=True)],
            title=words("chart_loss"),
            x_label=words("axis_tokens"),
        ),
        validation_chart=line_chart(
            [
                Series(both("English", "英文"), "english", _points(merged, _COLUMNS[3])),
                Series(both("Chinese", "中文"), "chinese", _points(merged, _COLUMNS[4])),
            ],
            title=words("chart_validation"),
            x_label=words("axis_tokens"),
        ),
        columns=[name for name in _COLUMNS if name in last],
        rows=_some(merged),
    )


def _by_step(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row a step, with the validation of each language beside the training measures."""
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row.get("kind") == "validation":
            row = {
                "step": row["step"],
                "tokens": row["tokens"],
                f"valid_{row['language']}_bits_per_byte": row["bits_per_byte"],
            }
        by_step.setdefault(row["step"], {}).update(row)
    return [by_step[step] for step in sorted(by_step)]


def _points(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [
        (float(row["tokens"]), float(row[name]))
        for row in rows
        if _is_finite(row.get(name)) and _is_finite(row.get("tokens"))
    ]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _some(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows at even distances; those with a validation first, they say more."""
    chosen = [row for row in rows if any(name in row for name in _COLUMNS[3:5])] or list(rows)
    if not chosen:
        return []
    places = {round(n * (len(chosen) - 1) / (_TABLE_ROWS - 1)) for n in range(_TABLE_ROWS)}
    return [chosen[place] for place in sorted(places)]
