"""Settings of the quantize stage."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings:
    """Weight-only quantization."""

    weights: Literal["int8"] = "int8"
    quality_tokens: int = 16_384
    """Validation tokens per language that the model is compared on, before and after."""

    def __post_init__(self) -> None:
        if self.quality_tokens < 1:
            raise RecipeError(
                f"quantize.quality_tokens is {self.quality_tokens}", hint="use 1 or more"
            )
