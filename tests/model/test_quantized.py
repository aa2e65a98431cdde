"""int4 and int8 weights: small errors, equal results on every path, folders that load or not."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tongwen.errors import InputError
from tongwen.model.folder import load_model_folder
from tongwen.model.quantized import grid, paths
from tongwen.model.quantized.folder import (
    dequantize_model,
    is_quantized,
    load_any_model,
    quantize_model,
    save_quantized_folder,
)
from tongwen.model.quantized.grid import Bits
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear, round_activations

BITS: tuple[Bits, ...] = (4, 8)


def linear_of(outputs: int, inputs: int, bits: Bits, seed: int = 0) -> QuantizedLinear:
    generator = torch.Generator().manual_seed(seed)
    plain = torch.nn.Linear(inputs, outputs, bias=False)
    plain.weight.data = torch.randn(outputs, inputs, generator=generator)
    return QuantizedLinear.of(plain, bits)


@pytest.mark.parametrize("bits", BITS)
@given(seed=st.integers(0, 1_000), size=st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_no_weight_moves_by_more_than_one_step(bits: Bits, seed: int, size: float) -> None:
    weight = torch.randn(5, 70, generator=torch.Generator().manual_seed(seed)) * size
    weight[3] = 0
    groups = grid.group_inputs(weight)
    scale = grid.choose_scales(groups, bits)
    steps = grid.to_grid(groups, scale, bits)
    error = (steps * scale.float()[..., None] - groups).abs()
    # Half a step; int4 may cut the largest of a group to serve the others better.
    allowed = 0.76 if bits == 8 else 3.5
    assert (error <= allowed * scale.float().abs()[..., None]).all()
    assert (steps[3] == 0).all()
    assert (scale != 0).all()
    least, most = grid.smallest_step(bits), grid.largest_step(bits)
    assert least <= steps.min()
    assert steps.max() <= most


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("outputs", [1, 16, 23])
def test_the_order_in_memory_loses_nothing(bits: Bits, outputs: int) -> None:
    groups = grid.group_inputs(torch.randn(outputs, 100))
    scale = grid.choose_scales(groups, bits)
    stored = grid.to_bytes(grid.to_grid(groups, scale, bits), bits)
    assert torch.equal(grid.separate(grid.interleave(stored), outputs), stored)
    assert torch.equal(grid.separate_scales(grid.interleave_scales(scale), outputs), scale)


def test_int4_bytes_have_the_order_of_q4_0() -> None:
    # By hand after GGUF's definition: byte j holds quant j low, quant j + 16 high, each plus 8.
    steps = (torch.arange(32) % 16 - 8).float().view(1, 1, 32)
    steps[0, 0, 16:] = 7
    found = grid.to_bytes(steps, 4)[0, 0].tolist()
    assert found == [j | 15 << 4 for j in range(16)]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("path", paths.available())
def test_every_path_computes_the_same_bits_for_any_shape_and_number_of_rows(
    bits: Bits, path: str
) -> None:
    for outputs, inputs in ((16, 32), (48, 64), (50, 100), (7, 96)):
        linear = linear_of(outputs, inputs, bits)
        for rows in (1, 2, 3, 7, 130):
            x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(rows)) * 3
            x[0, :32] = 0
            with paths.forced(paths.TORCH):
                expected = linear(x)
            with paths.forced(path):
                found = linear(x)
                assert torch.equal(found, expected)
                assert torch.equal(linear(x[-1:]), found[-1:])  # alone as among others


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("path", paths.available())
def test_the_largest_products_do_not_overflow(bits: Bits, path: str) -> None:
    # 16-bit sums of unsigned and signed bytes saturate silently where a bound is wrong.
    signs = torch.tensor([1.0, -1.0]).repeat(16)
    weight = torch.stack([signs, -signs, signs.abs(), -signs.abs()]).repeat(4, 3)
    groups = grid.group_inputs(weight)
    steps = groups * grid.largest_step(bits)
    if bits == 4:
        steps[steps < 0] = -8
    scale = torch.ones(16, 3, dtype=torch.float16)
    linear = QuantizedLinear(grid.to_bytes(steps, bits), scale, 96)
    x = torch.stack([signs, -signs, signs.abs(), -signs.abs()]).repeat(1, 3) * 127
    with paths.forced(path):
        assert torch.equal(linear(x), x @ steps.flatten(1).t())


@pytest.mark.parametrize("bits", BITS)
def test_products_are_near_those_of_the_plain_weight(bits: Bits) -> None:
    plain = torch.nn.Linear(256, 64)
    linear = QuantizedLinear.of(plain, bits)
    x = torch.randn(3, 5, 256)
    with torch.no_grad():
        expected, found = plain(x), linear(x)
    assert found.shape == (3, 5, 64)
    assert (found - expected).norm() / expected.norm() < (0.1 if bits == 4 else 0.01)
    assert linear(x.bfloat16()).dtype == torch.bfloat16
    assert linear(x[:0]).shape == (0, 5, 64)


def test_activations_are_rounded_half_to_even_and_zeros_stay() -> None:
    x = torch.zeros(2, 32)
    x[0, :5] = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5])
    steps, scale = round_activations(x)
    assert steps[0, 0, :5].tolist() == [127, 0, 2, 2, 0]
    assert scale[:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("bits", BITS)
def test_gradients_reach_the_input_and_leave_the_weight(bits: Bits) -> None:
    linear = linear_of(20, 40, bits)
    x = torch.randn(3, 40, requires_grad=True)
    linear(x).square().sum().backward()
    weight = linear.dequantize()
    expected = 2 * (x @ weight.t()) @ weight
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)
    assert list(linear.parameters()) == []


@pytest.mark.parametrize("bits", BITS)
def test_an_embedding_reads_the_rows_of_its_matrix(bits: Bits) -> None:
    matrix = linear_of(50, 40, bits)
    ids = torch.tensor([[0, 1, 17], [49, 16, 15]])
    found = QuantizedEmbedding(matrix, torch.float32)(ids)
    assert torch.equal(found, matrix.dequantize()[ids])


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("path", paths.available())
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_does_not_vanish(bits: Bits, path: str, value: float) -> None:
    linear = linear_of(20, 64, bits)
    x = torch.ones(3, 64)
    x[1, 40] = value
    with paths.forced(path):
        found = linear(x)
    assert found[1].isnan().all()
    assert found[[0, 2]].isfinite().all()


def test_a_weight_that_no_scale_can_hold_is_refused() -> None:
    for value in (float("nan"), float("inf"), 1e6):
        with pytest.raises(InputError, match="a weight is"):
            grid.choose_scales(torch.full((1, 1, 32), value), 4)


def test_a_path_that_the_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.VARIABLE, "abacus")
    with pytest.raises(InputError, match="abacus"):
        paths.chosen()
    monkeypatch.setenv(paths.VARIABLE, "torch")
    assert paths.chosen() == "torch"


def test_the_paths_are_chosen_by_the_features_of_the_cpu() -> None:
    instructions = pytest.importorskip("tongwen.model.quantized.instructions")
    old = {"sse2": True}
    haswell = old | {"f16c": True, "avx2": True}
    icelake = haswell | {"avx512vnni": True, "avx512bw": True, "avx512vl": True}
    alderlake = haswell | {"avxvnni": True}
    named = [
        [paths.NAMES[number] for number in instructions.available_paths(features)]
        for features in (old, haswell, alderlake, icelake)
    ]
    assert named == [
        [],
        ["avx2", "generic"],
        ["avx-vnni", "avx2", "generic"],
        ["avx512-vnni", "avx-vnni", "avx2", "generic"],
    ]


def save_quantized(source: Path, target: Path, bits: Bits) -> None:
    model, _ = load_model_folder(source)
    save_quantized_folder(target, model, source, quantize_model(model, bits))


@pytest.fixture
def int8_folder(small_model_folder: Path, tmp_path: Path) -> Path:
    save_quantized(small_model_folder, tmp_path / "int8", 8)
    return tmp_path / "int8"


@pytest.mark.parametrize("bits", BITS)
def test_a_folder_comes_back_with_nearly_the_same_logits(
    bits: Bits, small_model_folder: Path, tmp_path: Path
) -> None:
    save_quantized(small_model_folder, tmp_path / "folder", bits)
    plain, _ = load_any_model(small_model_folder)
    quantized, config = load_any_model(tmp_path / "folder")
    assert config == plain.config
    assert is_quantized(quantized)
    assert not is_quantized(plain)
    ids = torch.arange(100)[None]
    with torch.no_grad():
        expected, found = plain.logits(plain(ids)), quantized.logits(quantized(ids))
        # Random weights of this size magnify every error.
        assert 0 < (found - expected).norm() / expected.norm() < (0.9 if bits == 4 else 0.1)
        again = dequantize_model(quantized)
        exact = again.logits(again(ids))
    assert (found - exact).norm() / exact.norm() < 0.1
    stored = load_file(tmp_path / "folder" / "model.safetensors")
    assert len([name for name in stored if "proj" in name]) == 2 * 7 * 2
    kinds = {tensor.dtype for name, tensor in stored.items() if name.endswith("proj.weight")}
    assert kinds == {torch.uint8 if bits == 4 else torch.int8}


def test_the_same_weights_give_the_same_bytes(small_model_folder: Path, int8_folder: Path) -> None:
    before = {file.name: file.read_bytes() for file in int8_folder.iterdir()}
    save_quantized(small_model_folder, int8_folder, 8)
    assert {file.name: file.read_bytes() for file in int8_folder.iterdir()} == before
    assert "tokenizer.model" in before
    assert "generation_config.json" in before


def test_programs_that_do_not_know_the_method_refuse_the_folder(int8_folder: Path) -> None:
    with pytest.raises((ValueError, KeyError), match="tongwen_quantized_llama"):
        AutoModelForCausalLM.from_pretrained(int8_folder)
    with pytest.raises(InputError, match="tongwen_quantized_llama"):
        load_model_folder(int8_folder)


def test_weights_quantized_by_another_method_are_refused(int8_folder: Path) -> None:
    values = json.loads((int8_folder / "config.json").read_text())
    values |= {"model_type": "llama", "quantization_config": {"quant_method": "awq"}}
    (int8_folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="'awq'"):
        load_any_model(int8_folder)


def test_damaged_weights_are_refused(int8_folder: Path) -> None:
    weights = int8_folder / "model.safetensors"
    config = int8_folder / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"hidden_size": 64', '"hidden_size": 128'))
    with pytest.raises(InputError, match="shape"):
        load_any_model(int8_folder)
    config.write_text(whole)
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot read"):
        load_any_model(int8_folder)
    weights.unlink()
    with pytest.raises(InputError, match="lacks"):
        load_any_model(int8_folder)
