"""The decoder: Llama's architecture with grouped-query attention, as Yi uses it, and what Mistral,
Qwen and MiniCPM add to it.

Shape suffixes in this file: B batch, T tokens, S cached tokens (keys), H query heads,
K key-value heads, D head_dim (even), M hidden_size, F intermediate_size, V vocabulary_size.

Sources: Llama, Touvron et al. 2023, arXiv:2302.13971. Yi, 01.AI 2024, arXiv:2403.04652.
SwiGLU, Shazeer 2020, arXiv:2002.05202. RMSNorm, Zhang and Sennrich 2019, arXiv:1910.07467.

Parameters carry the names of Hugging Face's `LlamaForCausalLM`. Weights may be kept in a
wider dtype than the arithmetic: each is rounded to the dtype of the activations when used.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from tongwen.model.attention import Visibility, apply_rope, attend, rope_tables
from tongwen.model.config import ModelConfig


class KeyStore(ABC):
    """Where a forward pass puts its keys and values, and which of those there it attends to.

    With one the model reads keys of other tokens than its own: earlier ones from a cache, or those
    that other processes hold.
    """

    @abstractmethod
    def begin(self, positions_BT: Tensor) -> Visibility:
        """Called once a forward pass; says which keys its queries see."""

    @abstractmethod
    def store(self, layer: int, key_BTKD: Tensor, value_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        """Take a layer's keys and values; give those to attend to, each (B, S, K, D)."""


class KeyValueCache(KeyStore):
    """Keys and values of tokens already seen, one slot for each position.

    A token at position p sits in slot p of its row, so rows of different lengths share a
    batch: pad prompts on the right; what stands behind a row's last token is never attended
    to and is overwritten as the row grows.

    Args:
        config: of the model.
        rows: sequences held at once, B.
        capacity_tokens: positions per row, S.
        dtype: of the keys and values held; they are handed out in that of the new ones.
        device: as the model's.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity_tokens: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (rows, capacity_tokens, config.num_key_value_heads, config.head_dim)
        layers = range(config.num_hidden_layers)
        self.keys_BSKD = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values_BSKD = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.capacity_tokens = capacity_tokens
        self.rows_B1 = torch.arange(rows, device=device)[:, None]
        self._slots: tuple[Tensor, Tensor] = (self.rows_B1, self.rows_B1)
        self._used_tokens = 0

    def begin(self, positions_BT: Tensor) -> Visibility:
        rows, tokens = positions_BT.shape
        used = int(positions_BT.max()) + 1
        assert used <= self.capacity_tokens, (used, self.capacity_tokens)
        self._slots, self._used_tokens = (self.rows_B1, positions_BT), used
        if tokens == 1 and rows == 1:
            return Visibility(places_BT=positions_BT)
        first = used - tokens
        if rows == 1 and bool((positions_BT.diff() == 1).all()):  # a piece of a prompt
            return Visibility(is_causal=True, earlier_keys=first)
        slots_S = torch.arange(used, device=positions_BT.device)
        return Visibility(mask=slots_S <= positions_BT[:, None, :, None], places_BT=positions_BT)

    def store(self, layer: int, key_BTKD: Tensor, value_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        keys_BSKD, values_BSKD = self.keys_BSKD[layer], self.values_BSKD[layer]
        keys_BSKD[self._slots] = key_BTKD.to(keys_BSKD.dtype)
        values_BSKD[self._slots] = value_BTKD.to(values_BSKD.dtype)
        used, dtype = self._used_tokens, key_BTKD.dtype
        return keys_BSKD[:, :used].to(dtype), values_BSKD[:, :used].to(dtype)

    def tensors(self) -> list[Tensor]:
        """All that is held for the tokens, each (B, S, ...)."""
        return [*self.keys_BSKD, *self.values_BSKD]


@dataclass(frozen=True)
class _Context:
    """What all layers of one forward pass share."""

    cosine: Tensor
    sine: Tensor
    visibility: Visibility
    near: Visibility
    """The same in the layers that have a sliding window."""
    keys: KeyStore | None
    wanted_T: Tensor | None = None
    """Which queries are wanted, where not all are."""
    wanted: "_Context | None" = None
    """The same for these alone."""

    def only(self, wanted_T: Tensor) -> "_Context":
        """For a layer whose other queries nobody wants."""
        wanted = replace(
            self,
            cosine=self.cosine[:, wanted_T],
            sine=self.sine[:, wanted_T],
            visibility=self.visibility.of_queries(wanted_T),
            near=self.near.of_queries(wanted_T),
        )
        return replace(self, wanted_T=wanted_T, wanted=wanted)


class Linear(nn.Linear):
    """A projection, computed in the dtype of its input."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class RMSNorm(nn.Module):
    """Scale to unit mean square over the last dimension; the arithmetic is float32."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return rms_normalize(x, self.weight, self.epsilon)


def rms_normalize(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`RMSNorm` as a function of its weight."""
    normed: Tensor = _Normalization.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return normed


