"""The peak speed that a run's MFU is a share of."""

import time
from functools import cache

import torch

from tongwen.model.device import Arithmetic

_PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12}
"""Dense bfloat16 operations a second by the vendor's data sheet (SXM), by a part of the name."""


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
