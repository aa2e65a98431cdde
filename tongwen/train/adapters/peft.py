"""Adapters as a folder that PEFT reads: `adapter_config.json` and `adapter_model.safetensors`."""

import uuid
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tongwen.files import disk_errors, remove_tree, sync_directory, write_json
from tongwen.model.llama import Llama
from tongwen.train.adapters.lora import adapters_of
from tongwen.train.adapters.settings import LoraSettings

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the name of each module of a causal language model."""


def write_adapter_folder(path: Path, model: Llama, settings: LoraSettings, base_name: str) -> None:
    """Write the adapters of `model` to `path`, whole or not at all; equal adapters give equal
    bytes.

    Args:
        path: the folder; what it was before is replaced.
        model: with adapters.
        settings: of the adapters.
        base_name: folder or Hugging Face name of the base, which PEFT loads.

    Raises:
        DiskFullError: no space is left.
    """
    tensors = {}
    for name, adapter in adapters_of(model).items():
        for matrix in ("lora_A", "lora_B"):
            tensor = getattr(adapter, matrix).detach().float().cpu().contiguous()
            tensors[f"{PREFIX}{name}.{matrix}.weight"] = tensor
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            partial.mkdir(parents=True)
            write_json(partial / ADAPTER_CONFIG, _config(settings, base_name))
            save_file(tensors, partial / ADAPTER_WEIGHTS, metadata={"format": "pt"})
            for file in partial.iterdir():
                file.chmod(0o644)
            partial.chmod(0o755)
            remove_tree(path)
            partial.rename(path)
            sync_directory(path.parent)
    finally:
        remove_tree(partial)


def _config(settings: LoraSettings, base_name: str) -> dict[str, Any]:
    return {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": settings.rank,
        "target_modules": list(settings.targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
