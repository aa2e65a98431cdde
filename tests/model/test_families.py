"""Models of other makers: computed, encoded, written and exported as transformers does."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from tongwen.errors import InputError
from tongwen.model.attention import Segments, Visibility, after_zero, attend
from tongwen.model.config import ModelConfig
from tongwen.model.decoding import Prefill
from tongwen.model.folder import load_model_folder
from tongwen.model.grow import grow_model
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model, quantize_model, save_quantized_folder
from tongwen.tokenizer.text import Tokenizer


def bench_families() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "families.py"
    spec = importlib.util.spec_from_file_location("bench_families", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_families"] = module
    spec.loader.exec_module(module)
    return module


families = bench_families()


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen") / "model"
    families.make_folder(families.FAMILIES["Qwen2, windows"], folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "model"
    families.make_folder(families.FAMILIES["Llama 3.2, tied"], folder)
    return folder


@pytest.fixture
def copy(qwen: Path, tmp_path: Path) -> Path:
    shutil.copytree(qwen, tmp_path / "copy")
    return tmp_path / "copy"


def change(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    "name",
    ["Llama 2, linear", "Llama, dynamic", "Llama 3.2, tied", "Llama, yarn", "Llama, all biases",
     "Mistral, window", "Qwen2, windows", "Qwen3", "MiniCPM"],
)  # fmt: skip
def test_a_family_equals_transformers(name: str, tmp_path: Path) -> None:
    row = families.measure(name, tmp_path)
    assert row.pop("logits") < 1e-4
    assert row == {"ids": True, "greedy": True, "template": True, "round trip": True}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "rope_type is 'longrope'"),
        ({"rope_scaling": {"type": "su", "factor": 2.0}}, "rope_scaling.type is 'su'"),
        ({"rope_scaling": {"type": "yarn", "factor": "4"}}, "rope_scaling.factor is '4'"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 5e5}}},
         "rope_parameters.full_attention is {"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0},
          "rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "contradict each other"),
        ({"num_experts": 8}, "num_experts is 8"),
        ({"model_type": "qwen3_moe"}, "model_type is 'qwen3_moe'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"layer_types": ["full_attention", "linear_attention", "full_attention"]},
         "layer_types is 'linear_attention'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quant_method is 'gptq'"),
        ({"num_hidden_layers": "3"}, "num_hidden_layers is '3'"),
        ({"hidden_size": None}, "lacks hidden_size"),
    ],
)  # fmt: skip
def test_what_is_not_computed_is_refused_with_key_and_value(
    copy: Path, values: dict[str, Any], message: str
) -> None:
    change(copy, **values)
    with pytest.raises(InputError) as caught:
        load_model_folder(copy)
    assert message in str(caught.value)


def damage(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Put a tensor into the folder's weights, or take one out."""
    (file,) = (
        path for path in folder.glob("*.safetensors")
        if name in load_file(path) or (tensor is not None and path.name.startswith("model-00001"))
    ) if name in all_tensors(folder) or tensor is None else [
        sorted(folder.glob("*.safetensors"))[0]
    ]  # fmt: skip
    tensors = load_file(file)
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, file, metadata={"format": "pt"})


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {key: item for file in folder.glob("*.safetensors") for key, item in
            load_file(file).items()}  # fmt: skip


def test_damaged_weights_are_named_when_they_are_loaded(copy: Path) -> None:
    name = "model.layers.1.self_attn.k_proj.bias"
    whole = all_tensors(copy)[name]
    for tensor, message in (
        (None, f"lacks 1 tensors, the first is {name}"),
        (whole[1:], f"{name} has shape \\(23,\\), expected \\(24,\\)"),
        (whole.to(torch.int8), f"{name} is of type int8"),
        (whole * torch.nan, f"{name} holds 24 values that are NaN or infinite"),
    ):
        damage(copy, name, tensor)
        with pytest.raises(InputError, match=message):
            load_model_folder(copy)
        damage(copy, name, whole) if tensor is not None else restore(copy, name, whole)
    damage(copy, "lm_head.weight", None)
    with pytest.raises(InputError, match=r"lacks lm_head.weight.*tie_word_embeddings"):
        load_model_folder(copy)


def restore(folder: Path, name: str, tensor: torch.Tensor) -> None:
    file = sorted(folder.glob("*.safetensors"))[0]
    save_file(load_file(file) | {name: tensor}, file, metadata={"format": "pt"})


def test_a_tie_flag_that_contradicts_the_weights_is_refused(copy: Path) -> None:
    change(copy, tie_word_embeddings=True)
    with pytest.raises(InputError, match=r"lm_head.weight is model.embed_tokens.weight"):
        load_model_folder(copy)


