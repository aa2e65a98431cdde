"""What this machine trains on, and in which precision."""

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from tongwen.errors import InputError
from tongwen.train.settings import TrainSettings


@dataclass(frozen=True)
class Arithmetic:
    """Where a run computes, and the dtype of its activations; weights are always float32."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, settings: TrainSettings) -> "Arithmetic":
        """What the settings ask for; where they leave it open, the fastest there is.

        Raises:
            InputError: a GPU is asked for and torch sees none.
        """
        device = _device(settings)
        if settings.precision == "auto":
            has_bf16 = device.type == "cuda" or cpu_multiplies_bf16()
            return cls(device, torch.bfloat16 if has_bf16 else torch.float32)
        return cls(device, torch.bfloat16 if settings.precision == "bf16" else torch.float32)


def _device(settings: TrainSettings) -> torch.device:
    if settings.device == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device
    if settings.device == "cuda":
        raise InputError(
            "device is cuda, but torch sees no GPU here", hint='use device = "auto" or "cpu"'
        )
    return torch.device("cpu")


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


_PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12}
"""Dense bfloat16 operations a second by the vendor's data sheet (SXM), by a part of the name."""


def peak_flops_per_second(arithmetic: Arithmetic) -> float | None:
    """What MFU is a share of: a GPU's data sheet; of a processor the speed of a large product,
    measured now. None for a GPU that is not in the table or another dtype on it.
    """
    if arithmetic.device.type == "cuda":
        name = torch.cuda.get_device_name(arithmetic.device)
        found = [peak for part, peak in _PEAKS.items() if part in name]
        return found[0] if found and arithmetic.dtype == torch.bfloat16 else None
    return _product_flops_per_second(arithmetic.dtype)


@cache
def _product_flops_per_second(dtype: torch.dtype) -> float:
    """The best of half a second: one product alone may meet other work or sleeping threads."""
    size = 2_048
    left, right = torch.ones(2, size, size, dtype=dtype)
    fastest = float("inf")
    begun = time.perf_counter()
    while time.perf_counter() - begun < 0.5:
        started = time.perf_counter()
        _ = left @ right
        fastest = min(fastest, time.perf_counter() - started)
    return 2.0 * size**3 / fastest
