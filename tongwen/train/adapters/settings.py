"""Settings of adapters."""

from dataclasses import dataclass

from tongwen.errors import RecipeError

PROJECTIONS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)
"""The projections of a layer, as Hugging Face names them."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): each projection W becomes
    W + alpha / rank B A, and only A and B are trained.
    """

    rank: int = 16
    """Rank of the adapters: rows of A and columns of B."""
    alpha: float = 32.0
    """The adapters' product is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs that each training pass leaves out."""
    targets: tuple[str, ...] = PROJECTIONS
    """Projections that get an adapter, in every layer."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise RecipeError(f"rank is {self.rank}", hint="use 1 or more, such as 16")
        if not self.alpha > 0:
            raise RecipeError(f"alpha is {self.alpha}", hint="use a number greater than 0")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"dropout is {self.dropout}", hint="use a number from 0 to below 1")
        unknown = [name for name in self.targets if name not in PROJECTIONS]
        if unknown or not self.targets:
            wrong = f"targets names {unknown[0]!r}" if unknown else "targets is empty"
            raise RecipeError(wrong, hint=f"projections: {', '.join(PROJECTIONS)}")
