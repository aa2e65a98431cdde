"""Settings shared by pretrain, extend and tune."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """One optimisation run. Units are in the names; tokens are tokenizer tokens."""

    max_tokens: int
    """Stop after this many training tokens."""
    sequence_tokens: int = 4_096
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
    weight_decay: float = 0.1
    adam_betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = 1.0
    checkpoint_every_steps: int = 1_000
    keep_checkpoints: int = 2
    evaluate_every_steps: int = 500
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 where the CPU or GPU multiplies it in hardware, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 1862
