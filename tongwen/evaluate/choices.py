"""Multiple choice by log-likelihood: how probable the model finds each choice after the prompt.

Shape suffixes in this file: B rows, T tokens, N scored positions, M hidden_size, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import torch
from torch import Tensor

from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.spec import TaskSpec
from tongwen.model.llama import KeyValueCache, Llama
from tongwen.tokenizer.special import EOS_ID, Message
from tongwen.tokenizer.text import Tokenizer

_LOGITS_AT_ONCE = 1 << 24
"""Logits held at once: 64 MiB in float32, whatever the vocabulary and the batch."""


class Fit(IntEnum):
    """How an item fits the model's window."""

    WHOLE = 0
    CUT = 1
    """Its prompt lost its beginning."""
    TOO_LONG = 2
    """Even without its prompt there is no place for it; it cannot be scored."""


@dataclass(frozen=True)
class Request:
    """Tokens to read; those from `context_tokens` on are scored (at least one of each)."""

    token_ids: tuple[int, ...]
    context_tokens: int


@dataclass(frozen=True)
class Score:
    """Natural logarithm of the scored tokens' probability, and whether each was the likeliest.

    The logarithm is NaN or infinite where the model's logits are.
    """

    log_probability: float
    is_greedy: bool


def choice_requests(
    spec: TaskSpec, item: Item, tokenizer: Tokenizer, *, chat: bool, window_tokens: int
) -> tuple[list[Request], Fit]:
    """One request for each choice, and how they fit the window.

    Prompt and choice are encoded together, since tokens may reach across the boundary; every
    token that holds a byte of the choice is scored. Where the prompt is the same for all
    choices, all are scored from the same place: the end of the longest token prefix they share
    inside the prompt. A prompt that is too long loses its beginning, for all choices as much as
    the longest needs, so that all are judged on the same evidence. Where no token of the prompt
    would be left before a choice, the requests come whole and must not be asked.
    """
    encoded: list[tuple[list[int], int]] = []
    for index, choice in enumerate(item.choices):
        context = item.contexts[index if len(item.contexts) > 1 else 0]
        encoded.append(
            _encode_chat(item, context, choice, tokenizer)
            if chat
            else _encode_plain(plain_prompt(spec, item, context), choice, tokenizer)
        )
    if len(item.contexts) == 1:
        shared = min(count for _, count in encoded)
        shared = min(shared, _common_prefix([ids for ids, _ in encoded]))
        encoded = [(ids, shared) for ids, _ in encoded]
    # Without context there is nothing to predict a first token from but a document's start.
    encoded = [(ids, count) if count else ([EOS_ID, *ids], 1) for ids, count in encoded]
    surplus = max(len(ids) - 1 - window_tokens for ids, _ in encoded)
    if surplus >= min(count for _, count in encoded):
        return [Request(tuple(ids), count) for ids, count in encoded], Fit.TOO_LONG
    surplus = max(surplus, 0)
    requests = [Request(tuple(ids[surplus:]), count - surplus) for ids, count in encoded]
    return requests, Fit.CUT if surplus else Fit.WHOLE


def dialogue(item: Item, context: str) -> list[Message]:
    """The examples and the question as the turns of a dialogue."""
    turns: list[Message] = []
    for question, answer in item.shots:
        turns.append({"role": "user", "content": question})
        turns.append({"role": "assistant", "content": answer.strip()})
    return [*turns, {"role": "user", "content": context}]


def _encode_chat(
    item: Item, context: str, choice: str, tokenizer: Tokenizer
) -> tuple[list[int], int]:
    ids, _ = tokenizer.encode_dialogue(dialogue(item, context), add_generation_prompt=True)
    return ids + tokenizer.encode(choice.strip()), len(ids)


def _encode_plain(context: str, choice: str, tokenizer: Tokenizer) -> tuple[list[int], int]:
    ids = tokenizer.encode(context + choice)
    context_bytes = len(context.encode("utf-8"))
    context_tokens, end_byte = 0, 0
    for token_id in ids[:-1]:
        end_byte += len(tokenizer.token_bytes[token_id])
        if end_byte > context_bytes:
            break
        context_tokens += 1
    return ids, context_tokens


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    length = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length


def score(
    model: Llama,
    requests: Sequence[Request],
    *,
    batch_tokens: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Score]:
    """The score of every request, in order.

    Requests with the same context share one reading of it: their choices follow one after the
    other in the same places of the cache, so a question whose choices are letters costs one
    pass. The output head sees scored positions only.

    Args:
        model: ready to run.
        requests: any number.
        batch_tokens: padded tokens of a batch, at most, unless a single row is longer.
        report: called with the finished and the total number of different contexts.
    """
    readers: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        readers.setdefault(request.token_ids[: request.context_tokens], []).append(index)
    longest = {
        ids: max(len(requests[index].token_ids) for index in indices)
        for ids, indices in readers.items()
    }
    rows = sorted(readers, key=lambda ids: (-longest[ids], ids))  # a lack of memory shows at once
    scores: list[Score | None] = [None] * len(requests)
    for start, end in pairwise(_batch_starts([longest[ids] for ids in rows], batch_tokens)):
        batch = rows[start:end]
        asked = [[requests[index] for index in readers[ids]] for ids in batch]
        for ids, row_scores in zip(batch, _score_batch(model, asked), strict=True):
            for index, result in zip(readers[ids], row_scores, strict=True):
                scores[index] = result
        report(end, len(rows))
    return [result for result in scores if result is not None]


