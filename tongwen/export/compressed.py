"""int4 weights as compressed-tensors packs them, which vLLM, SGLang and transformers read."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tongwen.errors import InputError
from tongwen.files import disk_errors, read_json, remove_tree, sync_directory, write_json
from tongwen.model.folder import WEIGHTS
from tongwen.model.quantized import grid
from tongwen.model.quantized.folder import (
    base_config_values,
    dequantize_model,
    is_quantized,
    is_quantized_folder,
    load_any_model,
    projections,
)
from tongwen.model.quantized.linear import QuantizedLinear
from tongwen.tokenizer.folder import GENERATION_FILE, copy_tokenizer

_SCHEME: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": grid.GROUP,
                "dynamic": False,
            },
            "input_activations": None,
            "output_activations": None,
        }
    },
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
}


def write_compressed(folder: Path, target: Path) -> None:
    """Write a model folder with the projections of its layers in int4, groups of 32.

    int4 weights keep their steps and scales; plain ones go to the nearest step, and int8 ones are
    turned into numbers first. Embedding, head and norms are float16, as the scales are.

    Args:
        folder: with plain, int4 or int8 weights and a tokenizer.
        target: replaced when it is there.

    Raises:
        InputError: a projection's inputs are not a multiple of 32.
        DiskFullError: no space is left.
    """
    model, _ = load_any_model(folder)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantizedLinear) and module.bits == 4 and "layers." in name
    }
    if is_quantized(model):
        model = dequantize_model(model)
    for name, linear in projections(model).items():
        if name != "lm_head" and name not in layers:
            layers[name] = QuantizedLinear.of(linear, 4)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    for name, matrix in layers.items():
        if matrix.in_features % grid.GROUP:
            raise InputError(
                f"{name} has {matrix.in_features:,} inputs, no multiple of {grid.GROUP}",
                hint="export plain weights: tongwen export FOLDER --out DIR",
            )
        rows, scales = matrix.stored()
        del state[f"{name}.weight"]
        state[f"{name}.weight_packed"] = pack(grid.from_bytes(rows).flatten(1))
        state[f"{name}.weight_scale"] = scales
        state[f"{name}.weight_shape"] = torch.tensor([matrix.out_features, matrix.in_features])
    values = base_config_values(folder) if is_quantized_folder(folder) else {}
    values = values or read_json(folder / "config.json")
    names = {"qwen3": "Qwen3", "qwen2": "Qwen2", "mistral": "Mistral", "minicpm": "MiniCPM"}
    architecture = names.get(values["model_type"], "Llama")
    values |= {
        "architectures": [f"{architecture}ForCausalLM"],
        "torch_dtype": "float16",
        "dtype": "float16",
        "quantization_config": _SCHEME,
    }
    partial = target.with_name(f".{target.name}.partial")
    remove_tree(partial)
    with disk_errors(target):
        partial.mkdir(parents=True)
        write_json(partial / "config.json", values)
        contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(contiguous, partial / WEIGHTS, metadata={"format": "pt"})
        copy_tokenizer(folder, partial)
        if (folder / GENERATION_FILE).is_file():
            shutil.copyfile(folder / GENERATION_FILE, partial / GENERATION_FILE)
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors lets nobody else read
        remove_tree(target)
        partial.rename(target)
        sync_directory(target.parent)


def pack(steps_ON: Tensor) -> Tensor:
    """Steps -8..7, eight to an int32, the first in the lowest bits, each plus 8: (O, N / 8)."""
    shifted = (steps_ON.to(torch.int32) + 8).reshape(len(steps_ON), -1, 8)
    places = torch.arange(0, 32, 4, dtype=torch.int32)
    packed: Tensor = (shifted << places).sum(-1, dtype=torch.int32)
    return packed
