"""Curves of pretrain, extend and tune, of one run or of several over one another."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from markupsafe import Markup

from tongwen.report.charts import Series, line_chart
from tongwen.report.words import both, words

Rows = Sequence[Mapping[str, Any]]

_TABLE_ROWS = 12  # fits a screen; the chart has all points
_EVENTS = ("damaged_checkpoint", "rollback", "forecast", "sample")
_BITS = ("valid_en_bits_per_byte", "valid_zh_bits_per_byte")
_COLUMNS = (
    "step",
    "tokens",
    "loss",
    *_BITS,
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "mfu_causal",
)
_CHARTS = {  # name of the measure -> whether its values are noisy, and what one unit of it is
    "loss": (True, 1.0),
    "learning_rate": (False, 1.0),
    "gradient_norm": (True, 1.0),
    "tokens_per_second": (True, 1.0),
    "peak_memory_bytes": (False, 2.0**30),
}
_NAMES = {
    "en": ("English", "英文", "english"),
    "zh": ("Chinese", "中文", "chinese"),
    "answers": ("answers", "回答", "ink"),
}
RUN_COLORS = ("run-1", "run-2", "run-3", "run-4", "run-5", "run-6")


@dataclass(frozen=True)
class Chart:
    """A drawn chart; `key` names its caption."""

    key: str
    drawing: Markup


@dataclass(frozen=True)
class Sample:
    """A text that the model continued during training: `prompt` is the user's, `text` its own."""

    step: int
    tokens: float
    prompt: str
    text: str


@dataclass(frozen=True)
class Course:
    """The end of one of several runs: the last value of every measure."""

    name: str
    color: str
    last: Mapping[str, float]


@dataclass(frozen=True)
class Phase:
    """One training stage.

    Attributes:
        last: the last value of every measure.
        tokens_per_second: the median of the steps.
        not_finite: rows whose loss was not a number.
        damaged: checkpoints that a resumed run passed over.
        rollbacks: how often the run went back past a spike.
        charts: of every measure that has two values.
        rows: about a dozen rows for the table, the first and the last among them.
        samples: what the model wrote on the way, the newest first.
        courses: this run and those it is compared with; empty for one alone.
    """

    stage: str
    last: Mapping[str, float]
    tokens_per_second: float | None
    steps: int
    not_finite: int
    damaged: int
    rollbacks: int
    charts: Sequence[Chart]
    columns: Sequence[str]
    rows: Rows
    samples: Sequence[Sample]
    courses: Sequence[Course] = ()


def build_phase(
    stage: str, rows: Rows, *, name: str = "", others: Mapping[str, Rows] | None = None
) -> Phase:
    """Curves and figures of one stage's `metrics.jsonl`; of a step that was run twice after a
    kill, the later row counts.

    Args:
        stage: its name.
        rows: of its metrics.
        name: of the run.
        others: name of another run -> rows of its same stage, drawn over this one's.
    """
    kinds = Counter(row.get("kind") for row in rows)
    merged = _by_step(rows)
    last = _last(merged)
    rates = [row["tokens_per_second"] for row in merged if row.get("tokens_per_second")]
    compared = {name: merged}
    compared |= {other: _by_step(found) for other, found in (others or {}).items() if found}
    courses = [
        Course(run, color, _last(found))
        for (run, found), color in zip(compared.items(), RUN_COLORS, strict=False)
    ]
    return Phase(
        stage=stage,
        last=last,
        tokens_per_second=median(rates) if rates else None,
        steps=len(merged),
        not_finite=sum("loss" in row and not _is_finite(row["loss"]) for row in merged),
        damaged=kinds["damaged_checkpoint"],
        rollbacks=kinds["rollback"],
        charts=_charts(compared),
        columns=[name for name in _COLUMNS if name in last],
        rows=_some(merged),
        samples=_samples(rows),
        courses=courses if len(courses) > 1 else (),
    )


def _charts(compared: Mapping[str, Rows]) -> list[Chart]:
    """Loss and validation first: they show whether the run is healthy."""
    validation = (
        [_validation(next(iter(compared.values())))]
        if len(compared) == 1
        else [_compared(compared, f"valid_{language}_bits_per_byte") for language in _NAMES]
    )
    loss, *rest = (_compared(compared, name) for name in _CHARTS)
    return [chart for chart in (loss, *validation, *rest) if chart.drawing]


def _validation(rows: Rows) -> Chart:
    """Both languages of one run."""
    series = [
        Series(both(english, chinese), color, _points(rows, f"valid_{language}_bits_per_byte"))
        for language, (english, chinese, color) in _NAMES.items()
    ]
    return Chart(
        "chart_validation",
        line_chart(series, title=words("chart_validation"), x_label=words("axis_tokens")),
    )


def _compared(compared: Mapping[str, Rows], name: str) -> Chart:
    """One measure of every run; several are numbered as in the legend."""
    is_noisy, unit = _CHARTS.get(name, (False, 1.0))
    is_alone = len(compared) == 1
    series = [
        Series(
            words(f"series_{name}") if is_alone else both(str(number), str(number)),
            "ink" if is_alone else color,
            _points(rows, name, unit),
            is_noisy=is_noisy,
        )
        for number, (rows, color) in enumerate(
            zip(compared.values(), RUN_COLORS, strict=False), start=1
        )
    ]
    key = f"chart_{name}"
    drawing = line_chart(
        series,
        title=words(key),
        x_label=words("axis_tokens"),
        from_zero=name in ("tokens_per_second", "peak_memory_bytes"),
    )
    return Chart(key, drawing)


def _samples(rows: Rows) -> list[Sample]:
    found = [
        Sample(row["step"], row["tokens"], str(row["prompt"]), str(row["text"]))
        for row in rows
        if row.get("kind") == "sample"
    ]
    return sorted(found, key=lambda sample: -sample.step)


def _by_step(rows: Rows) -> list[dict[str, Any]]:
    """One row per step: the training measures and the validation of each language."""
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        kind = row.get("kind")
        if kind in _EVENTS or kind == "plain_text" or "preference_accuracy" in row:
            continue
        if kind == "validation":
            row = {
                "step": row["step"],
                "tokens": row["tokens"],
                f"valid_{row['language']}_bits_per_byte": row["bits_per_byte"],
            }
        by_step.setdefault(row["step"], {}).update(row)
    return [by_step[step] for step in sorted(by_step)]


def _last(rows: Rows) -> dict[str, float]:
    return {
        name: row[name]
        for row in rows
        for name in _COLUMNS
        if isinstance(row.get(name), int | float)
    }


def _points(rows: Rows, name: str, unit: float = 1.0) -> list[tuple[float, float]]:
    return [
        (float(row["tokens"]), float(row[name]) / unit)
        for row in rows
        if _is_finite(row.get(name)) and _is_finite(row.get("tokens"))
    ]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _some(rows: Rows) -> Rows:
    """Rows at even distances; those with a validation first, they say more."""
    chosen = [row for row in rows if any(name in row for name in _BITS)] or list(rows)
    if not chosen:
        return []
    places = {round(n * (len(chosen) - 1) / (_TABLE_ROWS - 1)) for n in range(_TABLE_ROWS)}
    return [chosen[place] for place in sorted(places)]
