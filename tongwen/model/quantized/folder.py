"""Model folders with int4 or int8 weights, and one loader for every model folder."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tongwen.errors import InputError
from tongwen.files import disk_errors, read_json, remove_tree, sync_directory, write_json
from tongwen.model.config import ModelConfig
from tongwen.model.folder import WEIGHTS, load_model_folder
from tongwen.model.llama import Llama
from tongwen.model.quantized.grid import Bits
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear
from tongwen.tokenizer.folder import GENERATION_FILE, copy_tokenizer

MODEL_TYPE = "tongwen_quantized_llama"
"""`model_type` in `config.json`. transformers 5.23 only warns of a `quant_method` that it does
not know and loads the integers as weights; a model type that it does not know it refuses."""

_METHOD = "tongwen-groups"
_WEIGHT, _SCALE = ".weight", ".weight_scale"
_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"


def projections(model: Llama) -> dict[str, nn.Linear]:
    """The model's plain projections by name, without a head that shares the embedding's weight."""
    found = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    if model.config.tie_word_embeddings:
        found.pop(_HEAD, None)
    return found


def quantize_model(
    model: Llama,
    bits: Bits = 8,
    edge_bits: Bits = 8,
    rounded: Mapping[str, QuantizedLinear] = {},
) -> list[str]:
    """Replace the model's projections and its embedding by quantized ones; norms stay.

    Args:
        model: with plain weights; changed in place.
        bits: of the projections in the layers.
        edge_bits: of the embedding and of the output head.
        rounded: projections that were rounded already, by name; the others go to the nearest step.

    Returns:
        The names of all that are quantized now.
    """
    names = list(projections(model))
    dtype = model.model.norm.weight.dtype
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        width = edge_bits if name == _HEAD else bits
        replace(model, name, rounded.get(name) or QuantizedLinear.of(linear, width))
    size = (model.config.hidden_size, model.config.vocabulary_size)
    table = nn.Linear(*size, bias=False, device="meta")
    table.weight = nn.Parameter(model.model.embed_tokens.weight.detach(), requires_grad=False)
    _set_embedding(model, QuantizedLinear.of(table, edge_bits), dtype)
    return [*names, _EMBEDDING]


def dequantize_model(model: Llama) -> Llama:
    """A plain model whose weights are the numbers that the quantized ones stand for."""
    dtype = model.model.norm.weight.dtype
    state = dict(model.state_dict())
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear):
            state[_stored_name(name) + _WEIGHT] = module.dequantize(dtype)
    if model.config.tie_word_embeddings:
        state[_HEAD + _WEIGHT] = state[_EMBEDDING + _WEIGHT]
    with torch.device("meta"):
        plain = Llama(model.config)
    plain.load_state_dict(state, assign=True)
    if model.config.tie_word_embeddings:
        plain.lm_head.weight = plain.model.embed_tokens.weight
    return plain


def is_quantized(model: Llama) -> bool:
    """Whether any weight of the model is int4 or int8."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def save_quantized_folder(path: Path, model: Llama, source: Path, names: list[str]) -> None:
    """Write a quantized model as a folder, with the other files of the folder it was made from.

    The same weights give the same bytes. What stood at `path` before is replaced.

    Args:
        path: the folder.
        model: after `quantize_model`.
        source: the model folder it was loaded from.
        names: of the quantized modules.

    Raises:
        DiskFullError: no space is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    remove_tree(partial)
    with disk_errors(path):
        partial.mkdir(parents=True)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        bits = {}
        for name in names:
            module = model.get_submodule(name)
            matrix = module.matrix if isinstance(module, QuantizedEmbedding) else module
            assert isinstance(matrix, QuantizedLinear)
            rows, scales = matrix.stored()
            tensors[name + _WEIGHT], tensors[name + _SCALE] = rows.contiguous(), scales.contiguous()
            bits[name] = matrix.bits
        values = read_json(source / "config.json")
        base_model_type = values["model_type"]
        values["architectures"] = ["TongwenQuantizedLlamaForCausalLM"]
        values["model_type"] = MODEL_TYPE
        values["quantization_config"] = {
            "base_model_type": base_model_type,
            "quant_method": _METHOD,
            "scheme": "symmetric, a float16 scale for each 32 inputs; int4 as Q4_0, int8 as Q8_0",
            "group_size": 32,
            "bits": bits,
        }
        write_json(partial / "config.json", values)
        save_file(tensors, partial / WEIGHTS, metadata={"format": "pt"})
        copy_tokenizer(source, partial)
        if (source / GENERATION_FILE).is_file():
            shutil.copyfile(source / GENERATION_FILE, partial / GENERATION_FILE)
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors lets nobody else read
        remove_tree(path)
        partial.rename(path)
        sync_directory(path.parent)


def load_any_model(
    path: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[Llama, ModelConfig]:
    """The model of a folder, with plain, int4 or int8 weights, ready to run.

    Args:
        path: folder with `config.json`, safetensors weights and a tokenizer.
        dtype: of activations and of plain weights; as stored when absent.
        device: where the weights go.

    Raises:
        InputError: see `load_model_folder`; or the weights are quantized by another method.
    """
    values = _config_values(path)
    if is_quantized_folder(path):
        model = _load_quantized(path, values, dtype).to(device)
    elif quantization := values.get("quantization_config"):
        raise InputError(
            f"{path} is quantized by {quantization.get('quant_method')!r}, which cannot be read",
            hint="quantize the folder with plain weights again: tongwen quantize FOLDER --out DIR",
        )
    else:
        model, _ = load_model_folder(path, dtype, device)
    return model.eval().requires_grad_(False), model.config


def is_quantized_folder(path: Path) -> bool:
    """Whether the folder's weights are int4 or int8, as `tongwen quantize` writes them."""
    return _config_values(path).get("model_type") == MODEL_TYPE


