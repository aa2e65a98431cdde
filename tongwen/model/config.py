"""A model's shape with its vocabulary, to and from Hugging Face's `config.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from tongwen.errors import InputError, TongwenError
from tongwen.model.huggingface import RopeScaling, config_fields, kept_text
from tongwen.model.settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class ModelConfig(ModelSettings):
    """Everything that decides a model's tensors and its arithmetic."""

    vocabulary_size: int
    attention_bias: bool = False
    """Of the projections to queries, keys and values."""
    output_bias: bool = False
    """Of the projection after attention."""
    mlp_bias: bool = False
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = None
    """Keys that a token sees in the layers `windowed_layers`, its own with them."""
    windowed_layers: tuple[int, ...] = ()
    embedding_scale: float = 1.0
    """MiniCPM's three: what the embedding, each branch and the last hidden state are multiplied
    by."""
    residual_scale: float = 1.0
    output_scale: float = 1.0
    read_from: str = field(default="", compare=False)
    """JSON of the foreign `config.json` that this was read from; empty for one of our own."""

    @classmethod
    def from_settings(cls, settings: ModelSettings, vocabulary_size: int) -> Self:
        """The recipe's shape for a tokenizer of `vocabulary_size` pieces."""
        return cls(**asdict(settings), vocabulary_size=vocabulary_size)

    def turns_by_length(self, tokens: int) -> bool:
        """Whether keys of a text of so many tokens are turned by the text's whole length, so that
        they are not the keys of a longer text's beginning: dynamic scaling beyond its window.
        """
        scaling = self.rope_scaling
        return (
            scaling is not None and scaling.kind == "dynamic" and tokens > scaling.original_tokens
        )

    @property
    def parameters_per_layer(self) -> int:
        """Weights of one decoder layer, its two norms included."""
        attention = 2 * self.hidden_size * self.head_dim
        attention *= self.num_attention_heads + self.num_key_value_heads
        if self.qk_norm:
            attention += 2 * self.head_dim
        feed_forward = 3 * self.hidden_size * self.intermediate_size
        return attention + feed_forward + 2 * self.hidden_size + self.biases_per_layer

    @property
    def biases_per_layer(self) -> int:
        heads = self.num_attention_heads + 2 * self.num_key_value_heads
        return (
            self.attention_bias * heads * self.head_dim
            + self.output_bias * self.hidden_size
            + self.mlp_bias * (2 * self.intermediate_size + self.hidden_size)
        )

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
        """The shape part of `config.json`: a plain `LlamaForCausalLM`, a `Qwen3ForCausalLM` where
        queries and keys have norms, or the file this was read from with what has changed since.
        """
        own = self._own_values()
        if not self.read_from:
            return own
        read: dict[str, Any] = json.loads(self.read_from)
        before = self.from_huggingface(read, "config.json")._own_values()
        return read | {key: value for key, value in own.items() if value != before[key]}

    def _own_values(self) -> dict[str, Any]:
        """RoPE's base is written twice: `rope_theta` is read by transformers 4, llama.cpp and
        vLLM, `rope_parameters` by transformers 5.
        """
        values = {item.name: getattr(self, item.name) for item in fields(ModelSettings)}
        values["vocab_size"] = self.vocabulary_size
        name, kind = ("Qwen3", "qwen3") if values.pop("qk_norm") else ("Llama", "llama")
        scaling = None if self.rope_scaling is None else self.rope_scaling.to_huggingface()
        if self.rope_scaling is not None and self.rope_scaling.kind in ("linear", "dynamic"):
            # There the key is the window before scaling, as transformers documents.
            values["max_position_embeddings"] = self.rope_scaling.original_tokens
        return values | {
            "architectures": [f"{name}ForCausalLM"],
            "model_type": kind,
            "hidden_act": "silu",
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "attention_dropout": 0.0,
            "rope_scaling": scaling,
            "rope_parameters": {
                **(scaling or {"rope_type": "default"}),
                "rope_theta": self.rope_theta,
            },
            "use_cache": True,
        }

    @classmethod
    def from_huggingface(cls, values: Mapping[str, Any], source: str) -> Self:
        """The configuration in a `config.json`'s values; `source` is named in errors.

        Raises:
            InputError: another architecture than `huggingface.FAMILIES`, or a value that is
                missing, impossible or not supported.
        """
        found = config_fields(values, source)
        try:
            config = cls(**found)
        except (TongwenError, TypeError) as error:
            raise InputError(f"{source}: {error}") from error
        return replace(config, read_from=kept_text(values, config._own_values()))