class _Normalization(torch.autograd.Function):
    """RMSNorm that keeps only its input and one number a token.

    torch has no fused kernel for it on CPUs: forward and backward of 8,192 bfloat16 tokens of
    384 channels take 7.4 ms this way and 16.3 ms with `rms_norm` (2 cores, 2026-11).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed: Tensor = (x.float() * scale).mul_(weight).to(x.dtype)
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        unit = x.float() * scale
        gradient = gradient.float()
        weight_gradient = (gradient * unit).flatten(0, -2).sum(0).to(weight.dtype)
        gradient = gradient * weight
        along = (gradient * unit).mean(-1, keepdim=True)
        return (gradient - unit.mul_(along)).mul_(scale).to(x.dtype), weight_gradient, None


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = config.head_dim
        query_size = config.num_attention_heads * config.head_dim
        key_value_size = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = Linear(config.hidden_size, query_size, bias=bias)
        self.k_proj = Linear(config.hidden_size, key_value_size, bias=bias)
        self.v_proj = Linear(config.hidden_size, key_value_size, bias=bias)
        self.o_proj = Linear(query_size, config.hidden_size, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.has_qk_norm = config.qk_norm
        self.has_window = layer in config.windowed_layers

    def forward(self, x_BTM: Tensor, context: _Context) -> Tensor:
        asking = context.wanted or context
        asking_BTM = x_BTM if context.wanted_T is None else x_BTM[:, context.wanted_T]
        q_BTHD = self.q_proj(asking_BTM).unflatten(-1, (-1, self.head_dim))
        k_BTKD = self.k_proj(x_BTM).unflatten(-1, (-1, self.head_dim))
        v_BTKD = self.v_proj(x_BTM).unflatten(-1, (-1, self.head_dim))
        if self.has_qk_norm:
            q_BTHD, k_BTKD = self.q_norm(q_BTHD), self.k_norm(k_BTKD)
        q_BTHD = apply_rope(q_BTHD, asking.cosine, asking.sine)
        k_BTKD = apply_rope(k_BTKD, context.cosine, context.sine)
        if context.keys is not None:
            k_BTKD, v_BTKD = context.keys.store(self.layer, k_BTKD, v_BTKD)
        visibility = asking.near if self.has_window else asking.visibility
        out_BTHD = attend(q_BTHD, k_BTKD, v_BTKD, visibility)
        out_BTM: Tensor = self.o_proj(out_BTHD.flatten(2))
        return out_BTM


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        bias = config.mlp_bias
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=bias)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=bias)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=bias)

    def forward(self, x_BTM: Tensor) -> Tensor:
        out_BTM: Tensor = self.down_proj(F.silu(self.gate_proj(x_BTM)) * self.up_proj(x_BTM))
        return out_BTM


class DecoderLayer(nn.Module):
    """Attention, then feed-forward, each on the normed residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.residual_scale = config.residual_scale

    def forward(self, x_BTM: Tensor, context: _Context) -> Tensor:
        attended_BTM = self._branch(self.self_attn(self.input_layernorm(x_BTM), context))
        x_BTM = x_BTM if context.wanted_T is None else x_BTM[:, context.wanted_T]
        x_BTM = x_BTM + attended_BTM
        out_BTM: Tensor = x_BTM + self._branch(self.mlp(self.post_attention_layernorm(x_BTM)))
        return out_BTM

    def _branch(self, x_BTM: Tensor) -> Tensor:
        return x_BTM if self.residual_scale == 1 else x_BTM * self.residual_scale


