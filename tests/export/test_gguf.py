"""GGUF files: read back by the package of llama.cpp's authors, and what cannot be written."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from click.testing import CliRunner
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from tongwen.cli.export import command
from tongwen.errors import InputError
from tongwen.export.gguf import _PRE_TOKENIZERS, write_gguf
from tongwen.files import read_json, write_json
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder, save_model_folder
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import quantize_model, save_quantized_folder
from tongwen.tokenizer.special import CHAT_TEMPLATE
from tongwen.tokenizer.text import Tokenizer

_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}


class Read:
    """What a GGUF file says."""

    def __init__(self, file: Path) -> None:
        self._reader = gguf.GGUFReader(file)
        self.kinds = {item.name: item.tensor_type.name for item in self._reader.tensors}
        self.numbers = {
            item.name: torch.from_numpy(
                gguf.quants.dequantize(item.data, item.tensor_type).astype(np.float32)
            )
            for item in self._reader.tensors
        }

    def __getitem__(self, key: str) -> Any:
        return self._reader.fields[key].contents()

    def __contains__(self, key: str) -> bool:
        return key in self._reader.fields


def turned_back(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Neighbouring channels of a head as Hugging Face orders them: evens, then odds."""
    rows = weight.unflatten(0, (heads, -1))
    return torch.cat([rows[:, 0::2], rows[:, 1::2]], dim=1).flatten(0, 1)


@pytest.mark.parametrize(
    ("kind", "stored", "tolerance"),
    [("f32", "F32", 0), ("bf16", "BF16", 4e-3), ("f16", "F16", 1e-3), ("q8_0", "Q8_0", 9e-3)],
)
def test_tensors_read_back_are_the_folders(
    small_model_folder: Path, tmp_path: Path, kind: Any, stored: str, tolerance: float
) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(small_model_folder, file, kind)
    model, config = load_model_folder(small_model_folder)
    found, state = Read(file), model.state_dict()
    for ours, theirs in (
        ("model.embed_tokens", "token_embd"),
        ("lm_head", "output"),
        ("model.layers.1.mlp.down_proj", "blk.1.ffn_down"),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v"),
    ):
        expected = state[f"{ours}.weight"]
        assert found.kinds[f"{theirs}.weight"] == stored
        size = expected.abs().max().item()
        torch.testing.assert_close(
            found.numbers[f"{theirs}.weight"], expected, rtol=tolerance, atol=tolerance * size
        )
    for name, heads in (("q", 4), ("k", 2)):
        expected = state[f"model.layers.1.self_attn.{name}_proj.weight"]
        again = turned_back(found.numbers[f"blk.1.attn_{name}.weight"], heads)
        size = expected.abs().max().item()
        torch.testing.assert_close(again, expected, rtol=tolerance, atol=tolerance * size)
    assert found.kinds["blk.0.attn_norm.weight"] == "F32"
    assert len(found.kinds) == 3 + 9 * config.num_hidden_layers


def test_integers_of_a_quantized_folder_are_kept_as_they_are(
    small_model_folder: Path, tmp_path: Path
) -> None:
    model, _ = load_model_folder(small_model_folder)
    names = quantize_model(model.requires_grad_(False), 4)
    folder, file = tmp_path / "int4", tmp_path / "model.gguf"
    save_quantized_folder(folder, model, small_model_folder, names)
    write_gguf(folder, file)
    found = Read(file)
    assert found.kinds["blk.0.ffn_up.weight"] == "Q4_0"
    assert found.kinds["token_embd.weight"] == found.kinds["output.weight"] == "Q8_0"
    layer = model.model.layers[0]
    expected = layer.get_submodule("mlp.up_proj").dequantize()  # type: ignore[operator]
    assert torch.equal(found.numbers["blk.0.ffn_up.weight"], expected)
    turned = layer.get_submodule("self_attn.q_proj").dequantize()  # type: ignore[operator]
    assert torch.equal(turned_back(found.numbers["blk.0.attn_q.weight"], 4), turned)


def test_a_file_names_shape_pieces_both_ends_and_the_template_and_begins_with_nothing(
    small_model_folder: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        command,
        [str(small_model_folder), "--format", "gguf", "--type", "f32", "--out", str(tmp_path)],
        catch_exceptions=False,
    )
    assert result.output.strip() == str(tmp_path / "model-f32.gguf")
    found, tokenizer = Read(tmp_path / "model-f32.gguf"), Tokenizer.load(small_model_folder)
    assert found["general.architecture"] == "llama"
    assert found["llama.context_length"] == 128
    assert found["llama.attention.head_count_kv"] == 2
    assert found["llama.rope.freq_base"] == 10_000
    assert found["tokenizer.ggml.model"] == "llama"
    pieces = found["tokenizer.ggml.tokens"]
    assert pieces == [tokenizer.piece(number) for number in range(400)]
    kinds = found["tokenizer.ggml.token_type"]
    assert (kinds[0], kinds[2], kinds[7], kinds[14], kinds[399]) == (2, 3, 3, 6, 1)
    assert found["tokenizer.ggml.eos_token_id"] == 2
    assert found["tokenizer.ggml.eot_token_id"] == 7
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.ggml.add_space_prefix"] is False
    assert found["tokenizer.chat_template"] == CHAT_TEMPLATE


