"""A decoding step in one call: what `decode_kernels.decode` needs to know, written into tables.

Shape suffixes in this file: R rows, L layers, F fields, P positions, D head_dim, V vocabulary.
"""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tongwen.model.attention import rope_tables
from tongwen.model.cache import Int8KeyValueCache
from tongwen.model.llama import (
    Attention,
    Decoder,
    DecoderLayer,
    FeedForward,
    KeyValueCache,
    Linear,
    Llama,
    RMSNorm,
)
from tongwen.model.quantized import paths
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear
from tongwen.progress import Progress

_KNOWN = {
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "max_position_embeddings", "rope_theta", "rms_norm_eps",
    "tie_word_embeddings", "initializer_range", "qk_norm", "vocabulary_size", "read_from",
}  # fmt: skip
_KINDS = {torch.float32: 32, torch.bfloat16: 16, torch.int8: 8}
_PROJECTIONS = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip
_FIRST_POSITIONS = 256  # of the rotation's table; it doubles


def fused_decoder(model: Llama) -> "FusedDecoder | None":
    """The decoder of a model whose architecture, shape and device the kernels know, else None.

    It is made once for a model, and again when another path is chosen or weights have moved.
    """
    path = paths.chosen()
    if path == paths.TORCH or not _is_known(model):
        return None
    made: FusedDecoder | None = model.__dict__.get("_fused_decoder")
    if made is None or made.path != path or not made.is_current():
        compile_kernels()
        made = FusedDecoder(model, path)
        model.__dict__["_fused_decoder"] = made
    return made


def compile_kernels(progress: Progress | None = None) -> None:
    """Compile the kernels now, unless this machine has done so, and say so: it takes a while."""
    import numba

    from tongwen.kernels import compile_once
    from tongwen.model.quantized import decode_kernels, kernels

    functions: Any = (decode_kernels.decode, kernels.multiply, kernels.quantize)

    def compile_all() -> None:
        for function in functions:
            count = function.py_func.__code__.co_argcount
            function.compile((numba.int64,) * count)

    compile_once({"decode": compile_all}, progress or Progress())


def _is_known(model: Llama) -> bool:
    config = model.config
    for field in fields(config):
        if field.name not in _KNOWN:
            default = field.default if field.default is not MISSING else None
            if getattr(config, field.name) != default:
                return False  # a setting that changes the arithmetic, perhaps
    sizes = (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads * config.head_dim,
    )
    layer_kinds = (DecoderLayer, Attention, FeedForward, RMSNorm, nn.ModuleList)
    kinds = (*layer_kinds, Llama, Decoder, nn.Embedding, QuantizedEmbedding, QuantizedLinear)
    return (
        model.device.type == "cpu"
        and model.dtype == torch.float32
        and not any(size % 32 for size in sizes)
        and config.head_dim % 8 == 0
        and all(type(module) in kinds or _is_plain(module) for module in model.modules())
    )


def _is_plain(module: nn.Module) -> bool:
    return (
        type(module) is Linear
        and module.bias is None
        and module.weight.dtype in (torch.float32, torch.bfloat16)
        and module.weight.is_contiguous()
        and not module.weight.requires_grad
    )


