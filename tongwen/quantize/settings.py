"""Settings of the quantize stage."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class QuantizeSettings:
    """Weights as small integers, with a float16 scale for each 32 inputs."""

    weights: Literal["int8", "int4"] = "int8"
    """Type of the weights of the layers' projections."""

    edge_weights: Literal["int8", "int4"] = "int8"
    """Type of the embedding and the output head, which int4 hurts most."""

    method: Literal["nearest", "gptq"] = "gptq"
    """How int4 weights are rounded: each to the nearest step, or so that a projection's outputs on
    calibration text change little. int8 weights always go to the nearest step; without text int4
    weights do too, and the log says so."""

    texts: tuple[str, ...] = ()
    """Files of plain UTF-8 text to calibrate and to measure on, best one for each language; instead
    of the run's validation text."""

    quality_tokens: int = 16_384
    """Tokens of each language on which the models before and after are compared."""

    calibration_tokens: int = 32_768
    """Further tokens of each language on which `gptq` calibrates."""

    def __post_init__(self) -> None:
        for name in ("quality_tokens", "calibration_tokens"):
            if (value := getattr(self, name)) < 1:
                raise RecipeError(f"quantize.{name} is {value}", hint="use 1 or more")
