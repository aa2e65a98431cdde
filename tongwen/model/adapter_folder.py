"""Adapters as a folder that PEFT reads: `adapter_config.json` and `adapter_model.safetensors`."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tongwen.files import disk_errors, remove_tree, sync_directory, write_json

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before the name of each module of a causal language model."""


def write_adapter_folder(
    path: Path,
    matrices: Mapping[str, tuple[Tensor, Tensor]],
    *,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    base_name: str,
) -> None:
    """Write adapters to `path`, whole or not at all; equal adapters give equal bytes.

    Args:
        path: the folder; what it was before is replaced.
        matrices: name of a projection -> A, (rank, inputs), and B, (outputs, rank); not empty.
        alpha: B A is multiplied by alpha / rank.
        dropout: that they were trained with.
        targets: last parts of the projections' names.
        base_name: folder or Hugging Face name of the base, which PEFT loads.

    Raises:
        DiskFullError: no space is left.
    """
    tensors = {
        f"{PREFIX}{name}.{matrix}.weight": tensor.detach().float().cpu().contiguous()
        for name, pair in matrices.items()
        for matrix, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
    }
    config = {
        "base_model_name_or_path": base_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": len(next(iter(matrices.values()))[0]),
        "target_modules": list(targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            partial.mkdir(parents=True)
            write_json(partial / ADAPTER_CONFIG, config)
            save_file(tensors, partial / ADAPTER_WEIGHTS, metadata={"format": "pt"})
            for file in partial.iterdir():
                file.chmod(0o644)
            partial.chmod(0o755)
            remove_tree(path)
            partial.rename(path)
            sync_directory(path.parent)
    finally:
        remove_tree(partial)
