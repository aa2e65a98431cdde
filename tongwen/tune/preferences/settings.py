"""Settings of preference tuning."""

from dataclasses import dataclass

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class DpoSettings:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) on pairs of a better
    and a worse answer. The reference is the model that the run starts from.
    """

    beta: float = 0.1
    """How strongly the reference holds the model; larger keeps closer to it."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise RecipeError(
                f"beta is {self.beta}", hint="use a number greater than 0, such as 0.1"
            )
