"""Settings shared by pretrain, extend and tune."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One optimisation run. Units are in the names; tokens are tokenizer tokens."""

    max_tokens: int
    """Stop after this many training tokens, rounded up to whole batches."""
    sequence_tokens: int = 4_096
    separate_documents: bool = True
    """Documents packed into one sequence do not see each other, and positions restart."""
    batch_tokens: int = 4_194_304
    """Tokens per optimizer step, over all micro-batches and processes."""
    micro_batch_tokens: int | None = None
    """Tokens per forward pass; the whole batch when absent."""
    peak_learning_rate: float = 3e-4
    final_learning_rate_share: float = 0.1
    """Learning rate at the end, as a share of the peak."""
    warmup_share: float = 0.02
    """Share of the tokens over which the rate rises from zero."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon` moves the layers' matrices by Muon and the rest by AdamW, at the same rate."""
    weight_decay: float = 0.1
    """Of matrices; norms do not decay."""
    adam_betas: tuple[float, float] = (0.9, 0.95)
    muon_momentum: float = 0.95
    gradient_clip: float = 1.0
    """Largest norm of the whole gradient."""
    checkpoint_every_steps: int = 1_000
    keep_checkpoints: int = 2
    evaluate_every_steps: int = 500
    validation_tokens: int = 1_000_000
    """Tokens of each validation language that are scored, at most."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the CPU or GPU multiplies it in hardware, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 1862

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return -(-self.max_tokens // self.batch_tokens)

    @property
    def sequences_per_batch(self) -> int:
        return self.batch_tokens // self.sequence_tokens

    @property
    def sequences_per_micro_batch(self) -> int:
        return (self.micro_batch_tokens or self.batch_tokens) // self.sequence_tokens

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"{name} is {value}", hint="use a number greater than 0")
        for name in ("warmup_share", "final_learning_rate_share", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise RecipeError(f"{name} is {value}", hint="use a number from 0 to 1")
        for beta in self.adam_betas:
            if not 0 <= beta < 1:
                raise RecipeError(
                    f"adam_betas are {self.adam_betas}", hint="each is at least 0 and below 1"
                )
        micro_batch_tokens = self.micro_batch_tokens or self.batch_tokens
        if micro_batch_tokens % self.sequence_tokens:
            name = "micro_batch_tokens" if self.micro_batch_tokens else "batch_tokens"
            raise RecipeError(
                f"{name} is {micro_batch_tokens}, not a multiple of sequence_tokens, "
                f"{self.sequence_tokens}",
                hint=f"{name} = {_next_multiple(micro_batch_tokens, self.sequence_tokens)}",
            )
        if self.batch_tokens % micro_batch_tokens:
            raise RecipeError(
                f"batch_tokens is {self.batch_tokens}, not a multiple of micro_batch_tokens, "
                f"{micro_batch_tokens}",
                hint=f"batch_tokens = {_next_multiple(self.batch_tokens, micro_batch_tokens)}",
            )


_POSITIVE = (
    "max_tokens",
    "sequence_tokens",
    "batch_tokens",
    "micro_batch_tokens",
    "peak_learning_rate",
    "gradient_clip",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "evaluate_every_steps",
    "validation_tokens",
)


def _next_multiple(value: int, unit: int) -> int:
    return -(-value // unit) * unit
