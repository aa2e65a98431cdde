"""What this machine trains on, and in which precision."""

from dataclasses import dataclass
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
        return torch.device("cuda")
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
