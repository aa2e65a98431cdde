"""llama.cpp as a library, and files of weights that it reads, for `decode.py` and `gguf.py`."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch

from tongwen.export.gguf import add_shape, add_tensors, finish
from tongwen.model.llama import Llama


def write_weights(path: Path, model: Llama) -> None:
    """A file with the model's weights as they are, plain ones as bfloat16, and no tokenizer."""
    writer = gguf.GGUFWriter(path.with_name(f".{path.name}.partial"), "llama")
    add_shape(writer, model.config, "bench")
    writer.add_tokenizer_model("no_vocab")
    add_tensors(writer, model, torch.bfloat16, turns_neighbours=True)
    finish(writer, path)


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
        library.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
        library.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        library.llama_model_get_vocab.restype = ctypes.c_void_p
        library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        library.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
        library.llama_vocab_is_eog.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        library.llama_vocab_is_eog.restype = ctypes.c_bool
        library.llama_tokenize.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32, ctypes.c_bool, ctypes.c_bool,
        ]  # fmt: skip
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

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text in which special pieces are read as such."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = self._library.llama_tokenize(
            self._vocabulary, data, len(data), ids, len(ids), True, True
        )
        if count < 0:
            raise SystemExit(f"llama_tokenize failed with {count}")
        return list(ids[:count])

    def ends(self) -> list[int]:
        """Ids at which llama.cpp ends an answer."""
        size = self._library.llama_vocab_n_tokens(self._vocabulary)
        is_end = self._library.llama_vocab_is_eog
        return [number for number in range(size) if is_end(self._vocabulary, number)]

    def greedy(self, prompt: list[int], tokens: int) -> list[int]:
        """The likeliest next tokens, one after the other; up to one that ends the answer."""
        self._clear()
        ends, answer = self.ends(), []
        size = self._library.llama_vocab_n_tokens(self._vocabulary)
        last = len(prompt) - 1
        self._decode([(token, place, 0, place == last) for place, token in enumerate(prompt)])
        while True:
            logits = self._library.llama_get_logits_ith(self._context, -1)
            token = int(np.ctypeslib.as_array(logits, (size,)).argmax())
            if token in ends or len(answer) == tokens:
                return answer
            answer.append(token)
            self._decode([(token, last + len(answer), 0, True)])

    @property
    def _vocabulary(self) -> int:
        return int(self._library.llama_model_get_vocab(self._model))

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
