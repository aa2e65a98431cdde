"""What was forecast of a training stage before its first step, and the outcome."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tongwen.errors import InputError
from tongwen.report.run_files import RunFiles
from tongwen.report.words import Bilingual, amount, both, duration, number, size, words
from tongwen.train.forecast import FORECAST, KIND, SETTLEMENT, Forecast, settled_rows


@dataclass(frozen=True)
class ForecastRow:
    """One forecast value and its outcome, as text.

    Attributes:
        verdict: `good` within the band, `bad` outside, nothing where nothing was measured.
    """

    name: Markup
    expected: Markup
    band: Markup
    outcome: Markup
    residual: str
    verdict: str


@dataclass(frozen=True)
class StageForecast:
    """The forecast of one stage.

    Attributes:
        stage: its name.
        digest: that it was sealed with.
        is_settled: whether the run has ended.
        basis: what it rests on.
        rows: values with outcomes, where there are some yet.
        warnings: when the run left a band.
    """

    stage: str
    digest: str
    is_settled: bool
    basis: Sequence[str]
    rows: Sequence[ForecastRow]
    warnings: Sequence[Mapping[str, Any]]


def build_forecast(run: RunFiles, stage: str) -> StageForecast | None:
    """From the files of a stage; None when nothing was forecast. A forecast that was changed after
    it was sealed is a problem of the run.
    """
    sealed = run.json(f"{stage}/{FORECAST}")
    if sealed is None:
        return None
    path = run.path(f"{stage}/{FORECAST}")
    try:
        # The last of several runs of an extension: it trains in the stage's own folder.
        runs = [name for name in sealed["stages"] if name.partition(".")[0] == stage]
        forecast = Forecast.unsealed(sealed["stages"][runs[-1] if runs else stage], path)
    except (InputError, KeyError, TypeError) as error:
        run.problems.append(f"stages/{stage}/{FORECAST}: {error}")
        return None
    settlement = run.json(f"{stage}/{SETTLEMENT}")
    is_settled = settlement is not None and settlement.get("digest") == forecast.digest
    rows = settlement["rows"] if is_settled and settlement else _unsettled(forecast)
    return StageForecast(
        stage=stage,
        digest=forecast.digest,
        is_settled=is_settled,
        basis=forecast.basis,
        rows=[_row(row) for row in rows],
        warnings=[
            row
            for row in run.rows(f"{stage}/metrics.jsonl")
            if row.get("kind") == KIND and row.get("event") == "left"
        ],
    )


def _unsettled(forecast: Forecast) -> list[dict[str, Any]]:
    """The rows of a run that has not ended: no outcome counts yet."""
    return list(settled_rows(forecast, {}, math.nan, math.nan))


def _row(row: Mapping[str, Any]) -> ForecastRow:
    outcome, within = row["outcome"], row["within"]

    def shown(value: float) -> Markup:
        return _shown(row["what"], value)

    return ForecastRow(
        name=_name(row),
        expected=shown(row["expected"]),
        band=words("forecast_band", low=shown(row["low"]), high=shown(row["high"])),
        outcome=Markup("–") if outcome is None else shown(outcome),
        residual="" if row["residual"] is None else f"{row['residual']:+.1%}",
        verdict="" if within is None else "good" if within else "bad",
    )


def _shown(what: str, value: float) -> Markup:
    if what == "seconds":
        return duration(value)
    if what == "memory_bytes":
        return Markup(size(value))
    return Markup(f"{value:.3f}" if what == "bits_per_byte" else number(value))


def _name(row: Mapping[str, Any]) -> Bilingual:
    if row["what"] != "bits_per_byte":
        return words(f"forecast_{row['what']}")
    languages = {"en": both("English", "英文"), "zh": both("Chinese", "中文")}
    language = languages.get(row["language"], both(row["language"], row["language"]))
    return words("forecast_bits_per_byte", language=language, tokens=amount(row["tokens"]))
