"""Encode batches of Arrow texts: the same ids as `Tokenizer.encode`, for the speed of a stage."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongwen.tokenizer.fast import FastTokenizer
from tongwen.tokenizer.kernels import KEY_BYTES, SHORT, Rules, Seen, encode_texts, fill, merge_long
from tongwen.tokenizer.model_file import BPE, BYTE, NORMAL, UNUSED, USER_DEFINED, read_model
from tongwen.tokenizer.text import SPACE_MARK, Tokenizer

_CHARACTERS = 0x110000  # all of Unicode: 4 MiB, and no look-up needs a test
_SEEN_SLOTS = 1 << 18


class BulkEncoder:
    """Encodes many texts at once.

    Models of the kind we train go through compiled code; any other goes text by text through
    SentencePiece, and `slow_reason` says why.

    Args:
        tokenizer: of the vocabulary; encodes what the compiled code cannot.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.slow_reason, rules = _rules(tokenizer)
        """Why this model is not for the compiled code; None when it is."""
        self._rules = rules
        self._seen = Seen(
            slots=np.zeros((_SEEN_SLOTS, 4), np.uint64),
            ids=np.zeros((_SEEN_SLOTS, KEY_BYTES), np.int32),
        )
        self._scratch = (np.empty(SHORT, np.int32), np.empty(SHORT, np.int64))

    def encode(
        self, texts: Any, *, end_id: int | None = None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The ids of all texts, int32 [tokens], and int64 [texts + 1] where each text's ids begin.

        Markers inside a text stay text. Memory: five times the bytes of the texts.

        Args:
            texts: pyarrow array of strings without nulls, valid UTF-8.
            end_id: put after every text; then what the tokenizer begins texts with is put before.
        """
        if self._rules is None:
            return self._encode_slowly(texts, end_id)
        data, offsets = text_buffers(texts)
        ids = np.empty(int(offsets[-1] - offsets[0]) + len(texts), np.int32)
        starts = np.zeros(len(texts) + 1, np.int64)
        state = np.array([0, offsets[0], 0, 0], np.int64)
        while not encode_texts(
            self._rules,
            self._seen,
            data,
            offsets,
            -1 if end_id is None else end_id,
            self._scratch,
            ids,
            starts,
            state,
        ):
            _, start, filled, end = state.tolist()
            count = self._encode_long(data[start:end], ids[filled:])
            state[1:3] = end, filled + count
        return ids[: int(state[2])], starts

    def encode_trial(self) -> None:
        """Call every kernel of this class, so that numba compiles it."""
        data, _ = text_buffers(pa.array(["trial"], pa.string()))
        self.encode(pa.array(["trial"], pa.string()), end_id=0)
        if self._rules is not None:
            self._encode_long(data, np.empty(len(data), np.int32))

    def _encode_long(self, data: npt.NDArray[np.uint8], out: npt.NDArray[np.int32]) -> int:
        """Write the ids of one long segment; how many they are."""
        size = len(data)
        before, after = np.empty(size, np.int32), np.empty(size, np.int32)
        return int(merge_long(self._rules, data, out, before, after, np.empty(2 * size, np.int64)))

    def _encode_slowly(
        self, texts: Any, end_id: int | None
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        ids: list[int] = []
        starts = [0]
        many = texts.to_pylist()
        found = (
            self.tokenizer.encode_many(many)
            if isinstance(self.tokenizer, FastTokenizer)
            else map(self.tokenizer.encode, many)
        )
        for text_ids in found:
            ids += self.tokenizer.beginning_ids if end_id is not None else ()
            ids += text_ids
            if end_id is not None:
                ids.append(end_id)
            starts.append(len(ids))
        return np.array(ids, np.int32), np.array(starts, np.int64)


def text_buffers(texts: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The UTF-8 bytes of a pyarrow array of strings, and int64 [texts + 1] where each begins."""
    texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    places = np.zeros(len(texts) + 1, np.int64)
    if len(texts):
        places[:] = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
    return np.frombuffer(data or b"", np.uint8), places


def _rules(tokenizer: Tokenizer) -> tuple[str | None, Rules | None]:
    """The model as arrays, or why that is impossible."""
    if isinstance(tokenizer, FastTokenizer):
        return "it is a tokenizer.json of another maker", None
    model = read_model(tokenizer.model)
    kinds = Counter(kind for _, _, kind in model.pieces)
    learned = {
        piece.replace(SPACE_MARK, " "): number
        for number, (piece, _, kind) in enumerate(model.pieces)
        if kind == NORMAL
    }
    order = sorted(learned, key=lambda piece: -model.pieces[learned[piece]][1])
    merged = [piece for piece in order if len(piece) > 1]
    scores = {model.pieces[learned[piece]][1] for piece in merged}
    reasons = (
        (model.kind != BPE, f"it is no BPE but {model.kind_name}"),
        (model.has_character_map, "it exchanges characters before it encodes"),
        (model.adds_dummy_prefix, "it puts a space before a text"),
        (model.removes_extra_spaces, "it removes spaces"),
        (not model.escapes_spaces, "it has its own way with spaces"),
        (not model.byte_fallback or kinds[BYTE] != 256, "it has no bytes for rare characters"),
        (kinds[USER_DEFINED] > 0, "it has user-defined pieces"),
        (kinds[UNUSED] > 0, "it has pieces that must not be used"),
        (len(scores) < len(merged), "two of its pieces have the same score"),
        (any(character not in learned for piece in merged for character in piece),
         "a character in one of its pieces is no piece itself"),
    )  # fmt: skip
    for holds, reason in reasons:
        if holds:
            return reason, None
    symbols = np.full(_CHARACTERS, -1, np.int32)
    for piece, number in learned.items():
        if len(piece) == 1:
            symbols[ord(piece)] = number
    byte_pieces = np.zeros(256, np.int32)
    for number, (piece, _, kind) in enumerate(model.pieces):
        if kind == BYTE:
            byte_pieces[int(piece[3:5], 16)] = number
    return None, _tables(learned, merged, symbols, byte_pieces)


def _tables(
    learned: dict[str, int],
    merged: list[str],
    symbols: npt.NDArray[np.int32],
    byte_pieces: npt.NDArray[np.int32],
) -> Rules:
    """`merged` are the pieces of two and more characters, best first."""
    pairs = {(one, other) for piece in merged for one, other in pairwise(piece)}
    ascii_joins = np.zeros(128 * 128, np.bool_)
    for one, other in pairs:
        if one.isascii() and other.isascii():
            ascii_joins[ord(one) << 7 | ord(other)] = True
    joins, _ = _table((ord(one) << 32 | ord(other), 0) for one, other in pairs)
    merge_keys, merge_ranks = _table(
        (learned[piece[:cut]] << 32 | learned[piece[cut:]], rank)
        for rank, piece in enumerate(merged)
        for cut in range(1, len(piece))
        if piece[:cut] in learned and piece[cut:] in learned
    )
    rank_pieces = np.array([learned[piece] for piece in merged], np.int32)
    return Rules(symbols, ascii_joins, joins, merge_keys, merge_ranks, rank_pieces, byte_pieces)


def _table(
    entries: Iterable[tuple[int, int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Keys and values of a hash table that is at most half full."""
    rows = np.array(list(entries), np.int64).reshape(-1, 2)
    size = 1 << (2 * len(rows) + 1).bit_length()
    keys, values = np.full(size, -1, np.int64), np.zeros(size, np.int64)
    fill(rows[:, 0].copy(), rows[:, 1].copy(), keys, values)
    return keys, values
