"""A longer window: the base rises, the weights go on, the folder says so."""

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tongwen.errors import RecipeError
from tongwen.extend.positions import theta_for
from tongwen.flow.manifest import Manifest
from tongwen.model.folder import load_model_folder, read_config
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


STAGES = (
    "extend.stages=[{sequence_tokens = 256, max_tokens = 5120, mix = {long_tokens = 64}},"
    " {sequence_tokens = 512, max_tokens = 5120, mix = {long_tokens = 256}}]"
)


def test_stages_widen_the_window_one_after_the_other_and_stop_nowhere_in_between(
    small_model_folder: Path, shards_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "long"
    manifest = extend(small_model_folder, shards_folder, out, recipe_file, STAGES)
    first, second = read_config(out / "stages/0/model"), read_config(out / "model")
    assert (first.max_position_embeddings, second.max_position_embeddings) == (256, 512)
    assert 10_000 < first.rope_theta < second.rope_theta
    assert manifest.counts["stage_0_tokens"] == 5120
    assert manifest.counts["joined_documents"] > 0  # no text here is 256 tokens long
    assert manifest.counts["task_documents"] > 0
    bytes_before = (out / "model/model.safetensors").read_bytes()
    (out / "manifest.json").unlink()
    extend(small_model_folder, shards_folder, out, recipe_file, STAGES)
    assert (out / "model/model.safetensors").read_bytes() == bytes_before


@pytest.mark.parametrize("method", ["yarn", "linear"])
def test_scaled_positions_are_trained_exported_and_read_by_transformers(
    method: str,
    small_model_folder: Path,
    shards_folder: Path,
    recipe_file: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "long"
    overrides = (STAGES, f"extend.position_method={method}")
    extend(small_model_folder, shards_folder, out, recipe_file, *overrides)
    model, config = load_model_folder(out / "model")
    assert config.max_position_embeddings == 512
    assert config.rope_scaling is not None
    assert config.rope_scaling.kind == method
    assert config.rope_scaling.original_tokens == 128
    theirs = LlamaForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    ids_BT = torch.arange(3, 503)[None] % config.vocabulary_size
    with torch.inference_mode():
        ours = model.logits(model(ids_BT))
        torch.testing.assert_close(ours, theirs(ids_BT).logits, atol=2e-4, rtol=1e-4)


def test_a_window_that_was_claimed_but_never_trained_is_trained(
    small_model_folder: Path, shards_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "long"
    claimed = ("extend.trained_window=64", "extend.rope_theta=false")
    extend(small_model_folder, shards_folder, out, recipe_file, *claimed)
    config = read_config(out / "model")
    assert config.max_position_embeddings == 128
    assert config.rope_theta == theta_for(128, 64, 10_000.0)


def test_the_computed_base_lets_as_many_channels_turn_once_in_the_new_window() -> None:
    theta = theta_for(200_000, 4_096, 10_000.0)
    for base, window in ((10_000.0, 4_096), (theta, 200_000)):
        wavelengths = [2 * math.pi * base ** (2 * pair / 128) for pair in range(64)]
        assert sum(length <= window for length in wavelengths) == 46
