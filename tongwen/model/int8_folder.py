"""Model folders with int8 weights, and one loader for every model folder."""

import shutil
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
from tongwen.model.int8_linear import QuantizedLinear, quantize_weight
from tongwen.model.llama import Llama
from tongwen.tokenizer.folder import GENERATION_FILE, copy_tokenizer

MODEL_TYPE = "tongwen_int8_llama"
"""`model_type` in `config.json`. transformers 5.23 only warns of a `quant_method` that it does
not know and loads the integers as weights; a model type that it does not know it refuses."""

_SCALE_SUFFIX = ".weight_scale"


def quantize_model(model: Llama) -> list[str]:
    """Replace the model's projections by int8 ones; gives the names of those replaced.

    Embedding and norms stay, and so does an output head that shares the embedding's weight.
    """
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if model.config.tie_word_embeddings:
        names.remove("lm_head")
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        _replace(model, name, QuantizedLinear(*quantize_weight(linear.weight), linear.bias))
    return names


def save_quantized_folder(path: Path, model: Llama, source: Path, names: list[str]) -> None:
    """Write an int8 model as a folder, with the other files of the folder it was made from.

    The same weights give the same bytes. What stood at `path` before is replaced.

    Args:
        path: the folder.
        model: after `quantize_model`.
        source: the model folder it was loaded from.
        names: of the int8 projections.

    Raises:
        DiskFullError: no space is left.
    """
    partial = path.with_name(f".{path.name}.partial")
    remove_tree(partial)
    with disk_errors(path):
        partial.mkdir(parents=True)
        values = read_json(source / "config.json")
        values["architectures"] = ["TongwenInt8LlamaForCausalLM"]
        base_model_type = values["model_type"]
        values["model_type"] = MODEL_TYPE
        values["quantization_config"] = {
            "base_model_type": base_model_type,
            "quant_method": "tongwen-int8",
            "bits": 8,
            "scheme": "weight only, symmetric, one bfloat16 scale for each output channel",
            "modules": names,
        }
        write_json(partial / "config.json", values)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            del tensors["lm_head.weight"]
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
    """The model of a folder, with plain weights or with int8 ones, ready to run.

    Args:
        path: folder with `config.json`, safetensors weights and a tokenizer.
        dtype: of activations and of plain weights; as stored when absent.
        device: where the weights go.

    Raises:
        InputError: see `load_model_folder`; or the weights are quantized by another method.
    """
    values = _config_values(path)
    if is_int8_folder(path):
        model = _load_int8(path, values, dtype, device)
    elif quantization := values.get("quantization_config"):
        raise InputError(
            f"{path} is quantized by {quantization.get('quant_method')!r}, which cannot be read",
            hint="give the folder with plain weights, and quantize it with `tongwen quantize`",
        )
    else:
        model, _ = load_model_folder(path, dtype, device)
    return model.eval().requires_grad_(False), model.config


def is_int8_folder(path: Path) -> bool:
    """Whether the folder's weights are int8, as `tongwen quantize` writes them."""
    return _config_values(path).get("model_type") == MODEL_TYPE


def _config_values(path: Path) -> dict[str, Any]:
    """The values of `config.json`; an empty dictionary leaves the complaint to the loader."""
    try:
        values = read_json(path / "config.json")
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _load_int8(
    path: Path,
    values: dict[str, Any],
    dtype: torch.dtype | None,
    device: torch.device | str,
) -> Llama:
    source = str(path / "config.json")
    base = values["quantization_config"].get("base_model_type", "llama")
    config = ModelConfig.from_huggingface(values | {"model_type": base}, source)
    with torch.device("meta"):
        model = Llama(config)
        for name in values["quantization_config"]["modules"]:
            linear = model.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            shape = (linear.out_features, linear.in_features)
            int8 = torch.empty(shape, dtype=torch.int8)
            scale = torch.empty(shape[0])
            _replace(model, name, QuantizedLinear(int8, scale, linear.bias))
    file = path / WEIGHTS
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(file, framework="pt", device=str(device)) as handle:
            for name in handle.keys():  # noqa: SIM118 - not a dictionary
                tensor = handle.get_tensor(name)
                stays = tensor.dtype == torch.int8 or name.endswith(_SCALE_SUFFIX)
                # A copy: in the mapped file a tensor may start where the fast kernel cannot read.
                tensors[name] = tensor.clone() if stays else tensor.to(dtype or tensor.dtype)
        if config.tie_word_embeddings:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        model.load_state_dict(tensors, assign=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} lacks {WEIGHTS}", hint="run `tongwen quantize` again") from error
    except (SafetensorError, OSError, RuntimeError, KeyError) as error:
        raise InputError(
            f"cannot read {file}: {error}", hint="run `tongwen quantize` again"
        ) from error
    return model


def _replace(model: Llama, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