def base_config_values(path: Path) -> dict[str, Any]:
    """The `config.json` of a quantized folder as that of the model it was made from."""
    values = _config_values(path)
    base = values["quantization_config"].get("base_model_type", "llama")
    return values | {"model_type": base}


def replace(model: Llama, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of that name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _config_values(path: Path) -> dict[str, Any]:
    """The values of `config.json`; an empty dictionary leaves the complaint to the loader."""
    try:
        values = read_json(path / "config.json")
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _set_embedding(model: Llama, matrix: QuantizedLinear, dtype: torch.dtype) -> None:
    model.model.embed_tokens = QuantizedEmbedding(matrix, dtype)  # type: ignore[assignment]
    if model.config.tie_word_embeddings:
        model.lm_head = matrix  # type: ignore[assignment]


def _stored_name(module_name: str) -> str:
    """An embedding's matrix has the embedding's name in a folder."""
    return re.sub(r"\.matrix$", "", module_name)


def _load_quantized(path: Path, values: dict[str, Any], dtype: torch.dtype | None) -> Llama:
    config = ModelConfig.from_huggingface(base_config_values(path), str(path / "config.json"))
    with torch.device("meta"):
        model = Llama(config)
    file = path / WEIGHTS
    again = "run `tongwen quantize` again"
    try:
        names = list(values["quantization_config"]["bits"])
        with safe_open(file, framework="pt") as handle:
            stored = set(handle.keys())
            plain: dict[str, Tensor] = {
                name: handle.get_tensor(name).to(dtype)
                for name in sorted(stored)
                if not _belongs(name, names)
            }
            activations = plain["model.norm.weight"].dtype
            for name in names:
                rows, scales = handle.get_tensor(name + _WEIGHT), handle.get_tensor(name + _SCALE)
                bias = plain.get(name + ".bias")
                _place(model, name, rows, scales, bias, activations)
        model.load_state_dict(plain, assign=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} lacks {WEIGHTS}", hint=again) from error
    except (SafetensorError, OSError, RuntimeError, KeyError, AttributeError) as error:
        raise InputError(f"cannot read {file}: {error}", hint=again) from error
    return model


def _belongs(name: str, quantized: list[str]) -> bool:
    return name.removesuffix(_SCALE).removesuffix(_WEIGHT) in quantized


def _place(
    model: Llama, name: str, rows: Tensor, scales: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> None:
    """Put stored weights into the model, if they have the shape that its configuration says."""
    module = model.get_submodule(name)
    if isinstance(module, nn.Embedding):
        outputs, inputs = module.num_embeddings, module.embedding_dim
    else:
        assert isinstance(module, nn.Linear)
        outputs, inputs = module.out_features, module.in_features
    groups = -(-inputs // 32)
    width = 32 if rows.dtype == torch.int8 else 16
    if rows.shape != (outputs, groups, width) or scales.shape != (outputs, groups):
        raise RuntimeError(
            f"{name} has shape {tuple(rows.shape)}, expected {(outputs, groups, width)}"
        )
    matrix = QuantizedLinear(rows, scales, inputs, bias)
    if name == _EMBEDDING:
        _set_embedding(model, matrix, dtype)
    else:
        replace(model, name, matrix)
