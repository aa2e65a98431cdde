"""What the report says of forecasts: sealed, settled, left, or changed."""

import sys
from dataclasses import replace
from pathlib import Path

from tongwen.files import read_json, write_json
from tongwen.report.build import build_report
from tongwen.report.forecast import build_forecast
from tongwen.report.run_files import RunFiles
from tongwen.train.forecast import (
    FORECAST,
    Band,
    Forecast,
    ForecastWatch,
    Milestone,
    write_forecasts,
)
from tongwen.train.metrics import MetricsLog

sys.path.insert(0, str(Path(__file__).parent))

from made_run import make_run

FORECASTED = Forecast(
    stage="pretrain",
    steps=100,
    milestones=(Milestone(1_000, "en", Band(2.0, 1.9, 2.1)), Milestone(2_000, "zh", Band(2, 1, 3))),
    seconds=Band(200.0, 150.0, 250.0),
    memory_bytes=Band(2**30, 0.9 * 2**30, 1.1 * 2**30),
    basis=("our ladder",),
)


def watched(run: Path) -> ForecastWatch:
    folder = run / "stages" / "pretrain"
    (folder / "metrics.jsonl").unlink()
    write_forecasts(folder / FORECAST, [FORECASTED])
    metrics = MetricsLog(folder / "metrics.jsonl", 0)
    watch = ForecastWatch.begin(None, "pretrain", folder, metrics, 0, lambda line: None)
    metrics.append(kind="train", step=1, tokens=1_000, loss=3.0, tokens_per_second=9.0)
    watch.validated(1, 1_000, "en", 2.3)
    return watch


def test_a_settled_forecast_stands_in_the_report_with_outcome_and_residual(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    watched(run).settle(seconds=205.0, memory_bytes=2**30)
    found = build_forecast(RunFiles.open(run), "pretrain")
    assert found is not None
    assert found.is_settled
    assert [row.verdict for row in found.rows] == ["bad", "", "good", "good"]
    assert [row.residual for row in found.rows] == ["+15.0%", "", "+2.5%", "+0.0%"]
    page = build_report(run).read_text()
    for text in (FORECASTED.digest[:12], "+15.0%", "our ladder", "bits_per_byte_en", "预测与结果"):
        assert text in page, text


def test_a_run_that_has_not_ended_is_not_settled(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    watched(run)
    found = build_forecast(RunFiles.open(run), "pretrain")
    assert found is not None
    assert not found.is_settled
    assert {row.verdict for row in found.rows} == {""}
    assert [row["what"] for row in found.warnings] == ["bits_per_byte_en"]
    assert "the run has not ended" in build_report(run).read_text()


def test_a_settlement_of_another_forecast_settles_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    watched(run).settle(seconds=205.0, memory_bytes=2**30)
    folder = run / "stages" / "pretrain"
    write_forecasts(folder / FORECAST, [replace(FORECASTED, steps=99)])
    found = build_forecast(RunFiles.open(run), "pretrain")
    assert found is not None
    assert not found.is_settled


def test_a_forecast_that_was_changed_is_reported_and_not_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    watched(run)
    path = run / "stages" / "pretrain" / FORECAST
    values = read_json(path)
    values["stages"]["pretrain"]["seconds"]["high"] = 1e9
    write_json(path, values)
    files = RunFiles.open(run)
    assert build_forecast(files, "pretrain") is None
    assert "changed after it was sealed" in files.problems[0]
    assert "changed after it was sealed" in build_report(run).read_text()