def test_frequencies_that_old_llama_folders_hold_are_passed_over(copy: Path) -> None:
    restore(copy, "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(4))
    load_model_folder(copy)


def test_a_window_is_the_same_by_mask_by_stretch_and_with_a_cache() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 40, 4, 8, generator=generator) for _ in range(3))
    documents = torch.tensor([[0] * 25 + [1] * 15])
    window, here = 6, q.device
    masked = Visibility.among_themselves(documents).within(window, 40, here)
    segments = Visibility(segments=Segments(after_zero(torch.tensor([25, 40])), 25))
    by_stretch = segments.within(window, 40, here)
    expected = torch.cat(
        [attend(q[:, part], k[:, part], v[:, part],
                Visibility(is_causal=True).within(window, q[:, part].shape[1], here))
         for part in (slice(0, 25), slice(25, 40))], dim=1)  # fmt: skip
    torch.testing.assert_close(attend(q, k, v, masked), expected)
    torch.testing.assert_close(attend(q, k, v, by_stretch), expected)
    by_hand = attend(q[:, 20:21], k[:, 15:21], v[:, 15:21], Visibility())
    torch.testing.assert_close(expected[:, 20:21], by_hand)


def test_a_long_prompt_is_read_in_pieces_within_its_windows(
    qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongwen.model.decoding.PREFILL_TOKENS", 16)
    model, _ = load_model_folder(qwen, torch.float32)
    ids = torch.arange(100).remainder(90).tolist()
    prefill = Prefill(model, ids)
    logits = None
    while logits is None:
        logits = prefill.advance()
    with torch.no_grad():
        torch.testing.assert_close(logits, model.logits(model(torch.tensor([ids])))[0, -1])


def test_int8_weights_keep_biases(qwen: Path, tmp_path: Path) -> None:
    model, _ = load_model_folder(qwen, torch.float32)
    ids = torch.arange(60)[None]
    with torch.no_grad():
        exact = model.logits(model(ids))
    save_quantized_folder(tmp_path / "int8", model, qwen, quantize_model(model))
    again, config = load_any_model(tmp_path / "int8", torch.float32)
    assert config.attention_bias
    assert (tmp_path / "int8" / "chat_template.jinja").is_file()
    with torch.no_grad():
        difference = (again.logits(again(ids)) - exact).abs().mean()
    assert difference < 0.1 * exact.abs().mean()


def test_counted_parameters_include_biases() -> None:
    config = ModelConfig.from_huggingface(
        families.FAMILIES["Llama, all biases"].config(
            **families._SHAPE, attention_bias=True, mlp_bias=True
        ).to_dict(),
        "test",
    )  # fmt: skip
    counted = sum(parameter.numel() for parameter in Llama(config).parameters())
    assert counted == config.parameters


def test_a_model_of_ours_saved_by_transformers_keeps_its_ids_and_logits(
    small_model_folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    AutoModelForCausalLM.from_pretrained(small_model_folder).save_pretrained(saved)
    AutoTokenizer.from_pretrained(small_model_folder).save_pretrained(saved)
    assert not (saved / "tokenizer.model").exists()
    before, after = Tokenizer.load(small_model_folder), Tokenizer.load(saved)
    assert after.stop_ids == before.stop_ids == (2, 7)
    assert after.digest == before.digest  # shards of the one are read with the other
    assert (after.end_id, after.start_id, after.beginning_ids) == (2, 2, ())
    texts = ("The old man, 42 roads. 第42条路很长。 🙂 ▁", " x  y\n", "plain <|im_end|> text")
    for text in texts:
        assert after.encode(text) == before.encode(text)
        assert after.decode(after.encode(text)) == text
        assert after.encode_with_ends(text) == before.encode_with_ends(text)
    dialogue = [
        {"role": "user", "content": texts[0]},
        {"role": "assistant", "content": " 好<|im_end|>。 "},
    ]
    assert after.encode_dialogue(dialogue) == before.encode_dialogue(dialogue)
    models = [load_model_folder(folder, torch.float32)[0] for folder in (small_model_folder, saved)]
    ids = torch.arange(50)[None]
    with torch.no_grad():
        assert torch.equal(*(model.logits(model(ids)) for model in models))


def test_pieces_added_to_a_base_model_start_as_the_mean_of_all_others(
    llama: Path, tmp_path: Path
) -> None:
    ids = grow_model(llama, tmp_path / "grown", ["<|tool|>"], writes_chatml=True)
    assert list(ids) == ["<|tool|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer.load(tmp_path / "grown")
    theirs = PreTrainedTokenizerFast.from_pretrained(tmp_path / "grown")
    messages = [{"role": "user", "content": "Hello 你好"}]
    found, _ = tokenizer.encode_dialogue(messages, add_generation_prompt=True)
    assert found == theirs.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert found[0] == ids["<|im_start|>"]
    assert ids["<|im_end|>"] in tokenizer.stop_ids
    before, _ = load_model_folder(llama)
    after, config = load_model_folder(tmp_path / "grown")
    rows = after.model.embed_tokens.weight
    known = Tokenizer.load(llama).vocabulary_size
    mean = before.model.embed_tokens.weight[:known].mean(0)
    for number in ids.values():
        torch.testing.assert_close(rows[number], mean)
    assert torch.equal(rows[:known], before.model.embed_tokens.weight[:known])
    assert config.tie_word_embeddings
    with pytest.raises(InputError, match=r"has <\|tool\|> already"):
        grow_model(tmp_path / "grown", tmp_path / "twice", ["<|tool|>"], writes_chatml=False)
