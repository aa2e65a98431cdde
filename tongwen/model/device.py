"""Where a model computes and in which dtype: what `device` and `precision` mean in every section.

`device = "auto"` is the GPU where torch sees one (under torchrun this process's own), else the CPU.

`precision = "auto"` is bfloat16 where the hardware multiplies it, else float32, with one exception.
A CPU answers in float32 even if it multiplies bfloat16: in bfloat16 a near tie between two tokens
would fall differently in another batch.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import psutil
import torch

from tongwen.errors import InputError

DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "bf16", "fp32"]


def free_memory_bytes(device: torch.device) -> int:
    """Memory of a GPU, or of the machine for a CPU, that nothing uses now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@dataclass(frozen=True)
class Arithmetic:
    """Where a model computes, and the dtype of its activations."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def for_training(cls, device: DeviceName, precision: Precision) -> "Arithmetic":
        """What a training run computes in; its weights are always float32.

        Raises:
            InputError: a GPU is asked for and torch sees none.
        """
        chosen = choose_device(device)
        has_bf16 = chosen.type == "cuda" or cpu_multiplies_bf16()
        return cls(chosen, _dtype(precision, has_bf16))

    @classmethod
    def for_answers(cls, device: DeviceName, precision: Precision) -> "Arithmetic":
        """What evaluation and serving compute in; weights that are not quantized have this dtype.

        Raises:
            InputError: a GPU is asked for and torch sees none.
        """
        chosen = choose_device(device)
        return cls(chosen, _dtype(precision, chosen.type == "cuda"))


def choose_device(name: DeviceName) -> torch.device:
    """The device of that name.

    Raises:
        InputError: a GPU is asked for and torch sees none.
    """
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    if name == "cuda":
        raise InputError(
            'device is "cuda", but torch sees no GPU here',
            hint='use device = "auto" or "cpu"; `tongwen doctor` lists the GPUs that torch sees',
        )
    return torch.device("cpu")


@cache
def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has AVX512-BF16, AMX or Arm's BF16 matrix instructions."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    flags = set()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            flags.update(line.partition(":")[2].split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _dtype(precision: Precision, prefers_bf16: bool) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if prefers_bf16 else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32