def _batch_starts(lengths: Sequence[int], batch_tokens: int) -> list[int]:
    """Where batches begin, and the end; `lengths` do not grow."""
    starts = [0]
    for index in range(len(lengths)):
        rows = index + 1 - starts[-1]
        if rows > 1 and rows * lengths[starts[-1]] > batch_tokens:
            starts.append(index)
    return [*starts, len(lengths)] if lengths else [0]


@torch.inference_mode()
def _score_batch(model: Llama, asked: Sequence[Sequence[Request]]) -> list[list[Score]]:
    """Scores of rows of requests; those of a row share their context."""
    contexts = [row[0].token_ids[: row[0].context_tokens] for row in asked]
    # The last token of a choice is predicted and need not be read.
    endings = [[request.token_ids[request.context_tokens : -1] for request in row] for row in asked]
    widest = max(map(len, contexts)) + max(len(ids) for row in endings for ids in row)
    cache = KeyValueCache(model.config, len(asked), widest, model.dtype, model.device)
    hidden_BTM = _read(model, cache, contexts, [0] * len(asked))
    lasts = [(row, len(ids) - 1) for row, ids in enumerate(contexts)]
    pairs = [
        (row, request.token_ids[request.context_tokens])
        for row, requests in enumerate(asked)
        for request in requests
    ]
    firsts = iter(_log_probabilities(model, _at(hidden_BTM, lasts), pairs))
    tokens = [[[next(firsts)] for _ in requests] for requests in asked]
    for choice in range(max(map(len, asked))):
        # What an earlier choice left in the cache is overwritten from the context's end on.
        ids = [row[choice] if choice < len(row) else () for row in endings]
        if not any(ids):
            continue
        hidden_BTM = _read(model, cache, ids, [len(context) for context in contexts])
        places = [(row, place) for row, read in enumerate(ids) for place in range(len(read))]
        pairs = [
            (number, asked[row][choice].token_ids[len(contexts[row]) + 1 + place])
            for number, (row, place) in enumerate(places)
        ]
        found = _log_probabilities(model, _at(hidden_BTM, places), pairs)
        for (row, _), token in zip(places, found, strict=True):
            tokens[row][choice].append(token)
    return [
        [
            Score(math.fsum(value for value, _ in choice), all(is_best for _, is_best in choice))
            for choice in row
        ]
        for row in tokens
    ]


def _read(
    model: Llama, cache: KeyValueCache, rows: Sequence[Sequence[int]], starts: Sequence[int]
) -> Tensor:
    """Hidden states (B, T, M) of rows that begin at `starts` in the cache.

    Padding stands on the right, where no token of its row sees it.
    """
    device = cache.rows_B1.device
    width = max(1, *map(len, rows))
    ids_BT = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in rows], device=device)
    starts_B = torch.tensor(starts, device=device)
    positions_BT = starts_B[:, None] + torch.arange(width, device=device)
    hidden_BTM: Tensor = model(ids_BT, positions_BT=positions_BT, keys=cache)
    return hidden_BTM


def _at(hidden_BTM: Tensor, places: Sequence[tuple[int, int]]) -> Tensor:
    """The hidden states (N, M) at (row, place)."""
    row_N, place_N = torch.tensor(places, device=hidden_BTM.device).unbind(1)
    return hidden_BTM[row_N, place_N]


def _log_probabilities(
    model: Llama, hidden_NM: Tensor, pairs: Sequence[tuple[int, int]]
) -> list[tuple[float, bool]]:
    """For each (position, token) its log-probability and whether no token is likelier."""
    step = max(1, _LOGITS_AT_ONCE // model.config.vocabulary_size)
    place_P, token_P = torch.tensor(pairs, device=hidden_NM.device).unbind(1)
    logits_P = torch.empty(len(pairs), device=hidden_NM.device)
    normalizers, best = [], []
    for start in range(0, len(hidden_NM), step):
        logits_NV = model.logits(hidden_NM[start : start + step])
        normalizers.append(logits_NV.logsumexp(-1))
        best.append(logits_NV.argmax(-1))
        here = ((place_P >= start) & (place_P < start + step)).nonzero()[:, 0]
        logits_P[here] = logits_NV[place_P[here] - start, token_P[here]]
    values = logits_P - torch.cat(normalizers)[place_P]
    is_best = torch.cat(best)[place_P] == token_P
    return list(zip(values.tolist(), is_best.tolist(), strict=True))
