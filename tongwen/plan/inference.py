"""Closed forms: what a model and its cache of keys and values take in memory when it answers."""

from typing import Literal

from tongwen.model.config import ModelConfig

Weights = Literal["bfloat16", "int8", "int4"]
Cache = Literal["float32", "bfloat16", "int8"]

_GROUP = 32  # as `model.quantized.grid.GROUP`, without importing torch
_SCALE_BYTES = 2  # float16, of a group
_CACHE_SCALE_BYTES = 4  # float32, of a head's keys or values of one token


def weight_bytes(config: ModelConfig, weights: Weights) -> int:
    """All weights; the embedding and the head of an int4 model are int8, its norms bfloat16.

    Exact where every projection's inputs are a multiple of 32.
    """
    if weights == "bfloat16":
        return 2 * config.parameters
    edge = config.embedding_parameters
    norms = config.hidden_size * (2 * config.num_hidden_layers + 1)
    if config.qk_norm:
        norms += 2 * config.head_dim * config.num_hidden_layers
    inner = config.parameters - edge - norms
    inner_bits = 8 if weights == "int8" else 4
    groups = (inner + edge) // _GROUP
    return inner * inner_bits // 8 + edge + groups * _SCALE_BYTES + 2 * norms


def cache_bytes(config: ModelConfig, tokens: int, cache: Cache) -> int:
    """Keys and values of so many tokens; int8 has a float32 scale for each head of each."""
    heads = 2 * config.num_hidden_layers * config.num_key_value_heads * tokens
    if cache == "int8":
        return heads * (config.head_dim + _CACHE_SCALE_BYTES)
    return heads * config.head_dim * (4 if cache == "float32" else 2)
