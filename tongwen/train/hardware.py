"""How much of the machine a run uses: memory, and the share of its peak speed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from tongwen.flow.memory import peak_memory_bytes
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic
from tongwen.model.flops import flops_per_token
from tongwen.train.settings import TrainSettings

_PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12}
"""Dense bfloat16 operations a second by the vendor's data sheet (SXM), by a part of the name."""


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Numbers too small for their exponent count as zero in the body, on CPUs that can do that."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Utilization:
    """What a run uses of `processes` machines like this one."""

    def __init__(
        self, config: ModelConfig, settings: TrainSettings, arithmetic: Arithmetic, processes: int
    ) -> None:
        self._device = arithmetic.device
        self._flops = flops_per_token(
            config,
            settings.sequence_tokens,
            has_head_gradient=settings.head_gradient_samples is None,
        )
        self._peak = peak_flops_per_second(arithmetic)
        self._processes = processes

    def at(self, tokens_per_second: float) -> dict[str, float]:
        """Memory, and the share of peak speed in both ways of counting attention."""
        if self._device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self._device)
        else:
            memory = peak_memory_bytes()
        found: dict[str, float] = {"peak_memory_bytes": memory}
        if self._peak is None:
            return found
        share = tokens_per_second / self._peak / self._processes
        return found | {
            "mfu_full": round(self._flops.full * share, 4),
            "mfu_causal": round(self._flops.causal * share, 4),
        }


def peak_flops_per_second(arithmetic: Arithmetic) -> float | None:
    """What MFU is a share of: a GPU's data sheet; of a CPU the speed of a large product, measured
    now. None for a GPU that is not in the table or another dtype on it.
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
