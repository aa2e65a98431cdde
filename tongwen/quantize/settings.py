"""Settings of the quantize stage."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings:
    """Weight-only quantization."""

    weights: Literal["int8"] = "int8"
