"""Multiple choice by log-likelihood: how probable the model finds each choice after the prompt."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.spec import TaskSpec
from tongwen.evaluate.trie import UNLIMITED, ReadingLimits, Request, Requests, Trie, read_trie
from tongwen.model.llama import Llama
from tongwen.tokenizer.special import Message
from tongwen.tokenizer.text import Tokenizer


class Fit(IntEnum):
    """How an item fits the model's window."""

    WHOLE = 0
    CUT = 1
    """Its prompt lost its beginning."""
    TOO_LONG = 2
    """Even without its prompt there is no place for it; it cannot be scored."""


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
    encoded = [(ids, count) if count else ([tokenizer.start_id, *ids], 1) for ids, count in encoded]
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
    ids, ends = tokenizer.encode_with_ends(context + choice)
    context_bytes = len(context.encode("utf-8"))
    context_tokens = sum(end <= context_bytes for end in ends[:-1])
    beginning = tokenizer.beginning_ids
    return [*beginning, *ids], len(beginning) + context_tokens


def _common_prefix(rows: Sequence[list[int]]) -> int:
    first, last = min(rows), max(rows)  # whatever these two share, those between share too
    for length, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return length
    return min(len(first), len(last))


def score(
    model: Llama,
    requests: Requests | Iterable[Request],
    *,
    batch_tokens: int,
    cache_tokens: int = UNLIMITED,
    report: Callable[[int, int], None] = lambda done, total: None,
    journal: Journal | None = None,
) -> list[Score]:
    """The score of every request, in order; see `read_trie` for the arguments."""
    if not isinstance(requests, Requests):
        requests = Requests(requests)
    trie = Trie.of(requests)
    is_one_piece = len(requests) == 1 and len(trie) <= batch_tokens
    if model.config.turns_by_length(trie.path_tokens) and not is_one_piece:
        return _score_alone(model, requests, cache_tokens, report)
    limits = ReadingLimits(batch_tokens, cache_tokens)
    found = read_trie(model, trie, limits, report=report, journal=journal)
    tokens: list[list[float]] = [[] for _ in range(trie.requests)]
    is_greedy = [True] * trie.requests
    columns = zip(trie.owners.tolist(), found.log_probabilities, found.is_best, strict=True)
    for owner, log_probability, is_best in columns:
        tokens[owner].append(log_probability)
        is_greedy[owner] &= is_best
    return [
        Score(math.fsum(values), is_best) for values, is_best in zip(tokens, is_greedy, strict=True)
    ]


def _score_alone(
    model: Llama, requests: Requests, cache_tokens: int, report: Callable[[int, int], None]
) -> list[Score]:
    """As `score`, each request in one piece of its own: no two share keys and values."""
    found = []
    for number in range(len(requests)):
        one = requests.only(number)
        found += score(model, one, batch_tokens=UNLIMITED, cache_tokens=cache_tokens)
        report(number + 1, len(requests))
    return found
