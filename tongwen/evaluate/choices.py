"""Multiple choice by log-likelihood: how probable the model finds each choice after the prompt.

Shape suffixes in this file: B rows, T tokens, N scored positions, M hidden_size, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.spec import TaskSpec
from tongwen.model.llama import Llama
from tongwen.tokenizer.special import EOS_ID, Message
from tongwen.tokenizer.text import Tokenizer

_LOGITS_AT_ONCE = 1 << 24
"""Logits held at once: 64 MiB in float32, whatever the vocabulary and the batch."""


@dataclass(frozen=True)
class Request:
    """Tokens to read; those from `context_tokens` on are scored (at least one of each)."""

    token_ids: tuple[int, ...]
    context_tokens: int


@dataclass(frozen=True)
class Score:
    """Natural logarithm of the scored tokens' probability, and whether each was the likeliest."""

    log_probability: float
    is_greedy: bool


def choice_requests(
    spec: TaskSpec, item: Item, tokenizer: Tokenizer, *, chat: bool, window_tokens: int
) -> tuple[list[Request], bool]:
    """One request for each choice, and whether the prompt was cut to fit the window.

    Prompt and choice are encoded together, since tokens may reach across the boundary; every
    token that holds a byte of the choice is scored. Where the prompt is the same for all
    choices, all are scored from the same place: the end of the longest token prefix they share
    inside the prompt. A prompt that is too long loses its beginning.
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
    requests, is_cut = [], False
    for ids, context_tokens in encoded:
        if context_tokens == 0:  # nothing to predict the first token from but a document's start
            ids, context_tokens = [EOS_ID, *ids], 1
        surplus = min(len(ids) - 1 - window_tokens, context_tokens - 1)
        if surplus > 0:
            ids, context_tokens, is_cut = ids[surplus:], context_tokens - surplus, True
        requests.append(Request(tuple(ids), context_tokens))
    return requests, is_cut


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

    Requests that read the same tokens and differ in the last one only share a row, so a
    question with letters for choices costs one. The output head sees scored positions only.

    Args:
        model: ready to run.
        requests: any number.
        batch_tokens: padded tokens of a batch, at most, unless a single row is longer.
        report: called with the finished and the total number of rows.
    """
    readers: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        readers.setdefault(request.token_ids[:-1], []).append(index)
    rows = sorted(readers, key=lambda ids: (-len(ids), ids))  # a lack of memory shows at once
    scores: list[Score | None] = [None] * len(requests)
    for start, end in pairwise(_batch_starts([len(ids) for ids in rows], batch_tokens)):
        batch = rows[start:end]
        asked = [[requests[index] for index in readers[ids]] for ids in batch]
        for ids, row_scores in zip(batch, _score_batch(model, batch, asked), strict=True):
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
def _score_batch(
    model: Llama, rows: Sequence[tuple[int, ...]], asked: Sequence[Sequence[Request]]
) -> list[list[Score]]:
    device = model.model.embed_tokens.weight.device
    ids_BT = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for row, ids in enumerate(rows):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    # Padding stands on the right, where causal attention keeps it from being seen.
    hidden_BTM = model(ids_BT.to(device))
    places: dict[tuple[int, int], int] = {}
    pairs: list[tuple[int, int]] = []  # (index of the scored position, token that came)
    for row, requests in enumerate(asked):
        for request in requests:
            for position in range(request.context_tokens, len(request.token_ids)):
                place = places.setdefault((row, position - 1), len(places))
                pairs.append((place, request.token_ids[position]))
    where = torch.tensor(list(places), device=device)
    hidden_NM = hidden_BTM[where[:, 0], where[:, 1]]
    values = iter(_log_probabilities(model, hidden_NM, pairs))
    results = []
    for requests in asked:
        row_scores = []
        for request in requests:
            count = len(request.token_ids) - request.context_tokens
            tokens = [next(values) for _ in range(count)]
            total = math.fsum(log_probability for log_probability, _ in tokens)
            row_scores.append(Score(total, all(is_best for _, is_best in tokens)))
        results.append(row_scores)
    return results


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
