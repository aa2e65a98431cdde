"""Adapters in a folder of their own, which PEFT can load on the base model."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tongwen.errors import InputError
from tongwen.files import read_json, remove_tree
from tongwen.model.adapter_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, PREFIX
from tongwen.model.folder import read_config
from tongwen.model.llama import Llama
from tongwen.tokenizer.folder import copy_tokenizer


def find_adapter(model_folder: Path) -> Path:
    """The adapters that a merged model was made of.

    Raises:
        InputError: there are none.
    """
    folder = model_folder.parent / "adapter"
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise InputError(
            f"there are no adapters for the model in {model_folder}: no {ADAPTER_WEIGHTS} in "
            f"{folder}",
            hint="tune with [tune.lora], or leave export.adapter out",
        )
    return folder


def copy_adapter(folder: Path, tokenizer_folder: Path, target: Path) -> Mapping[str, Any]:
    """Copy adapters with their tokenizer to `target`, made anew; returns their configuration."""
    remove_tree(target)
    target.mkdir(parents=True)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        shutil.copyfile(folder / name, target / name)
    copy_tokenizer(tokenizer_folder, target)
    config: Mapping[str, Any] = read_json(target / ADAPTER_CONFIG)
    return config


def check_adapter(folder: Path, merged: Path) -> int:
    """Check that adapters fit the model they were merged into; returns how many numbers they have.

    Args:
        folder: of the adapters.
        merged: folder of the merged model.

    Raises:
        InputError: they cannot be read, are damaged, or are for another shape.
    """
    with torch.device("meta"):
        model = Llama(read_config(merged))
    shapes = {name: item.shape for name, item in model.named_parameters()}
    numbers = 0
    try:
        with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as handle:
            names = sorted({name.rpartition(".lora_")[0] for name in handle.keys()})  # noqa: SIM118
            for name in names:
                low, high = (handle.get_tensor(f"{name}.lora_{matrix}.weight") for matrix in "AB")
                numbers += low.numel() + high.numel()
                if shapes.get(name.removeprefix(PREFIX) + ".weight") != (len(high), low.shape[1]):
                    raise InputError(f"{folder}: {name} does not fit the model in {merged}")
                if not (low.isfinite().all() and high.isfinite().all()):
                    raise InputError(f"{folder}: {name} holds values that are NaN or infinite")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"cannot read {folder / ADAPTER_WEIGHTS}: {error}", hint="tune again"
        ) from error
    return numbers
