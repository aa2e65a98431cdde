"""Sequences that grow together: prompts are read in pieces, then each step adds a token to all.

Shape suffixes in this file: B rows, T tokens, V vocabulary_size.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tongwen.model.cache import CacheKind, Int8KeyValueCache, new_cache
from tongwen.model.llama import KeyValueCache, Llama
from tongwen.model.quantized.fused import fused_decoder

PREFILL_TOKENS = 1_024
"""Prompt tokens read at once. Bounds the attention mask, and how long other rows wait."""

_FIRST_CAPACITY_TOKENS = 256  # most conversations fit; doubling from 1 would copy eight times


class Prefill:
    """A prompt on its way into the cache.

    It is always read alone and in the same pieces, so that its result depends on nothing else.

    Args:
        model: that reads it.
        prompt_ids: the prompt, at least a token.
        cache: of one row, with room for it; one of its own when absent.
        known_tokens: so many of its first tokens, not all, are in `cache` from an earlier prompt.
        kind: of a cache of its own.
        piece_tokens: prompt tokens read at once, `PREFILL_TOKENS` when absent.
        observe: is handed the place of each piece and its last hidden states, (T, M).
    """

    def __init__(
        self,
        model: Llama,
        prompt_ids: Sequence[int],
        *,
        cache: KeyValueCache | None = None,
        known_tokens: int = 0,
        kind: CacheKind = "auto",
        piece_tokens: int | None = None,
        observe: Callable[[int, Tensor], None] | None = None,
    ) -> None:
        assert len(prompt_ids) > known_tokens, "a model cannot continue nothing"
        self._observe = observe
        self._model = model
        self._prompt_ids = prompt_ids
        self.tokens = known_tokens
        """Prompt tokens read so far."""
        in_one = model.config.turns_by_length(len(prompt_ids))
        self._piece_tokens = len(prompt_ids) if in_one else piece_tokens or PREFILL_TOKENS
        self.cache = new_cache(model, 1, len(prompt_ids), kind) if cache is None else cache

    @torch.inference_mode()
    def advance(self) -> Tensor | None:
        """Read the next piece; after the last, the logits of the next token, float32, (V,)."""
        piece = self._prompt_ids[self.tokens : self.tokens + self._piece_tokens]
        end = self.tokens + len(piece)
        device = self.cache.rows_B1.device
        hidden_BTM = self._model(
            torch.tensor([piece], device=device),
            positions_BT=torch.arange(self.tokens, end, device=device)[None],
            keys=self.cache,
        )
        if self._observe is not None:
            self._observe(self.tokens, hidden_BTM[0])
        self.tokens = end
        if end < len(self._prompt_ids):
            return None
        return self._model.logits(hidden_BTM[0, -1])


class DecodingBatch:
    """The rows of one cache, each a sequence of its own length. The cache grows as they do."""

    def __init__(self, model: Llama, kind: CacheKind = "auto") -> None:
        self._model = model
        self._kind = kind
        self._cache = self._new_cache(1, 1)
        self._fused = fused_decoder(model)
        self._lengths: list[int] = []

    def __len__(self) -> int:
        return len(self._lengths)

    @torch.inference_mode()
    def append(self, prefill: Prefill) -> None:
        """Take a prompt that has been read as the last row."""
        row, tokens = len(self._lengths), prefill.tokens
        self._reserve(row + 1, tokens)
        for mine, theirs in zip(self._cache.tensors(), prefill.cache.tensors(), strict=True):
            mine[row, :tokens] = theirs[0, :tokens]
        self._lengths.append(tokens)

    @torch.inference_mode()
    def remove(self, row: int) -> None:
        """Give a row up. The last row takes its place."""
        last = len(self._lengths) - 1
        if row != last:
            for tensor in self._cache.tensors():
                tensor[row] = tensor[last]
            self._lengths[row] = self._lengths[last]
        self._lengths.pop()
        if not self._lengths:
            self._cache = self._new_cache(1, 1)  # idle engines hold no memory

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int]) -> Tensor:
        """Add one token to every row; gives the logits of the tokens after, float32, (B, V)."""
        rows = len(self._lengths)
        assert len(token_ids) == rows, (len(token_ids), rows)
        self._reserve(rows, max(self._lengths) + 1)
        if self._fused is not None:
            logits_BV = self._fused.step(token_ids, self._lengths, self._cache, range(rows))
            self._lengths = [length + 1 for length in self._lengths]
            return logits_BV
        device = self._cache.rows_B1.device
        hidden_BTM = self._model(
            torch.tensor(token_ids, device=device)[:, None],
            positions_BT=torch.tensor(self._lengths, device=device)[:, None],
            keys=_first_rows(self._cache, rows),
        )
        self._lengths = [length + 1 for length in self._lengths]
        return self._model.logits(hidden_BTM[:, 0])

    @property
    def can_try(self) -> bool:
        """Whether `try_tokens` works here: where a step is one call into compiled code."""
        return self._fused is not None

    @torch.inference_mode()
    def try_tokens(self, token_ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Read tokens that may follow, for every row at least one; `keep` says which do.

        Returns:
            For each row the logits after each of its tokens, float32, (T, V), with the bits that
            `step` gives for them.
        """
        assert self._fused is not None
        assert len(token_ids) == len(self._lengths), (len(token_ids), len(self._lengths))
        ends = [length + len(ids) for length, ids in zip(self._lengths, token_ids, strict=True)]
        self._reserve(len(ends), max(ends))
        flat: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        for row, ids in enumerate(token_ids):
            flat += ids
            positions += range(self._lengths[row], ends[row])
            rows += [row] * len(ids)
        logits = self._fused.step(flat, positions, self._cache, rows)
        return list(torch.split(logits, [len(ids) for ids in token_ids]))

    def keep(self, row: int, tokens: int) -> None:
        """Take the first of the tokens that were tried into a row; the others are forgotten."""
        self._lengths[row] += tokens  # what the cache holds behind them is written again

    def _reserve(self, rows: int, tokens: int) -> None:
        """Make room, doubling so that growing costs little."""
        old = self._cache
        old_rows = len(old.rows_B1)
        if rows <= old_rows and tokens <= old.capacity_tokens:
            return
        new_rows = old_rows if rows <= old_rows else max(rows, 2 * old_rows)
        window = self._model.config.max_position_embeddings
        capacity = max(old.capacity_tokens, _FIRST_CAPACITY_TOKENS)
        while capacity < tokens:
            capacity *= 2
        self._cache = self._new_cache(new_rows, min(capacity, max(window, tokens)))
        for new, before in zip(self._cache.tensors(), old.tensors(), strict=True):
            new[:old_rows, : before.shape[1]] = before

    def _new_cache(self, rows: int, tokens: int) -> KeyValueCache:
        return new_cache(self._model, rows, tokens, self._kind)


def _first_rows(cache: KeyValueCache, rows: int) -> KeyValueCache:
    """The first rows of a cache, in the same memory."""
    view = copy.copy(cache)
    view.keys_BSKD = [tensor[:rows] for tensor in cache.keys_BSKD]
    view.values_BSKD = [tensor[:rows] for tensor in cache.values_BSKD]
    view.rows_B1 = cache.rows_B1[:rows]
    if isinstance(view, Int8KeyValueCache):
        view.key_scales_BSK = [tensor[:rows] for tensor in view.key_scales_BSK]
        view.value_scales_BSK = [tensor[:rows] for tensor in view.value_scales_BSK]
    return view
