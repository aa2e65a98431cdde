"""llama.cpp as a library, and the GGUF files it reads, for `decode.py`.

Only what a measurement of speed needs: no tokenizer, and queries and keys stay in the order of our
rotation, so that the text would be another one.
"""

import ctypes
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tongwen.model.llama import Llama
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear

_ALIGNMENT = 32
_F32, _Q4_0, _Q8_0, _BF16 = 0, 2, 8, 30
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, model: Llama) -> None:
    """A file with the model's weights as they are: Q4_0, Q8_0 or bfloat16, and float32 norms."""
    config = model.config
    tensors = [
        ("token_embd.weight", *_embedding(model)),
        ("output_norm.weight", *_plain(model.model.norm.weight)),
    ]
    if not config.tie_word_embeddings:
        tensors.append(("output.weight", *_matrix(model.lm_head)))
    for number, layer in enumerate(model.model.layers):
        for ours, theirs in _NAMES.items():
            module = layer.get_submodule(ours)
            is_norm = theirs.endswith("norm")
            found = _plain(module.weight) if is_norm else _matrix(module)
            tensors.append((f"blk.{number}.{theirs}.weight", *found))
    values: dict[str, Any] = {
        "general.architecture": "llama",
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": config.rope_theta,
        "llama.vocab_size": config.vocabulary_size,
        "tokenizer.ggml.model": "no_vocab",
    }
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
        for key, value in values.items():
            file.write(_text(key) + _value(value))
        offset = 0
        for name, shape, kind, data in tensors:
            sizes = b"".join(struct.pack("<Q", size) for size in reversed(shape))
            file.write(_text(name) + struct.pack("<I", len(shape)) + sizes)
            file.write(struct.pack("<IQ", kind, offset))
            offset += -(-data.nbytes // _ALIGNMENT) * _ALIGNMENT
        file.write(bytes(-file.tell() % _ALIGNMENT))
        for _, _, _, data in tensors:
            file.write(data.contiguous().flatten().view(torch.uint8).numpy().tobytes())
            file.write(bytes(-file.tell() % _ALIGNMENT))


def _embedding(model: Llama) -> tuple[tuple[int, ...], int, Tensor]:
    table: nn.Module = model.model.embed_tokens
    if isinstance(table, QuantizedEmbedding):
        return _matrix(table.matrix)
    weight = model.model.embed_tokens.weight
    return tuple(weight.shape), _BF16, weight.bfloat16()


def _matrix(module: nn.Module) -> tuple[tuple[int, ...], int, Tensor]:
    if isinstance(module, QuantizedLinear):
        rows, scales = module.stored()
        halves = scales.contiguous().view(torch.uint8).view(*scales.shape, 2)
        data = torch.cat([halves, rows.view(torch.uint8)], dim=-1)
        shape = (module.out_features, module.in_features)
        return shape, _Q4_0 if module.bits == 4 else _Q8_0, data
    assert isinstance(module, nn.Linear)
    return tuple(module.weight.shape), _BF16, module.weight.bfloat16()


def _plain(weight: Tensor) -> tuple[tuple[int, ...], int, Tensor]:
    return tuple(weight.shape), _F32, weight.detach().float()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value)


class _Parameters(ctypes.Structure):
    """Larger than the library's structures: what it does not know of them is passed on unread."""

    _fields_ = (("numbers", ctypes.c_uint32 * 256),)


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_SILENCE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
    lambda level, text, data: None
)
"""The library keeps it, so it must outlive every model."""


class LlamaCpp:
    """A loaded model of llama.cpp.

    Args:
        folder: of its libraries.
        file: GGUF.
        threads: that compute.
        rows: sequences at most.
    """

    def __init__(self, folder: Path, file: Path, threads: int, rows: int) -> None:
        libraries = {}
        for name in ("libggml-base", "libggml", "libllama"):
            found = sorted(path for path in folder.glob(f"{name}*.so*") if "-cpu" not in path.name)
            exact = [path for path in found if path.name.split(".")[0] == name]
            libraries[name] = ctypes.CDLL(str(exact[0]), mode=ctypes.RTLD_GLOBAL)
        ggml, self._library = libraries["libggml"], libraries["libllama"]
        library = self._library
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
        library.llama_log_set(_SILENCE, None)
        library.llama_model_default_params.restype = _Parameters
        library.llama_context_default_params.restype = _Parameters
        library.llama_model_load_from_file.restype = ctypes.c_void_p
        library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Parameters]
        library.llama_init_from_model.restype = ctypes.c_void_p
        library.llama_init_from_model.argtypes = [ctypes.c_void_p, _Parameters]
        library.llama_batch_init.restype = _Batch
        library.llama_decode.argtypes = [ctypes.c_void_p, _Batch]
        library.llama_set_n_threads.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
        library.llama_get_memory.restype = ctypes.c_void_p
        library.llama_get_memory.argtypes = [ctypes.c_void_p]
        library.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        library.llama_free.argtypes = library.llama_model_free.argtypes = [ctypes.c_void_p]
        parameters = library.llama_model_default_params()
        self._model = library.llama_model_load_from_file(str(file).encode(), parameters)
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {file}")
        options = library.llama_context_default_params()
        # n_ctx, n_batch, n_ubatch, n_seq_max
        for place, value in enumerate((1024 * rows, 512, 512, rows)):
            options.numbers[place] = value
        self._context = library.llama_init_from_model(self._model, options)
        if not self._context:
            raise SystemExit("llama.cpp cannot make a context")
        library.llama_set_n_threads(self._context, threads, threads)
        self._batch = library.llama_batch_init(512, 0, 1)

    def steps(self, rows: int) -> Callable[[], object]:
        state = {"position": -1}

        def step() -> None:
            if state["position"] < 0:
                self._clear()
                for row in range(rows):
                    self._decode([(1, place, row, place == 15) for place in range(16)])
                state["position"] = 16
            self._decode([(5, state["position"], row, True) for row in range(rows)])
            state["position"] += 1

        return step

    def prefill(self, tokens: int) -> None:
        self._clear()
        places = range(tokens)
        self._decode([(1 + place % 300, place, 0, place == tokens - 1) for place in places])

    def _clear(self) -> None:
        self._library.llama_memory_clear(self._library.llama_get_memory(self._context), True)

    def _decode(self, tokens: list[tuple[int, int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, (token, position, row, wants_logits) in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = row
            batch.logits[place] = wants_logits
        if failed := self._library.llama_decode(self._context, batch):
            raise SystemExit(f"llama_decode failed with {failed}")

    def close(self) -> None:
        self._library.llama_free(self._context)
        self._library.llama_model_free(self._model)
