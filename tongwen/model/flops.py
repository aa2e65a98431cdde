"""How many floating point operations a model takes."""

from dataclasses import dataclass

from tongwen.model.config import ModelConfig


@dataclass(frozen=True)
class Flops:
    """Floating point operations of training on one token.

    Attributes:
        full: attention counted over all pairs of tokens, as PaLM (Chowdhery et al. 2022,
            arXiv:2204.02311, appendix B) and most trainers do.
        causal: over pairs a token may attend to, which a fused kernel executes: half of them.
    """

    full: int
    causal: int


def flops_per_token(
    config: ModelConfig, sequence_tokens: int, *, has_head_gradient: bool = True
) -> Flops:
    """Matrix products only; the input embedding is a look-up and costs nothing, and so does the
    head's gradient where it is none (`has_head_gradient`).
    """
    width = config.num_attention_heads * config.head_dim
    norms = 2 * config.hidden_size + (2 * config.head_dim if config.qk_norm else 0)
    per_layer = config.parameters_per_layer - norms - config.biases_per_layer
    in_products = config.num_hidden_layers * per_layer
    head = (6 if has_head_gradient else 2) * config.vocabulary_size * config.hidden_size
    attention = 6 * config.num_hidden_layers * width * sequence_tokens
    products = 6 * in_products + head
    return Flops(full=products + 2 * attention, causal=products + attention)
