"""A model's shape with its vocabulary, to and from Hugging Face's `config.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tongwen.errors import InputError, TongwenError
from tongwen.model.settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ModelSettings):
    """Everything that decides a model's tensors and its arithmetic."""

    vocabulary_size: int

    @classmethod
    def from_settings(cls, settings: ModelSettings, vocabulary_size: int) -> Self:
        """The recipe's shape for a tokenizer of `vocabulary_size` pieces."""
        return cls(**asdict(settings), vocabulary_size=vocabulary_size)

    @property
    def parameters_per_layer(self) -> int:
        """Weights of one decoder layer, its two norms included."""
        attention = 2 * self.hidden_size * self.head_dim
        attention *= self.num_attention_heads + self.num_key_value_heads
        if self.qk_norm:
            attention += 2 * self.head_dim
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        return attention + feed_forward + 2 * self.hidden_size

    @property
    def embedding_parameters(self) -> int:
        """Weights of the input embedding and, unless tied, of the output head."""
        return self.vocabulary_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def non_embedding_parameters(self) -> int:
        return self.num_hidden_layers * self.parameters_per_layer + self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights, counted without allocating one."""
        return self.non_embedding_parameters + self.embedding_parameters

    def to_huggingface(self) -> dict[str, Any]:
        """The shape part of the `config.json` of a plain `LlamaForCausalLM`, or of a
        `Qwen3ForCausalLM`, the same with norms on queries and keys.

        RoPE's base stands there twice: `rope_theta` is read by transformers 4, llama.cpp and
        vLLM, `rope_parameters` by transformers 5.
        """
        values = asdict(self)
        values["vocab_size"] = values.pop("vocabulary_size")
        name, kind = ("Qwen3", "qwen3") if values.pop("qk_norm") else ("Llama", "llama")
        return values | {
            "architectures": [f"{name}ForCausalLM"],
            "model_type": kind,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "rope_scaling": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "use_cache": True,
        }

    @classmethod
    def from_huggingface(cls, values: Mapping[str, Any], source: str) -> Self:
        """The configuration in a `config.json`'s values; `source` is named in errors.

        Raises:
            InputError: neither a plain Llama nor a Qwen3, or a value is missing or impossible.
        """
        _check_architecture(values, source)
        rope = values.get("rope_parameters") or {}
        known = dict(values)
        known["rope_theta"] = float(rope.get("rope_theta", values.get("rope_theta", 10_000.0)))
        known.setdefault("num_key_value_heads", values.get("num_attention_heads"))
        if known.get("head_dim") is None and "hidden_size" in values:
            known["head_dim"] = values["hidden_size"] // values.get("num_attention_heads", 1)
        known["vocabulary_size"] = values.get("vocab_size")
        known["qk_norm"] = values["model_type"] == "qwen3"
        names = [field.name for field in fields(cls)]
        missing = [name for name in names if known.get(name) is None and name not in _DEFAULTS]
        if missing:
            raise InputError(f"{source} lacks {', '.join(missing)}")
        try:
            found: dict[str, Any] = {name: known.get(name, _DEFAULTS.get(name)) for name in names}
            return cls(**found)
        except (TongwenError, TypeError) as error:
            raise InputError(f"{source}: {error}") from error


_DEFAULTS: dict[str, Any] = {
    # What transformers takes when a Llama config.json does not say.
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "max_position_embeddings": 2_048,
}


def _check_architecture(values: Mapping[str, Any], source: str) -> None:
    expected = {
        "model_type": ("llama", "qwen3"),
        "hidden_act": ("silu", None),
        "attention_bias": (False, None),
        "mlp_bias": (False, None),
        "use_sliding_window": (False, None),
    }
    for key, accepted in expected.items():
        if values.get(key) not in accepted:
            raise InputError(
                f"{source}: {key} is {values.get(key)!r}, expected {accepted[0]!r}",
                hint="only plain Llama models, and Qwen3 without experts or windows, can be read",
            )
    for key in ("rope_scaling", "rope_parameters"):
        rope = values.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise InputError(
                f"{source}: {key} asks for {kind!r}",
                hint="only unscaled RoPE is supported; raise rope_theta with `tongwen extend`",
            )
