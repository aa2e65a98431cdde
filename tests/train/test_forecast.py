"""Forecasts sealed before a run, compared while it goes on, and settled at its end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import InputError, UsageError
from tongwen.files import read_json, write_json
from tongwen.plan.ask import seal
from tongwen.plan.forecast import forecasts
from tongwen.plan.laws import CHINCHILLA, LossLaw
from tongwen.plan.plan import make_plan
from tongwen.road.alone import run_alone
from tongwen.road.recipe import load_recipe
from tongwen.road.stages import planned_run
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.forecast import (
    FORECAST,
    PLANNED_FORECASTS,
    SETTLEMENT,
    Band,
    Forecast,
    ForecastWatch,
    Milestone,
    read_forecast,
    write_forecasts,
)
from tongwen.train.metrics import MetricsLog, read_metrics

WIDE = Forecast(
    stage="pretrain",
    steps=12,
    milestones=(
        Milestone(3_072, "en", Band(5.0, 0.1, 20.0)),
        Milestone(6_144, "en", Band(4.0, 0.1, 20.0)),
        Milestone(6_144, "zh", Band(4.0, 0.1, 20.0)),
    ),
    seconds=Band(60.0, 0.0, 6_000.0),
    memory_bytes=Band(2e9, 0.0, 2e11),
    price=Band(1.0, 0.0, 100.0),
    basis=("guessed",),
)
NARROW = replace(
    WIDE,
    steps=24,
    milestones=(Milestone(3_072, "en", Band(0.15, 0.1, 0.2)),),
    seconds=Band(2e-3, 1e-3, 3e-3),
    memory_bytes=Band(2e3, 1e3, 3e3),
)


def pretrain(shards: Path, tokenizer: Path, out: Path, recipe: Path, tokens: int) -> None:
    run_alone(
        "pretrain",
        inputs={"shards": shards, "tokenizer": tokenizer},
        out=out,
        recipe=str(recipe),
        overrides=(f"pretrain.max_tokens={tokens}", "pretrain.evaluate_every_steps=6"),
    )


def left(out: Path) -> list[str]:
    """What the run says it left, in the order of the warnings."""
    rows = read_metrics(out / "metrics.jsonl")
    return [row["what"] for row in rows if row.get("event") == "left"]


def test_a_run_within_its_forecast_settles_it(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    out = tmp_path / "base"
    write_forecasts(out / PLANNED_FORECASTS, [WIDE])
    pretrain(shards_folder, small_tokenizer_folder, out, recipe_file, 6_144)
    rows = read_metrics(out / "metrics.jsonl")
    assert rows[0] == {"kind": "forecast", "step": 0, "event": "sealed", "digest": WIDE.digest}
    assert read_forecast(out / FORECAST, "pretrain") == WIDE
    settlement = read_json(out / SETTLEMENT)
    assert settlement["digest"] == WIDE.digest
    assert settlement["within"] == settlement["measured"] == 6
    measured = {
        (row["language"], row["tokens"]): row["bits_per_byte"]
        for row in rows
        if row["kind"] == "validation"
    }
    for row in settlement["rows"]:
        assert row["residual"] == pytest.approx(row["outcome"] / row["expected"] - 1)
        if row["what"] == "bits_per_byte":
            assert row["outcome"] == measured[row["language"], row["tokens"]]
    assert left(out) == []


def test_a_run_that_leaves_the_band_says_so_once_and_settles_outside(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "base"
    write_forecasts(out / FORECAST, [NARROW])
    pretrain(shards_folder, small_tokenizer_folder, out, recipe_file, 12_288)
    assert left(out) == ["memory_bytes", "bits_per_byte_en", "seconds"]
    said = capsys.readouterr().err
    assert said.count("outside the forecast") == 3
    assert "bits a byte in en after 3,072 tokens; forecast: 0.100 to 0.200" in said
    settlement = read_json(out / SETTLEMENT)
    assert [row["within"] for row in settlement["rows"]] == [False] * 4


def test_the_plan_stage_seals_what_training_then_settles(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    out = tmp_path / "run"
    laws = tmp_path / "laws.json"
    law = {**vars(CHINCHILLA), "smallest_flops": 1e9, "holds_on_the_way": True}
    del law["language"], law["samples"]
    laws.write_text(json.dumps({"law": {"en": law, "zh": law}}))
    overrides = (
        "pretrain.max_tokens=6_144", "pretrain.evaluate_every_steps=6", "extend=false",
        "tune=false", "plan.calibration_steps=1", f'plan.law="{laws}"', "plan.price_per_hour=3",
    )  # fmt: skip
    listed = tmp_path / "shards"
    pieces = Tokenizer.load(small_tokenizer_folder).vocabulary_size
    rows = [{"split": split, "tokens": 900} for split in ("train", "valid-en", "valid-zh")]
    write_json(listed / "shards.json", {"vocabulary_size": pieces, "shards": rows})
    for stage, folder, shards in (
        ("plan", out / "stages" / "plan", listed), ("pretrain", out, shards_folder),
    ):  # fmt: skip
        run_alone(
            stage,
            inputs={"shards": shards, "tokenizer": small_tokenizer_folder},
            out=folder,
            recipe=str(recipe_file),
            overrides=overrides,
        )
    settlement = read_json(out / SETTLEMENT)
    sealed = read_forecast(out / PLANNED_FORECASTS, "pretrain")
    assert sealed is not None
    assert settlement["digest"] == sealed.digest
    kinds = {(row["what"], row.get("language")) for row in settlement["rows"]}
    assert kinds == {
        ("bits_per_byte", "en"), ("bits_per_byte", "zh"), ("seconds", None),
        ("memory_bytes", None), ("price", None),
    }  # fmt: skip
    assert all(row["outcome"] is not None for row in settlement["rows"])
    # An untrained model of 500 pieces is nowhere near a law of 16B: it leaves the band.
    assert {"bits_per_byte_en", "bits_per_byte_zh"} <= set(left(out))


def test_a_run_without_a_forecast_settles_nothing(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    out = tmp_path / "base"
    pretrain(shards_folder, small_tokenizer_folder, out, recipe_file, 3_072)
    assert not (out / SETTLEMENT).exists()
    assert all(row["kind"] != "forecast" for row in read_metrics(out / "metrics.jsonl"))


def watch(out: Path, step: int, said: list[str], planned: Path | None = None) -> ForecastWatch:
    metrics = MetricsLog(out / "metrics.jsonl", step)
    return ForecastWatch.begin(planned, "pretrain", out, metrics, step, said.append)


def test_a_resumed_run_keeps_the_forecast_it_began_with_and_warns_once(tmp_path: Path) -> None:
    planned = tmp_path / "plan.json"
    said: list[str] = []
    write_forecasts(planned, [NARROW])
    first = watch(tmp_path, 0, said, planned)
    first.validated(6, 3_072, "en", 3.0)
    write_forecasts(planned, [WIDE])
    resumed = watch(tmp_path, 8, said, planned)
    assert resumed.forecast == NARROW
    resumed.validated(12, 6_144, "en", 2.9)
    assert sum("outside" in line for line in said) == 1
    # From before the warning on, it is made again.
    again = watch(tmp_path, 4, said, planned)
    again.validated(6, 3_072, "en", 3.0)
    assert sum("outside" in line for line in said) == 2


def test_what_is_written_after_the_first_step_is_no_forecast(tmp_path: Path) -> None:
    planned = tmp_path / "plan.json"
    write_forecasts(planned, [WIDE])
    assert watch(tmp_path, 5, [], planned).forecast is None
    MetricsLog(tmp_path / "metrics.jsonl", 0).append(kind="train", step=1)
    with pytest.raises(UsageError, match="the run has begun"):
        seal({}, "pretrain", tmp_path)


def test_a_forecast_that_was_changed_after_sealing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FORECAST
    write_forecasts(path, [WIDE])
    values = read_json(path)
    values["stages"]["pretrain"]["seconds"]["high"] = 1e9
    write_json(path, values)
    with pytest.raises(InputError, match="was changed after it was sealed"):
        read_forecast(path, "pretrain")
    for text in ("", "[]", '{"stages": {"pretrain": {}}}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"damaged|holds no forecast"):
            read_forecast(path, "pretrain")


def planned_forecasts(law: LossLaw, *overrides: str) -> dict[str, Forecast]:
    planned = planned_run(load_recipe("sample", ("plan.calibration_steps=0", *overrides)))
    plan: dict[str, Any] = make_plan(planned, None, Path())
    plan["stages"]["pretrain"] |= {"predicted_seconds": 100.0, "predicted_price": 2.0}
    found = forecasts(plan, planned, {law.language: law})
    return {forecast.stage: forecast for forecast in found}


def test_a_plan_forecasts_losses_where_a_law_knows_them_and_time_where_steps_were_timed() -> None:
    law = replace(CHINCHILLA, language="zh", smallest_flops=1e10, holds_on_the_way=True)
    found = planned_forecasts(law, "pretrain.decay=wsd", "pretrain.decay_share=0.25")
    pretrain = found["pretrain"]
    tokens = [milestone.tokens for milestone in pretrain.milestones]
    assert tokens == sorted(tokens)
    assert len(tokens) == 8  # tenths until the rate falls, and the end
    assert {milestone.language for milestone in pretrain.milestones} == {"zh"}
    assert pretrain.seconds == Band(100.0, 85.0, 130.0)
    assert pretrain.price == Band(2.0, pytest.approx(1.7), pytest.approx(2.6))
    assert found["tune"].milestones == ()
    assert found["tune"].seconds is None
    assert found["tune"].memory_bytes is not None
    # At the end only, and not at all where the published law was never fitted.
    at_end = replace(law, holds_on_the_way=False)
    assert len(planned_forecasts(at_end)["pretrain"].milestones) == 1
    assert planned_forecasts(CHINCHILLA)["pretrain"].milestones == ()


def test_a_sealed_file_names_its_digest(tmp_path: Path) -> None:
    write_forecasts(tmp_path / FORECAST, [WIDE, replace(WIDE, stage="tune")])
    values = json.loads((tmp_path / FORECAST).read_text())["stages"]
    assert values["pretrain"]["digest"] == WIDE.digest != values["tune"]["digest"]
