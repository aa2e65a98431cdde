"""The efficiency pages show what the ledger's rows say, and the ledger computes what it claims."""

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The module `tools/efficiency_page.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        patch.syspath_prepend(str(ROOT / "tools"))
        path = ROOT / "tools" / "efficiency_page.py"
        spec = importlib.util.spec_from_file_location("efficiency_page", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_figures_of_the_page_are_those_of_the_rows(tool: Any, language: str) -> None:
    page = (ROOT / "docs" / language / "efficiency.md").read_text("utf-8")
    assert tool.filled(page, language) == page, "run: python tools/efficiency_page.py"
    assert json.loads(tool.PACKAGED.read_text("utf-8")) == tool.packaged()


def rows_of(
    part: str, variant: str, share: float, *, saved: float = 1.0, shift: float = 0.0, seeds: int = 5
) -> list[dict[str, Any]]:
    """Runs whose loss is 5 - 0.2 ln(saved x cost), with seeds that deviate by known amounts."""
    flops = 1e12 * share
    loss = 5 - 0.2 * math.log(saved * share) + shift
    deviations = 0.01 * np.array([-1.0, 1.0, 0.5, -0.5, 0.0])[:seeds]
    return [
        {
            "size": "S", "part": part, "variant": variant, "share": share, "seed": seed,
            "rate": 1e-3, "batch_tokens": 1_024, "parameters": 300_000, "tokens": flops / 1e6,
            "flops": flops, "cpu_seconds": flops / 1e11,
            "bits_per_byte": {"en": loss + deviation, "zh": loss + deviation},
            "epochs": {"en": 0.1, "zh": 0.1},
        }
        for seed, deviation in enumerate(deviations.tolist(), start=1)
    ]  # fmt: skip


def test_a_recipe_that_needs_half_the_compute_is_worth_two_with_an_interval_around_it(
    tool: Any,
) -> None:
    rows = rows_of("budget", "baseline", 1.0)
    for share in (0.35, 0.5, 0.7, 1.0):
        rows += rows_of("budget", "recipe", share, saved=2.0)
    worth = tool.tables(rows)["S"].worth("mean", "flops")
    assert worth.ratio == pytest.approx(2.0, rel=1e-6)
    assert worth.low < 2.0 < worth.high
    assert not worth.is_extrapolated
    # a seed deviates by 0.0079; two means of five differ by 0.005, which is exp(0.005 / 0.2)
    assert math.log(worth.high / worth.low) == pytest.approx(2 * 1.96 * 0.005 / 0.2, rel=0.2)
    far = [row for row in rows if row["variant"] == "baseline" or row["share"] >= 0.7]
    assert tool.tables(far)["S"].worth("mean", "flops").is_extrapolated


def test_a_lever_counts_beyond_three_standard_errors_and_not_within(tool: Any) -> None:
    rows = rows_of("budget", "baseline", 1.0)
    for share in (0.5, 2.0):
        rows += rows_of("budget", "baseline", share)
    rows += rows_of("lever", "strong", 1.0, shift=-0.03)
    rows += rows_of("lever", "weak", 1.0, shift=-0.01)
    table = tool.tables(rows)["S"]
    base = table.group("budget", "baseline")
    effects = {
        name: table.effect(table.group("lever", name), base, "mean") for name in ("strong", "weak")
    }
    assert effects["strong"].difference == pytest.approx(-0.03)
    assert effects["strong"].standard_error == pytest.approx(0.0079 * math.sqrt(2 / 5), rel=0.01)
    assert effects["strong"].counts
    assert not effects["weak"].counts
    worth = table.worth_of(table.group("lever", "strong"), "baseline", "mean", "flops")
    assert worth.ratio == pytest.approx(math.exp(0.03 / 0.2), rel=1e-6)
    assert worth.low < worth.ratio < worth.high


def test_every_lever_has_a_name_in_both_languages_and_settings_that_a_recipe_takes(
    tool: Any,
) -> None:
    from cost import SIZES
    from cost_runs import ModelConfig, Run

    levers = tool.read_levers()
    assert {"muon", "curated", "qk-norm"} <= set(levers)
    for lever in levers.values():
        assert lever.en
        assert lever.zh
        run = Run(SIZES[0], "lever", lever.name, (lever,), 1.0, 1, 1e-3, 4_096)
        config = ModelConfig.from_settings(run.model, 4_000)
        assert run.settings(config).steps > 10
        assert lever.survives_export != config.qk_norm