class Decoder(nn.Module):
    """Embedding, layers and the last norm: Hugging Face's `model.` part."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary_size, config.hidden_size)
        self.layers = nn.ModuleList(
            DecoderLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """A Llama/Yi language model.

    `forward` gives hidden states, `logits` applies the output head: the caller chooses the
    positions it needs, so that no (B, T, V) tensor appears by accident.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocabulary_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations, unless `forward` is given another."""
        return self.model.norm.weight.dtype

    def initialize(self, seed: int) -> None:
        """Draw all weights, see `initial_weights`."""
        parameters = dict(self.named_parameters())
        with torch.no_grad():
            for name, tensor in initial_weights(self.config, seed):
                parameters[name].copy_(tensor)

    def forward(
        self,
        token_ids_BT: Tensor,
        *,
        positions_BT: Tensor | None = None,
        documents_BT: Tensor | None = None,
        keys: KeyStore | None = None,
        dtype: torch.dtype | None = None,
        wanted_T: Tensor | None = None,
    ) -> Tensor:
        """Hidden states as the output head takes them, (B, T, M).

        Args:
            token_ids_BT: int64.
            positions_BT: int64, from 0 at a document's start; 0..T-1 when absent.
            documents_BT: any integers; a token attends only to tokens with its own number,
                which is how packed documents stay apart. Not together with `keys`.
            keys: takes the keys and values and says what to attend to; a `KeyValueCache` when
                generating.
            dtype: of the arithmetic; as the weights when absent.
            wanted_T: places whose hidden states are wanted, all when absent: the last layer reads
                the others' keys and values only. With `keys` that have masks alone.
        """
        if positions_BT is None:
            positions_BT = torch.arange(token_ids_BT.shape[1], device=token_ids_BT.device)
            positions_BT = positions_BT.expand(token_ids_BT.shape)
        config = self.config
        cosine, sine = rope_tables(
            positions_BT, config.head_dim, config.rope_theta, config.rope_scaling
        )
        if keys is not None:
            assert documents_BT is None, "a key store says itself what is attended to"
            visibility = keys.begin(positions_BT)
        else:
            visibility = Visibility.among_themselves(documents_BT)
        near = visibility
        if config.sliding_window is not None:
            tokens, device = token_ids_BT.shape[1], token_ids_BT.device
            near = visibility.within(config.sliding_window, tokens, device)
        context = _Context(cosine, sine, visibility, near, keys)
        x_BTM = self.model.embed_tokens(token_ids_BT)
        if dtype is not None:
            x_BTM = x_BTM.to(dtype)
        if config.embedding_scale != 1:
            x_BTM = x_BTM * config.embedding_scale
        *layers, last = self.model.layers
        for layer in layers:
            x_BTM = layer(x_BTM, context)
        x_BTM = last(x_BTM, context if wanted_T is None else context.only(wanted_T))
        hidden_BTM: Tensor = self.model.norm(x_BTM)
        return hidden_BTM if config.output_scale == 1 else hidden_BTM * config.output_scale

    def logits(self, hidden: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next token, float32, (..., V)."""
        logits: Tensor = self.lm_head(hidden)
        return logits.float()


def initial_weights(config: ModelConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Name and first value of every parameter, float32, drawn one after the other.

    Normal with `initializer_range`, norms one. The projections that write into the residual stream
    are scaled by 1/sqrt(2 L), so that its variance does not grow with depth (Radford et al. 2019,
    GPT-2, section 2.3).
    """
    with torch.device("meta"):
        model = Llama(config)
    generator = torch.Generator().manual_seed(seed)
    deviation = config.initializer_range
    residual_deviation = deviation / math.sqrt(2 * config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            first = 0.0 if name.endswith(".bias") else 1.0
            yield name, torch.full(parameter.shape, first)
            continue
        writes_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
        drawn = torch.empty(parameter.shape, dtype=torch.float32)
        drawn.normal_(
            0.0, residual_deviation if writes_residual else deviation, generator=generator
        )
        yield name, drawn
