"""int8 weights: small errors, equal answers from both kernels, folders that load or say why."""

import json
import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tongwen.cli.quantize import command
from tongwen.errors import InputError
from tongwen.flow.manifest import Manifest
from tongwen.formats.shards import shard_writer
from tongwen.model.folder import load_model_folder
from tongwen.model.generate import generate
from tongwen.model.int8_folder import load_any_model, quantize_model, save_quantized_folder
from tongwen.model.int8_linear import QuantizedLinear, quantize_weight
from tongwen.quantize.quality import score
from tongwen.quantize.stage import _validation_texts
from tongwen.tokenizer.text import Tokenizer


@given(st.integers(0, 1_000), st.floats(1e-6, 1e4))
def test_no_weight_moves_by_more_than_its_channels_step(seed: int, size: float) -> None:
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(seed)) * size
    weight[3] = 0
    steps, scale = quantize_weight(weight)
    error = (steps.float() * scale.float()[:, None] - weight).abs()
    # Half a step; bfloat16 keeps 8 bits of a scale, so 127 steps can miss the largest by 0.25.
    assert (error <= 0.76 * scale.float()[:, None]).all()
    assert (steps[3] == 0).all()
    assert steps.abs().max() <= 127


@pytest.mark.parametrize("inputs", [32, 40, 100, 256])
@pytest.mark.parametrize("rows", [1, 4, 16, 17, 64])
def test_every_kernel_computes_the_same_product(inputs: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(48, inputs, generator=generator)
    x = torch.randn(2 if rows == 4 else 1, rows // (2 if rows == 4 else 1), inputs)
    linear = QuantizedLinear(*quantize_weight(weight))
    expected = linear(x.double())
    torch.testing.assert_close(linear(x), expected.float(), rtol=1e-4, atol=1e-4)
    rounded = linear(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded - expected).norm() / expected.norm() < 0.01


@pytest.mark.parametrize("shift_bytes", [0, 2, 8, 32])
@pytest.mark.parametrize("rows", [1, 4, 9])
def test_weights_and_activations_may_lie_anywhere_in_memory(shift_bytes: int, rows: int) -> None:
    def shifted(tensor: torch.Tensor) -> torch.Tensor:
        size = tensor.numel() * tensor.element_size()
        memory = torch.empty(size + shift_bytes, dtype=torch.uint8)[shift_bytes:]
        return memory.view(tensor.dtype).view(tensor.shape).copy_(tensor)

    weight, scale = quantize_weight(torch.randn(64, 64))
    x = torch.randn(rows, 64).bfloat16()
    expected = QuantizedLinear(weight, scale)(x.double())
    for linear, given_x in (
        (QuantizedLinear(shifted(weight), scale), x),
        (QuantizedLinear(weight, scale), shifted(x)),
    ):
        assert (linear(given_x) - expected).norm() / expected.norm() < 0.01


def save_int8(source: Path, target: Path) -> None:
    model, _ = load_model_folder(source)
    save_quantized_folder(target, model, source, quantize_model(model))


@pytest.fixture
def int8_folder(small_model_folder: Path, tmp_path: Path) -> Path:
    save_int8(small_model_folder, tmp_path / "int8")
    return tmp_path / "int8"


def test_an_int8_folder_comes_back_with_nearly_the_same_logits(
    small_model_folder: Path, int8_folder: Path
) -> None:
    plain, _ = load_any_model(small_model_folder)
    quantized, config = load_any_model(int8_folder)
    assert config == plain.config
    ids = torch.arange(100)[None]
    with torch.no_grad():
        expected, found = plain.logits(plain(ids)), quantized.logits(quantized(ids))
    assert 0 < (found - expected).norm() / expected.norm() < 0.1  # large random weights
    projections = [name for name in load_file(int8_folder / "model.safetensors") if "proj" in name]
    assert len(projections) == 2 * 7 * 2
    for module in quantized.modules():
        if isinstance(module, QuantizedLinear):
            assert module.weight.data_ptr() % 64 == 0
    assert not torch.equal(expected, found)


def test_an_int8_model_generates_in_bfloat16_and_float32(int8_folder: Path) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        model, _ = load_any_model(int8_folder, dtype)
        answers = generate(model, [[20, 30], [40] * 9], max_new_tokens=5, stop_ids=())
        assert [len(answer) for answer in answers] == [5, 5]


def test_the_same_weights_give_the_same_bytes(small_model_folder: Path, int8_folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in int8_folder.iterdir()}
    save_int8(small_model_folder, int8_folder)
    assert {file.name: file.read_bytes() for file in int8_folder.iterdir()} == before
    assert "tokenizer.model" in before
    assert "generation_config.json" in before


def test_programs_that_do_not_know_the_method_refuse_the_folder(int8_folder: Path) -> None:
    with pytest.raises((ValueError, KeyError), match="tongwen_int8_llama"):
        AutoModelForCausalLM.from_pretrained(int8_folder)
    with pytest.raises(InputError, match="tongwen_int8_llama"):
        load_model_folder(int8_folder)


def test_weights_quantized_by_another_method_are_refused(int8_folder: Path) -> None:
    values = json.loads((int8_folder / "config.json").read_text())
    values |= {"model_type": "llama", "quantization_config": {"quant_method": "awq"}}
    (int8_folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="'awq'"):
        load_any_model(int8_folder)


def test_damaged_int8_weights_are_refused(int8_folder: Path) -> None:
    weights = int8_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot read"):
        load_any_model(int8_folder)
    weights.unlink()
    with pytest.raises(InputError, match="lacks"):
        load_any_model(int8_folder)


def test_the_loss_counts_every_token_once_also_across_windows(small_model_folder: Path) -> None:
    model, _ = load_any_model(small_model_folder)
    generator = torch.Generator().manual_seed(0)
    documents = [
        (torch.randint(14, 400, (tokens,), generator=generator).tolist(), 3 * tokens)
        for tokens in (5, 127, 128, 129, 300)
    ]
    found = score(model, documents)
    assert (found.tokens, found.utf8_bytes) == (689, 3 * 689)
    assert len(found.choices) == 689
    assert found.bits_per_byte == pytest.approx(found.nats / math.log(2) / 2067)
    # By hand for the short one: the model sees <|endoftext|> and all but the last token.
    ids = documents[0][0]
    with torch.no_grad():
        log_probabilities = model.logits(model(torch.tensor([[2, *ids[:-1]]]))[0]).log_softmax(-1)
    by_hand = -sum(float(log_probabilities[place, token]) for place, token in enumerate(ids))
    assert score(model, documents[:1]).nats == pytest.approx(by_hand, rel=1e-5)


def write_shards(folder: Path, tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    folder.mkdir()
    for language, lang, text in (("en", "en", "The road is long. "), ("zh", "zh-Hans", "路很长。")):
        with shard_writer(
            folder / f"valid-{language}-00000.shard",
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
        ) as writer:
            for number in range(1, 6):
                ids = [*tokenizer.encode(text * number), 2]
                size = len((text * number).encode())
                writer.append(ids, language=lang, utf8_bytes=size)


def test_the_command_writes_the_model_and_what_it_cost_in_both_languages(
    small_model_folder: Path, small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    write_shards(tmp_path / "shards", small_tokenizer_folder)
    arguments = [str(small_model_folder), "--shards", str(tmp_path / "shards")]
    options = ["--recipe", "sample", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, [*arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert set(quality["languages"]) == {"en", "zh"}
    assert quality["bytes_after"] < 0.5 * quality["bytes_before"]
    for numbers in quality["languages"].values():
        assert numbers["bits_per_byte_after"] == pytest.approx(
            numbers["bits_per_byte_before"], rel=0.05
        )
        assert 0.5 < numbers["same_greedy_choice_share"] <= 1
    manifest = Manifest.read(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert manifest.counts["bytes_after"] == quality["bytes_after"]
    load_any_model(tmp_path / "out" / "model")


def test_validation_text_of_another_tokenizer_is_refused(
    small_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no validation text"):
        _validation_texts(tmp_path / "empty", 10, "00" * 16)
    write_shards(tmp_path / "shards", small_model_folder)
    with pytest.raises(InputError, match="another tokenizer"):
        _validation_texts(tmp_path / "shards", 10, "00" * 16)
