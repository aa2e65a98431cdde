"""The example in `examples/own_code` does what its files say, in worker processes."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import tongwen
from tongwen.curate.outcome.explain import explain, explanation_text

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_code"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "run"
    result = tongwen.run_road(EXAMPLE / "recipe.toml", folder, until="curate", quiet=True)
    assert result.changed == ("crawl", "curate")
    assert tongwen.run_road(EXAMPLE / "recipe.toml", folder, until="curate").changed == ()
    return folder


def attributes(run_dir: Path) -> dict[str, dict[str, Any]]:
    (part,) = (run_dir / "stages/curate/attributes").glob("*.parquet")
    return {row["url"].partition("@")[0]: row for row in pq.read_table(part).to_pylist()}


def test_reader_rules_and_scorer_of_the_example_decide_as_it_says(run_dir: Path) -> None:
    rows = attributes(run_dir)
    assert {name: (row["drop_stage"], row["drop_rule"]) for name, row in rows.items()} == {
        "mid:tides": (None, None),
        "mid:library": (None, None),
        "mid:shout": ("rules", "maximum_shouting"),
        "mid:market": ("rules", "maximum_price_line_share"),
        "mid:gate": ("scores", "minimum_courtesy"),
        "mid:chart": ("extract", "no_text"),
    }
    assert rows["mid:market"]["price_line_share"] == 0.75
    assert rows["mid:chart"]["courtesy"] is None
    mixed = [
        row["text"][:5]
        for path in (run_dir / "stages/curate/documents").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert mixed.count("Dear ") == mixed.count("各位读者：") == 2  # weight 2 by `courtesy > 0.3`


def test_the_example_is_explained_and_reported(run_dir: Path) -> None:
    (letter,) = explain(run_dir / "stages/curate", "mid:gate@harbour.invalid")
    text = explanation_text(letter)
    assert "ok   maximum_shouting" in text
    assert "dropped at scores by minimum_courtesy: 0, threshold 0.1" in text
    report = (run_dir / "report.html").read_text(encoding="utf-8")
    for name in ("curate.rules", "curate.own_scorers", "maximum_price_line_share"):
        assert f"<code>{name}</code>" in report


def test_the_task_of_the_example_scores_a_model(small_model_folder: Path, tmp_path: Path) -> None:
    recipe = tongwen.load_recipe(EXAMPLE / "recipe.toml")
    manifest = tongwen.run_stage(
        "evaluate", recipe, inputs={"model": small_model_folder}, out=tmp_path / "scores"
    )
    assert manifest is not None
    assert manifest.counts["items"] == 4
    assert manifest.counts["tasks"] == 1
    results = json.loads((tmp_path / "scores/results.json").read_text(encoding="utf-8"))["results"]
    (value,) = (row["value"] for row in results if row["language"] == "en")
    assert 0 <= value <= 1
    scores = tongwen.evaluate_model(
        tongwen.load_model(small_model_folder),
        {"own_spelling": EXAMPLE / "tasks" / "own_spelling.jsonl"},
        task_folders=[EXAMPLE / "tasks"],
        limit=4,
    )
    assert {score.metric for score in scores} == {"closeness"}
    assert scores[0].value == value
