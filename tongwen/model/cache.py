"""Keys and values in int8, and the choice of a cache.

Shape suffixes in this file: B batch, T tokens, S cached tokens, K key-value heads, D head_dim.
"""

from typing import Literal

import torch
from torch import Tensor

from tongwen.model.config import ModelConfig
from tongwen.model.llama import KeyValueCache, Llama

CacheKind = Literal["auto", "float32", "bfloat16", "int8"]

_LARGEST = 127  # int8 without -128, so that it is symmetric


class Int8KeyValueCache(KeyValueCache):
    """A cache that rounds each head of each token to int8, with a float32 scale of its own.

    Args:
        config, rows, capacity_tokens, device: as of `KeyValueCache`.
        dtype: of the activations.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity_tokens: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, rows, capacity_tokens, torch.int8, device)
        shape = (rows, capacity_tokens, config.num_key_value_heads)
        layers = range(config.num_hidden_layers)
        self.key_scales_BSK = [torch.zeros(shape, device=device) for _ in layers]
        self.value_scales_BSK = [torch.zeros(shape, device=device) for _ in layers]
        self._dtype = dtype

    def store(self, layer: int, key_BTKD: Tensor, value_BTKD: Tensor) -> tuple[Tensor, Tensor]:
        found = []
        for new, steps_BSKD, scales_BSK in (
            (key_BTKD, self.keys_BSKD[layer], self.key_scales_BSK[layer]),
            (value_BTKD, self.values_BSKD[layer], self.value_scales_BSK[layer]),
        ):
            steps_BSKD[self._slots], scales_BSK[self._slots] = _rounded(new.float())
            used = self._used_tokens
            whole = steps_BSKD[:, :used].float() * scales_BSK[:, :used, :, None]
            found.append(whole.to(self._dtype))
        return found[0], found[1]

    def tensors(self) -> list[Tensor]:
        return [*super().tensors(), *self.key_scales_BSK, *self.value_scales_BSK]


def _rounded(x_BTKD: Tensor) -> tuple[Tensor, Tensor]:
    size_BTK = x_BTKD.abs().amax(-1)
    inverse = torch.where(size_BTK == 0, torch.zeros_like(size_BTK), _LARGEST / size_BTK)
    return (x_BTKD * inverse[..., None]).round_().to(torch.int8), size_BTK / _LARGEST


def new_cache(model: Llama, rows: int, tokens: int, kind: CacheKind = "auto") -> KeyValueCache:
    """A cache for a model; "auto" is bfloat16 for quantized weights, else the model's dtype."""
    from tongwen.model.quantized.folder import is_quantized

    if kind == "int8":
        return Int8KeyValueCache(model.config, rows, tokens, model.dtype, model.device)
    dtype = model.dtype if kind == "auto" else getattr(torch, kind)
    if kind == "auto" and is_quantized(model):
        dtype = torch.bfloat16
    return KeyValueCache(model.config, rows, tokens, dtype, model.device)