class FusedDecoder:
    """Decodes with one model.

    Args:
        model: one that `fused_decoder` takes; it must not change.
        path: name of the instructions to use.
    """

    def __init__(self, model: Llama, path: str) -> None:
        from tongwen.model.quantized import decode_kernels

        self.path = path
        self._kernels: Any = decode_kernels
        self._model = model
        config = self._config = model.config
        self._kept: list[Tensor] = []
        self._alone = threading.Lock()  # the tables serve one step at a time
        shape = (config.num_hidden_layers, decode_kernels.LAYER_FIELDS)
        self._layers_LF = np.zeros(shape, np.int64)
        self._head_F = np.array(self._matrix(model.lm_head), np.int64)
        self._step_F = np.zeros(decode_kernels.STEP_FIELDS, np.int64)
        tables = (self._step_F, self._layers_LF, self._head_F)
        self._tables = tuple(table.ctypes.data for table in tables)
        self._counter = np.zeros(1, np.int64)
        self._pointed: weakref.ref[KeyValueCache] | None = None
        self._work = 0
        self._rope: tuple[Tensor, Tensor] | None = None
        self._rows = self._stretches = self._threads = 0
        self._scratch: list[Tensor] = []
        self._addresses = self._weight_addresses()
        self._fill_layers()
        self._fill_constants()

    def is_current(self) -> bool:
        """Whether the weights are where they were."""
        return self._addresses == self._weight_addresses()

    def step(
        self,
        token_ids: Sequence[int],
        positions: Sequence[int],
        cache: KeyValueCache,
        cache_rows: Sequence[int],
    ) -> Tensor:
        """Add tokens to rows of a cache; logits of the tokens after each, float32, (R, V).

        A row of the cache may get several, at positions that follow one another: each sees those
        before it, and its logits have the bits that one step after the other would give.

        Args:
            token_ids: any number of them.
            positions: of these tokens.
            cache: with room for them; its other rows are left alone.
            cache_rows: the row of the cache that each token belongs to.
        """
        kernels, rows, longest = self._kernels, len(token_ids), max(positions)
        threads = paths.threads_for(rows * self._work)
        ids = torch.tensor([*token_ids, *positions, *cache_rows])
        logits = torch.empty(rows, int(self._head_F[kernels.BLOCKS]) * 16)
        decode, tables, step_F = kernels.decode, self._tables, self._step_F
        with self._alone:
            self._reserve(rows, longest // kernels.STRETCH + 1, threads)
            self._reserve_positions(longest + 1)
            if self._pointed is None or self._pointed() is not cache:
                self._point_to(cache)
            self._counter[0] = 0
            step_F[kernels.ROWS] = rows
            step_F[kernels.TOKEN_IDS] = ids.data_ptr()
            step_F[kernels.POSITIONS] = ids.data_ptr() + 8 * rows
            step_F[kernels.CACHE_ROWS] = ids.data_ptr() + 16 * rows
            self._head_F[kernels.OUT] = logits.data_ptr()
            paths.run_on_team(threads, lambda thread, all_: decode(*tables, thread, all_))
        return logits[:, : self._config.vocabulary_size]

    def _weight_addresses(self) -> list[int]:
        buffers = (tensor for tensor in self._model.buffers())
        parameters = (tensor for tensor in self._model.parameters())
        return [tensor.data_ptr() for tensor in (*parameters, *buffers)]

    def _matrix(self, module: nn.Module) -> list[int]:
        if isinstance(module, QuantizedLinear):
            blocks, groups = module.packed.shape[:2]
            bias = 0
            if module.bias is not None:
                padded = torch.zeros(16 * blocks)
                padded[: module.out_features] = module.bias.float()
                bias = self._address(padded)
            weights, scales = module.packed.data_ptr(), module.packed_scale.data_ptr()
            return [module.bits, weights, scales, groups, blocks, bias, 0]
        assert isinstance(module, Linear)
        weight, rest = module.weight.detach(), -module.out_features % 16
        address = weight.data_ptr()
        if (
            rest
        ):  # a vocabulary that does not fill the last block: the head is copied, and filled up
            address = self._address(nn.functional.pad(weight, (0, 0, 0, rest)))
        blocks, groups = (module.out_features + rest) // 16, module.in_features // 32
        return [_KINDS[weight.dtype], address, 0, groups, blocks, 0, 0]

    def _address(self, tensor: Tensor) -> int:
        """Of a tensor that is kept as long as this decoder."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _fill_layers(self) -> None:
        kernels = self._kernels
        for fields_F, layer in zip(self._layers_LF, self._model.model.layers, strict=True):
            assert isinstance(layer, DecoderLayer)
            fields_F[kernels.FIRST_NORM] = self._norm(layer.input_layernorm)
            fields_F[kernels.SECOND_NORM] = self._norm(layer.post_attention_layernorm)
            if layer.self_attn.has_qk_norm:
                fields_F[kernels.QUERY_NORM] = self._norm(layer.self_attn.q_norm)
                fields_F[kernels.KEY_NORM] = self._norm(layer.self_attn.k_norm)
            for number, name in enumerate(_PROJECTIONS):
                start = kernels.MATRICES + number * kernels.MATRIX_FIELDS
                matrix = self._matrix(layer.get_submodule(name))
                fields_F[start : start + kernels.MATRIX_FIELDS] = matrix
                self._work += 512 * matrix[kernels.GROUPS] * matrix[kernels.BLOCKS]

    def _norm(self, norm: RMSNorm) -> int:
        return self._address(norm.weight.detach().float().contiguous())

    def _fill_constants(self) -> None:
        kernels, config, step_F = self._kernels, self._config, self._step_F
        query_size = config.num_attention_heads * config.head_dim
        numbers = torch.tensor([config.rms_norm_eps, config.head_dim**-0.5], dtype=torch.float32)
        values = {
            kernels.PATH: paths.NAMES.index(self.path),
            kernels.LAYERS: config.num_hidden_layers,
            kernels.HIDDEN: config.hidden_size,
            kernels.QUERY_HEADS: config.num_attention_heads,
            kernels.KEY_HEADS: config.num_key_value_heads,
            kernels.HEAD_DIM: config.head_dim,
            kernels.FEED_FORWARD: config.intermediate_size,
            kernels.WIDTH: max(config.hidden_size, config.intermediate_size, query_size),
            kernels.EPSILON: self._address(numbers),
            kernels.SCALE: numbers.data_ptr() + 4,
            kernels.COUNTER: self._counter.ctypes.data,
            kernels.LAST_NORM: self._norm(self._model.model.norm),
        }
        embedding: nn.Module = self._model.model.embed_tokens
        if isinstance(embedding, QuantizedEmbedding):
            matrix = self._matrix(embedding.matrix)
        else:
            assert isinstance(embedding, nn.Embedding)
            weight = embedding.weight
            matrix = [_KINDS[weight.dtype], weight.data_ptr(), 0, 0, 0, 0, 0]
        values |= {
            kernels.EMBEDDING_KIND: matrix[kernels.BITS],
            kernels.EMBEDDING: matrix[kernels.WEIGHTS],
            kernels.EMBEDDING_SCALES: matrix[kernels.SCALES],
            kernels.EMBEDDING_GROUPS: matrix[kernels.GROUPS],
        }
        for place, value in values.items():
            step_F[place] = value

    def _reserve(self, rows: int, stretches: int, threads: int) -> None:
        """Memory for what is computed on the way."""
        kernels, config = self._kernels, self._config
        if rows <= self._rows and stretches <= self._stretches and threads <= self._threads:
            return
        self._threads = max(threads, self._threads)
        self._rows, self._stretches = max(rows, self._rows), max(stretches, self._stretches)
        rows = self._rows
        width = int(self._step_F[kernels.WIDTH])
        heads, size = config.num_attention_heads, config.head_dim
        query_size, key_size = (
            -(-number * size // 16) * 16 for number in (heads, config.num_key_value_heads)
        )
        wide = -(-config.intermediate_size // 16) * 16
        float32: dict[int, tuple[int, ...]] = {
            kernels.RESIDUAL: (rows, config.hidden_size),
            kernels.NORMED: (rows, width),
            kernels.ROUNDED_SCALES: (rows, width // 32),
            kernels.QUERIES: (rows, query_size),
            kernels.KEYS: (rows, key_size),
            kernels.VALUES: (rows, key_size),
            kernels.GATES: (rows, wide),
            kernels.UPS: (rows, wide),
            kernels.ADDED: (rows, -(-config.hidden_size // 16) * 16),
            kernels.SCORES: (self._threads, kernels.STRETCH),
            kernels.PARTIALS: (rows, heads, self._stretches, size + 2),
        }
        made = {place: torch.zeros(shape) for place, shape in float32.items()}
        made[kernels.ROUNDED] = torch.zeros(rows, width, dtype=torch.int8)
        made[kernels.ROUNDED_SUMS] = torch.zeros(rows, width // 32, dtype=torch.int32)
        for place, tensor in made.items():
            self._step_F[place] = tensor.data_ptr()
        self._step_F[kernels.MOST_STRETCHES] = self._stretches
        outs = (
            kernels.QUERIES, kernels.KEYS, kernels.VALUES, kernels.ADDED, kernels.GATES,
            kernels.UPS, kernels.ADDED,
        )  # fmt: skip
        for number, out in enumerate(outs):
            place = kernels.MATRICES + number * kernels.MATRIX_FIELDS + kernels.OUT
            self._layers_LF[:, place] = self._step_F[out]
        self._scratch = list(made.values())

    def _reserve_positions(self, positions: int) -> None:
        if self._rope is not None and len(self._rope[0]) >= positions:
            return
        count = _FIRST_POSITIONS
        while count < positions:
            count *= 2
        places_1P = torch.arange(count)[None]
        tables = rope_tables(places_1P, self._config.head_dim, self._config.rope_theta)
        cosine_PD, sine_PD = (table[0, :, 0].contiguous() for table in tables)
        self._rope = (cosine_PD, sine_PD)
        self._step_F[self._kernels.COSINES] = cosine_PD.data_ptr()
        self._step_F[self._kernels.SINES] = sine_PD.data_ptr()

    def _point_to(self, cache: KeyValueCache) -> None:
        kernels = self._kernels
        self._step_F[kernels.CACHE_KIND] = _KINDS[cache.keys_BSKD[0].dtype]
        self._step_F[kernels.CACHE_TOKENS] = cache.keys_BSKD[0].stride(0) // (
            self._config.num_key_value_heads * self._config.head_dim
        )
        addresses = [
            [tensor.data_ptr() for tensor in tensors]
            for tensors in (cache.keys_BSKD, cache.values_BSKD)
        ]
        places = [kernels.CACHED_KEYS, kernels.CACHED_VALUES]
        if isinstance(cache, Int8KeyValueCache):
            addresses += [
                [tensor.data_ptr() for tensor in scales]
                for scales in (cache.key_scales_BSK, cache.value_scales_BSK)
            ]
            places += [kernels.KEY_SCALES, kernels.VALUE_SCALES]
        for place, values in zip(places, addresses, strict=True):
            self._layers_LF[:, place] = values
        self._pointed = weakref.ref(cache)
