"""Model folders: what goes in comes out, and damaged ones are refused with a reason."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tongwen.errors import InputError
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder, save_model_folder
from tongwen.model.llama import Llama
from tongwen.model.settings import ModelSettings

TINY = ModelConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=64,
    rope_theta=123_456.0,
    vocabulary_size=40,
)


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    vocabulary = {f"piece{number}": number for number in range(38)}
    values = {"model": {"type": "BPE", "vocab": vocabulary}, "added_tokens": [{"id": 39}]}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def saved(tmp_path: Path, tokenizer_folder: Path) -> Path:
    model = Llama(TINY)
    model.initialize(0)
    save_model_folder(tmp_path / "model", model, tokenizer_folder, torch.float32)
    return tmp_path / "model"


def test_a_saved_model_comes_back_with_equal_logits(saved: Path) -> None:
    model, config = load_model_folder(saved)
    assert config == TINY
    fresh = Llama(TINY)
    fresh.initialize(0)
    ids = torch.arange(30)[None]
    assert torch.equal(model.logits(model(ids)), fresh.logits(fresh(ids)))


def test_transformers_loads_the_folder_with_equal_logits_and_stops_at_both_ends(
    saved: Path,
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32).eval()
    ours, _ = load_model_folder(saved)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), theirs(ids).logits)
    assert theirs.config.rope_parameters["rope_theta"] == 123_456.0
    assert theirs.generation_config.eos_token_id == [2, 7]


def test_tied_embeddings_survive_the_folder(tmp_path: Path, tokenizer_folder: Path) -> None:
    model = Llama(replace(TINY, tie_word_embeddings=True))
    model.initialize(0)
    save_model_folder(tmp_path / "model", model, tokenizer_folder, torch.float32)
    loaded, _ = load_model_folder(tmp_path / "model")
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert sum(p.numel() for p in loaded.parameters()) == loaded.config.parameters


def test_the_same_weights_give_the_same_bytes(saved: Path, tokenizer_folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    model, _ = load_model_folder(saved)
    save_model_folder(saved, model, tokenizer_folder, torch.float32)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert not list(saved.parent.glob(".*"))


def test_a_large_model_is_saved_in_several_files_that_transformers_reads(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    model = Llama(TINY)
    model.initialize(3)
    path = tmp_path / "model"
    save_model_folder(path, model, tokenizer_folder, torch.float32, file_bytes=60_000)
    files = sorted(file.name for file in path.glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert max((path / name).stat().st_size for name in files) < 70_000
    loaded, _ = load_model_folder(path)
    theirs = AutoModelForCausalLM.from_pretrained(path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
        assert torch.equal(tensor, theirs.state_dict()[name])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no model folder"):
        load_model_folder(tmp_path / "nowhere")


def test_a_folder_without_a_tokenizer_is_refused(saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        load_model_folder(saved)


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(saved: Path) -> None:
    values = json.loads((saved / "tokenizer.json").read_text())
    values["added_tokens"].append({"id": 40})
    (saved / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="41 pieces, the model knows 40"):
        load_model_folder(saved)


def test_a_missing_tensor_is_named(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(InputError, match=r"lacks 1 tensors, the first is model\.norm\.weight"):
        load_model_folder(saved)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(saved: Path) -> None:
    values = json.loads((saved / "config.json").read_text())
    values["intermediate_size"] = 65
    (saved / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"shape \(\d+, \d+\), expected"):
        load_model_folder(saved)


def test_truncated_weights_are_refused(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot read"):
        load_model_folder(saved)


def test_weights_in_several_files_are_read_through_their_index(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:5]}, saved / "a.safetensors")
    save_file({name: tensors[name] for name in names[5:]}, saved / "b.safetensors")
    (saved / "model.safetensors").unlink()
    index = {name: "a.safetensors" if name in names[:5] else "b.safetensors" for name in names}
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    model, _ = load_model_folder(saved)
    assert torch.equal(model.lm_head.weight, tensors["lm_head.weight"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "gpt2"),
        ("hidden_act", "gelu"),
        ("rope_scaling", {"rope_type": "longrope", "factor": 4.0}),
    ],
)
def test_a_model_that_is_no_plain_llama_is_refused(saved: Path, key: str, value: object) -> None:
    values = json.loads((saved / "config.json").read_text())
    values[key] = value
    (saved / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=key):
        load_model_folder(saved)


def test_a_failed_save_keeps_the_folder_that_stood_there(saved: Path, tmp_path: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()
    model, _ = load_model_folder(saved)
    with pytest.raises(InputError, match="has no tokenizer"):
        save_model_folder(saved, model, empty)
    assert (saved / "model.safetensors").read_bytes() == before
    shutil.rmtree(empty)


@pytest.mark.parametrize(
    ("shape", "total", "non_embedding"),
    [
        ({}, 6_061_035_520, 5_536_747_520),
        ({"num_hidden_layers": 48}, 8_829_407_232, 8_305_119_232),
        (
            {
                "hidden_size": 7168,
                "intermediate_size": 20480,
                "num_hidden_layers": 60,
                "num_attention_heads": 56,
                "num_key_value_heads": 8,
            },
            34_388_917_248,
            33_471_413_248,
        ),
    ],
)
def test_published_models_have_their_published_number_of_parameters(
    shape: dict[str, int], total: int, non_embedding: int
) -> None:
    config = ModelConfig.from_settings(ModelSettings(**shape), 64_000)
    assert config.parameters == total
    assert config.non_embedding_parameters == non_embedding


def test_counted_parameters_are_those_the_model_has() -> None:
    assert sum(parameter.numel() for parameter in Llama(TINY).parameters()) == TINY.parameters
