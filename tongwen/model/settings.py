"""The model's shape, as Hugging Face's Llama configuration names it."""

from dataclasses import dataclass, fields

from tongwen.errors import RecipeError


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
