"""A longer window: the base rises, the weights go on, the folder says so."""

from pathlib import Path

import pytest

from tongwen.errors import RecipeError
from tongwen.flow.manifest import Manifest
from tongwen.model.folder import load_model_folder
from tongwen.road.alone import run_alone
from tongwen.train.metrics import read_metrics


def extend(model: Path, shards: Path, out: Path, recipe: Path, *overrides: str) -> Manifest:
    return run_alone(
        "extend",
        inputs={"model": model, "shards": shards, "tokenizer": model},
        out=out,
        recipe=str(recipe),
        overrides=overrides,
    )


def test_the_extended_model_has_the_new_window_and_base_and_learns_on(
    small_model_folder: Path, shards_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "long"
    window = ("extend.sequence_tokens=256", "extend.max_tokens=10240")
    extend(small_model_folder, shards_folder, out, recipe_file, *window)
    _, config = load_model_folder(out / "model")
    assert config.max_position_embeddings == 256
    assert config.rope_theta == 50_000.0
    losses = [row["loss"] for row in read_metrics(out / "metrics.jsonl") if row["kind"] == "train"]
    assert losses[-1] < losses[0]


def test_a_window_that_does_not_grow_is_refused(
    small_model_folder: Path, shards_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="the model has 128 positions already"):
        extend(small_model_folder, shards_folder, tmp_path / "long", recipe_file)


def test_a_base_that_falls_is_refused(
    small_model_folder: Path, shards_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    overrides = ("extend.sequence_tokens=256", "extend.rope_theta=9999.0")
    with pytest.raises(RecipeError, match="below the model's 10000"):
        extend(small_model_folder, shards_folder, tmp_path / "long", recipe_file, *overrides)
