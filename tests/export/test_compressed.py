"""int4 folders for vLLM and SGLang: unpacked by the words of the format, they are our numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

from tongwen.cli.export import command
from tongwen.files import read_json
from tongwen.model.folder import load_model_folder
from tongwen.model.quantized.folder import quantize_model, save_quantized_folder


def unpacked(tensors: dict[str, Tensor], name: str) -> Tensor:
    """A weight by the format's description: nibble i of an integer is input 8 j + i, plus 8."""
    words = tensors[f"{name}.weight_packed"].numpy().view(np.uint32)
    nibbles = np.stack([words >> np.uint32(4 * place) & np.uint32(15) for place in range(8)], -1)
    outputs, inputs = tensors[f"{name}.weight_shape"].tolist()
    steps = torch.from_numpy(nibbles.reshape(outputs, inputs).astype(np.int64)) - 8
    scales = tensors[f"{name}.weight_scale"].float().repeat_interleave(32, dim=1)
    return steps * scales


@pytest.mark.parametrize("is_quantized_before", [False, True])
def test_unpacked_weights_are_those_of_our_int4(
    small_model_folder: Path, tmp_path: Path, is_quantized_before: bool
) -> None:
    model, _ = load_model_folder(small_model_folder)
    names = quantize_model(model.requires_grad_(False), 4)
    folder, out = small_model_folder, tmp_path / "out"
    if is_quantized_before:
        folder = tmp_path / "int4"
        save_quantized_folder(folder, model, small_model_folder, names)
    CliRunner().invoke(
        command,
        [str(folder), "--format", "compressed-tensors", "--out", str(out)],
        catch_exceptions=False,
    )
    tensors = load_file(out / "model.safetensors")
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        expected = model.model.layers[1].get_submodule(name).dequantize()  # type: ignore[operator]
        assert torch.equal(unpacked(tensors, f"model.layers.1.{name}"), expected)
    assert tensors["lm_head.weight"].dtype == tensors["model.norm.weight"].dtype == torch.float16
    assert not any(name.endswith("_proj.weight") for name in tensors), "a projection is there twice"
    config = read_json(out / "config.json")
    assert config["model_type"] == "llama"
    assert config["architectures"] == ["LlamaForCausalLM"]
    scheme = config["quantization_config"]
    assert (scheme["quant_method"], scheme["format"]) == ("compressed-tensors", "pack-quantized")
    assert scheme["config_groups"]["group_0"]["weights"]["group_size"] == 32
    assert (out / "tokenizer.json").is_file()
    assert read_json(out / "generation_config.json")["eos_token_id"] == [2, 7]