def byte_level_folder(folder: Path, family: str, regex: str | None) -> Path:
    """A model of another maker's family with a byte-level tokenizer."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, "th", "the"])}
    bpe = tokenizers.Tokenizer(models.BPE(vocabulary, [("t", "h"), ("th", "e")]))
    parts = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if regex is not None:
        split = pre_tokenizers.Split(tokenizers.Regex(regex), "isolated")
        parts.insert(0, split)  # type: ignore[arg-type]
    bpe.pre_tokenizer = pre_tokenizers.Sequence(parts)  # type: ignore[arg-type]
    bpe.decoder = decoders.ByteLevel()
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    bpe.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    files = folder / "tokenizer"
    files.mkdir(parents=True)
    bpe.save(str(files / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "chat_template": CHAT_TEMPLATE, "add_bos_token": False}
    write_json(files / "tokenizer_config.json", config)
    values = {
        **_SIZES,
        "model_type": family,
        "architectures": ["X"],
        "vocab_size": 264,
        "tie_word_embeddings": True,
        "max_position_embeddings": 64,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
    }
    model = Llama(ModelConfig.from_huggingface(values, "config.json"))
    model.initialize(0)
    save_model_folder(folder / "model", model, files, torch.float32)
    return folder / "model"


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_qwens_keep_their_order_of_channels_and_their_byte_level_pieces(
    tmp_path: Path, family: str
) -> None:
    regex = next(regex for regex, name in _PRE_TOKENIZERS.items() if name == "qwen2")
    folder = byte_level_folder(tmp_path, family, regex)
    write_gguf(folder, tmp_path / "model.gguf", "f32")
    found, (model, _) = Read(tmp_path / "model.gguf"), load_model_folder(folder)
    state = model.state_dict()
    assert found["general.architecture"] == family
    assert torch.equal(
        found.numbers["blk.1.attn_q.weight"], state["model.layers.1.self_attn.q_proj.weight"]
    )
    assert ("blk.0.attn_q.bias" in found.numbers) == (family == "qwen2")
    assert ("blk.0.attn_q_norm.weight" in found.numbers) == (family == "qwen3")
    assert "output.weight" not in found.numbers
    assert found["tokenizer.ggml.model"] == "gpt2"
    assert found["tokenizer.ggml.pre"] == "qwen2"
    assert found["tokenizer.ggml.merges"] == ["t h", "th e"]
    pieces = found["tokenizer.ggml.tokens"]
    assert pieces[256:263] == ["th", "the", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
                               "[UNUSED_261]", "[UNUSED_262]"]  # fmt: skip
    assert found["tokenizer.ggml.token_type"][255:264] == [1, 1, 1, 3, 3, 3, 5, 5, 5]
    assert found["tokenizer.ggml.eos_token_id"] == 258
    assert found["tokenizer.ggml.eot_token_id"] == 260
    assert found["tokenizer.ggml.add_bos_token"] is False


def test_what_llama_cpp_would_compute_otherwise_is_refused_by_name(
    small_model_folder: Path, tmp_path: Path
) -> None:
    folder = byte_level_folder(tmp_path, "qwen2", r"\w+")
    with pytest.raises(InputError, match=r"it cuts texts by .*w\+"):
        write_gguf(folder, tmp_path / "model.gguf")
    config = read_json(folder / "config.json")
    scaled = {"rope_type": "dynamic", "factor": 2.0}
    for change, words in (
        ({"model_type": "minicpm", "scale_emb": 12}, "model_type 'minicpm'"),
        ({"model_type": "llama", "attention_bias": True}, "biases"),
        ({"rope_scaling": scaled, "rope_parameters": None}, "RoPE scaling 'dynamic'"),
    ):
        copy = tmp_path / str(len(words))
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        (copy / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError) as caught:
            write_gguf(copy, tmp_path / "model.gguf")
        assert words in str(caught.value)
    assert not (tmp_path / "model.gguf").exists()
    result = CliRunner().invoke(
        command, [str(small_model_folder), "--type", "q8_0", "--out", str(tmp_path / "x")]
    )
    assert "--type q8_0 is for --format gguf" in str(result.exception or result.output)
