"""Answers to many prompts at once, for evaluation and tests."""

import math
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from tongwen.errors import InputError
from tongwen.model.cache import new_cache
from tongwen.model.decoding import DecodingBatch, Prefill
from tongwen.model.llama import Llama
from tongwen.model.sampler import Sampler, Sampling


def generate(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int],
    temperature: float = 0.0,
    seed: int = 0,
    rows: int = 32,
    report_not_finite: Callable[[int], None] = lambda number: None,
) -> list[list[int]]:
    """The continuation of every prompt, without the stop id that ended it.

    Up to `rows` prompts share each step, and a prompt does not read again what it shares with the
    one before it. Each answer is the one its prompt would get alone: rows neither see nor wait for
    one another, and draws depend on `seed` and the prompt's place. (Matrix products round
    differently for another number of rows, so where two logits tie within float error the choice
    can differ; float32 weights make that rare.)

    Args:
        model: ready to run; arithmetic is in the dtype of its weights.
        prompts: token ids.
        max_new_tokens: longest answer; it also ends where the model's window is full.
        stop_ids: an answer ends before the first of these.
        temperature: 0 is greedy.
        seed: of the draws.
        rows: prompts in the cache at once; bounds the memory.
        report_not_finite: called with a prompt's place where its logits are NaN or infinite; its
            answer ends there.

    Raises:
        InputError: a prompt is empty, or leaves no place for an answer in the window.
    """
    window = model.config.max_position_embeddings
    _check_prompts(prompts, window)
    answers = [
        _Answer(
            Sampler(Sampling(temperature=temperature, seed=seed + number)),
            min(max_new_tokens, window - len(prompt)),
            stop_ids,
            partial(report_not_finite, number),
        )
        for number, prompt in enumerate(prompts)
    ]
    waiting = deque(range(len(prompts))) if max_new_tokens > 0 else deque()
    batch = DecodingBatch(model)
    active: list[_Answer] = []
    reader = _PromptReader(model, max(map(len, prompts), default=0))
    while waiting or active:
        while waiting and len(active) < rows:
            number = waiting.popleft()
            prefill, logits_V = reader.read(prompts[number])
            if answers[number].take(logits_V):
                batch.append(prefill)
                active.append(answers[number])
        if not active:
            continue
        logits_BV = batch.step([answer.ids[-1] for answer in active])
        # From the last row to the first: a removed row is replaced by one already dealt with.
        for row in reversed(range(len(active))):
            if not active[row].take(logits_BV[row]):
                batch.remove(row)
                active[row] = active[-1]
                active.pop()
    return [answer.ids for answer in answers]


def _check_prompts(prompts: Sequence[Sequence[int]], window: int) -> None:
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise InputError(f"prompt {number} is empty", hint="give the model a first token")
        if len(prompt) >= window:
            raise InputError(
                f"prompt {number} has {len(prompt):,} tokens; the window has {window:,}, "
                "the answer included",
                hint="shorten the prompt, or widen the window with `tongwen extend`",
            )


class _PromptReader:
    """Reads prompts one after the other into the same row of a cache."""

    def __init__(self, model: Llama, longest_tokens: int) -> None:
        self._model = model
        self._cache = new_cache(model, 1, longest_tokens)
        self._held: Sequence[int] = ()

    def read(self, prompt_ids: Sequence[int]) -> tuple[Prefill, Tensor]:
        """The prompt, valid until the next is read, and the logits of the token after it, (V,)."""
        shared = 0  # the last token is read in any case: its logits are wanted
        for one, other in zip(self._held, prompt_ids[:-1], strict=False):
            if one != other:
                break
            shared += 1
        are_others = self._model.config.turns_by_length(max(len(self._held), len(prompt_ids)))
        known = 0 if are_others else shared
        prefill = Prefill(self._model, prompt_ids, cache=self._cache, known_tokens=known)
        logits_V = None
        while logits_V is None:
            logits_V = prefill.advance()
        self._held = prompt_ids
        return prefill, logits_V


@dataclass
class _Answer:
    sampler: Sampler
    max_tokens: int
    stop_ids: Collection[int]
    report_not_finite: Callable[[], None]
    ids: list[int] = field(default_factory=list)

    def take(self, logits_V: Tensor) -> bool:
        """Choose the next token; whether the answer goes on after it."""
        token_id = self.sampler.choose(logits_V)
        # The likeliest of logits with a NaN among them is the NaN: one value says it.
        if not math.isfinite(logits_V[token_id]):
            self.report_not_finite()
            return False
        if token_id in self.stop_ids:
            return False
        self.ids.append(token_id)
        return len(self.ids) < self.max_tokens
