"""Shapes that a planner may choose from: one family, from a few hundred thousand parameters up."""

import math
from functools import cache

from tongwen.model.config import ModelConfig

_SMALLEST_HIDDEN = 128  # two heads of 64
_LARGEST_HIDDEN = 16_384  # that of Llama 3's 405B


def shape(hidden_size: int, vocabulary_size: int, sequence_tokens: int) -> ModelConfig:
    """The model of the family whose residual stream has `hidden_size` numbers.

    Depth follows from width as in Delphi: layers = h / (64 + 4 log2 h - 9). Heads have 128 numbers
    (64 below a width of 1,024), queries share keys and values in groups so that there are at most
    8 key-value heads, the feed-forward layer is 8/3 as wide, rounded up to 256 (Touvron et al.
    2023, arXiv:2302.13971); input and output embedding are one below a width of 1,024.
    """
    head_dim = 128 if hidden_size >= 1_024 else 64
    heads = hidden_size // head_dim
    return ModelConfig(
        hidden_size=hidden_size,
        intermediate_size=-(-hidden_size * 8 // (3 * 256)) * 256,
        num_hidden_layers=max(1, round(hidden_size / (64 + 4 * math.log2(hidden_size) - 9))),
        num_attention_heads=heads,
        num_key_value_heads=max(n for n in range(1, 9) if heads % n == 0),
        head_dim=head_dim,
        max_position_embeddings=sequence_tokens,
        tie_word_embeddings=hidden_size < 1_024,
        vocabulary_size=vocabulary_size,
    )


@cache
def family(vocabulary_size: int, sequence_tokens: int) -> tuple[ModelConfig, ...]:
    """All its members, by size."""
    widths = range(_SMALLEST_HIDDEN, _LARGEST_HIDDEN + 1, 128)
    return tuple(shape(width, vocabulary_size, sequence_tokens) for width in widths)


def nearest(parameters: float, vocabulary_size: int, sequence_tokens: int) -> ModelConfig:
    """The member whose number of parameters is nearest, by ratio."""
    return min(
        family(vocabulary_size, sequence_tokens),
        key=lambda config: abs(math.log(config.parameters / parameters)),
    )
