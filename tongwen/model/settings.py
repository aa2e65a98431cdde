"""The model's shape, as Hugging Face's Llama configuration names it."""

from dataclasses import dataclass, fields

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """A Llama/Yi decoder. Defaults are Yi-6B's (`01-ai/Yi-6B` config.json)."""

    hidden_size: int = 4_096
    """Width of the residual stream."""
    intermediate_size: int = 11_008
    """Width of the SwiGLU feed-forward layer."""
    num_hidden_layers: int = 32
    """Layers."""
    num_attention_heads: int = 32
    """Query heads of a layer."""
    num_key_value_heads: int = 4
    """Key and value heads of a layer; each serves a group of query heads."""
    head_dim: int = 128
    """Channels of a head."""
    max_position_embeddings: int = 4_096
    """Context window in tokens."""
    rope_theta: float = 5_000_000.0
    """Base of the rotary position embedding."""
    rms_norm_eps: float = 1e-5
    """Added to the mean square in RMSNorm."""
    tie_word_embeddings: bool = False
    """The output head is the embedding."""
    initializer_range: float = 0.02
    """Standard deviation of the initial weights."""
    qk_norm: bool = False
    """Norm queries and keys of each head before RoPE (Dehghani et al. 2023, arXiv 2302.05442), for
    models trained from scratch. Such a model is saved as `Qwen3ForCausalLM`, which has it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and value <= 0:
                raise RecipeError(
                    f"model.{field.name} is {value}", hint="use a number greater than 0"
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise RecipeError(
                f"model.num_attention_heads is {self.num_attention_heads}, not a multiple of "
                f"model.num_key_value_heads, {self.num_key_value_heads}",
                hint="every key-value head serves the same number of query heads",
            )
        if self.head_dim % 2:
            raise RecipeError(
                f"model.head_dim is {self.head_dim}", hint="RoPE turns pairs: use an even number"
            )
