"""The model's shape, as Hugging Face's Llama configuration names it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A Llama/Yi decoder. Defaults are Yi-6B's (`01-ai/Yi-6B` config.json)."""

    hidden_size: int = 4_096
    intermediate_size: int = 11_008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int = 4
    head_dim: int = 128
    max_position_embeddings: int = 4_096
    rope_theta: float = 5_000_000.0
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
