"""Settings of the extend stage."""

from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.train.settings import TextSettings


@dataclass(frozen=True, kw_only=True)
class ExtendSettings(TextSettings):
    """Continue on longer sequences with a larger RoPE base.

    Source: Xiong et al. 2023, arXiv:2309.16039.
    """

    rope_theta: float = 10_000_000.0
    """Base of the rotary position embedding from now on; no smaller than the model's."""
    separate_documents: bool = False
    """Documents see those before them: otherwise short documents would teach no long distance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rope_theta <= 0:
            raise RecipeError(
                f"rope_theta is {self.rope_theta}", hint="use a number greater than 0"
            )
