"""Every 200K preset pretrains at its own window, extends to its long one and exports a folder that
transformers reads with equal logits beyond position 190,000.
"""

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tongwen.extend.positions import extended_config
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder
from tongwen.road.alone import run_alone
from tongwen.road.check import check_road
from tongwen.road.recipe import load_recipe, preset_names
from tongwen.road.run import stages_of
from tongwen.road.stages import planned_run

PRESETS = sorted(name for name in preset_names() if name.endswith("200k"))
WINDOWS = {"yi-6b-200k": 200_000, "yi-9b-200k": 262_144, "yi-34b-200k": 200_000}

SHAPE = (
    "model.hidden_size=16",
    "model.intermediate_size=32",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=8",
    "model.max_position_embeddings=64",
    "pretrain.max_tokens=64",
    "pretrain.sequence_tokens=64",
    "pretrain.batch_tokens=64",
    "pretrain.micro_batch_tokens=64",
    "extend.max_tokens=256",
    "extend.sequence_tokens=256",
    "extend.batch_tokens=256",
    "extend.micro_batch_tokens=256",
)


def test_these_are_all() -> None:
    assert set(PRESETS) == set(WINDOWS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_extends_what_it_pretrained_to_its_published_window(name: str) -> None:
    recipe = load_recipe(name)
    check_road(recipe, stages_of(recipe))
    assert recipe.pretrain is not None
    assert recipe.model.max_position_embeddings == recipe.pretrain.sequence_tokens == 4096
    planned = planned_run(recipe)
    assert planned.extend is not None
    config = ModelConfig.from_settings(recipe.model, planned.vocabulary_size)
    longer = extended_config(config, planned.extend)
    assert longer.max_position_embeddings == WINDOWS[name]
    assert longer.rope_theta == (10_000_000 if name == "yi-9b-200k" else 5_000_000)


@pytest.mark.parametrize("name", PRESETS)
def test_its_road_at_a_tiny_shape_ends_in_a_folder_that_transformers_reads(
    name: str, shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    data = {"shards": shards_folder, "tokenizer": small_tokenizer_folder}

    def stage(stage_name: str, inputs: dict[str, Path]) -> Path:
        out = tmp_path / stage_name
        run_alone(stage_name, inputs=inputs, out=out, recipe=name, overrides=SHAPE)
        return out

    pretrained = stage("pretrain", data)
    extended = stage("extend", {**data, "model": pretrained / "model"})
    exported = stage("export", {"model": extended / "model", "tokenizer": small_tokenizer_folder})
    config = json.loads((exported / "model/config.json").read_text())
    assert config["max_position_embeddings"] == 256
    assert config["rope_theta"] == load_recipe(name).extend.rope_theta  # type: ignore[union-attr]
    model, _ = load_model_folder(exported / "model", torch.float32)
    theirs = LlamaForCausalLM.from_pretrained(exported / "model", dtype=torch.float32)
    ids_BT = torch.arange(3, 67)[None]
    positions_BT = torch.arange(199_936, 200_000)[None]
    with torch.inference_mode():
        ours = model.logits(model(ids_BT, positions_BT=positions_BT))
        other = theirs(ids_BT, position_ids=positions_BT).logits
    torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4)
