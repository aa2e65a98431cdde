"""Free answers: the model writes, greedily, and its text is judged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tongwen.errors import InputError
from tongwen.evaluate.answers import (
    contains,
    cut_at,
    exact_match,
    extract,
    f1,
    number_match,
    stands_in,
)
from tongwen.evaluate.choices import dialogue
from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.spec import TaskSpec
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.plugins import Code, JudgedAnswer, call
from tongwen.tokenizer.special import EOS_ID, STOP_IDS
from tongwen.tokenizer.text import Tokenizer

_PROMPTS_AT_ONCE = 256
_ROWS = (1, 128)
"""Fewest and most answers that grow together: beyond 128 a step costs as much as it saves."""


@dataclass(frozen=True)
class Prompt:
    """What the model continues; `is_cut` when its beginning was left out to fit the window."""

    token_ids: list[int]
    is_cut: bool


@dataclass(frozen=True)
class Answer:
    """What the model said, and whether it was stopped by the limit of new tokens."""

    text: str
    hit_limit: bool


def free_prompt(
    spec: TaskSpec,
    item: Item,
    tokenizer: Tokenizer,
    *,
    chat: bool,
    window_tokens: int,
    max_new_tokens: int,
) -> Prompt:
    """The item's prompt as token ids, with room for the answer inside the window."""
    if chat:
        turns = dialogue(item, item.contexts[0])
        ids, _ = tokenizer.encode_dialogue(turns, add_generation_prompt=True)
    else:
        ids = tokenizer.encode(plain_prompt(spec, item, item.contexts[0])) or [EOS_ID]
    room = max(1, window_tokens - max_new_tokens)
    return Prompt(ids[-room:], len(ids) > room)


def answer_prompts(
    model: Llama,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    max_new_tokens: int,
    batch_tokens: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Answer]:
    """The greedy answer to every prompt, in order.

    Args:
        model: ready to run.
        tokenizer: of the model.
        prompts: token ids.
        stops: texts that end an answer and are not part of it.
        max_new_tokens: longest answer.
        batch_tokens: tokens in the cache at once, about.
        report: called with the finished and the total number of prompts.
    """
    stop_ids = {*STOP_IDS}
    for stop in stops:
        ids = tokenizer.encode(stop)
        if len(ids) == 1:  # saves steps; the text is searched all the same
            stop_ids.add(ids[0])
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    answers: list[Answer | None] = [None] * len(prompts)
    for start in range(0, len(order), _PROMPTS_AT_ONCE):
        indices = order[start : start + _PROMPTS_AT_ONCE]
        longest = len(prompts[indices[0]]) + max_new_tokens
        rows = min(max(batch_tokens // longest, _ROWS[0]), _ROWS[1])
        written = generate(
            model,
            [prompts[index] for index in indices],
            max_new_tokens=max_new_tokens,
            stop_ids=stop_ids,
            rows=rows,
        )
        for index, ids in zip(indices, written, strict=True):
            text = tokenizer.decode(ids)
            cut = cut_at(text, stops)
            answers[index] = Answer(cut, cut == text and len(ids) >= max_new_tokens)
        report(start + len(indices), len(order))
    return [answer for answer in answers if answer is not None]


def judge(spec: TaskSpec, item: Item, text: str) -> tuple[dict[str, float], str, bool]:
    """All scores of an answer, what was judged of it, and whether a pattern found that.

    A wrong choice that the question itself names does not count against an answer, which may
    repeat the question: "4 plus 6 is 10".
    """
    judged, is_found = _judged(spec, item, text)
    language = item.language
    others = [
        choice
        for index, choice in enumerate(item.choices)
        if index != item.gold and not stands_in(item.contexts[0], choice, language)
    ]
    scores: dict[str, float] = {
        "contains": float(contains(judged, item.accepted, others, language)),
        "exact_match": float(exact_match(judged, item.accepted, language)),
        "f1": f1(judged, item.accepted, language),
    }
    if spec.metric == "number":
        scores["number"] = float(number_match(judged, item.accepted))
    if (code := spec.metric_code) is not None:
        answer = JudgedAnswer(
            text=text,
            judged=judged,
            accepted=item.accepted,
            choices=item.choices,
            language=language,
            question=item.contexts[0],
        )
        scores[spec.metric] = _own_score(code, item, answer)
    return scores, judged, is_found


def _judged(spec: TaskSpec, item: Item, text: str) -> tuple[str, bool]:
    """What is judged of an answer, and whether it was found."""
    code = spec.extraction_code
    if code is None:
        return extract(text, spec.extract)
    function = code.load()
    found = call(code, f"the answer to {item.place}", lambda: function(text))
    if found is not None and not isinstance(found, str):
        raise InputError(
            f"{code.name} answered {found!r} for the answer to {item.place}",
            hint="answer a text, or None where nothing is found",
        )
    return (text.strip(), False) if found is None else (found.strip(), True)


def _own_score(code: Code, item: Item, answer: JudgedAnswer) -> float:
    function = code.load()
    score = call(code, f"the answer to {item.place}", lambda: float(function(answer)))
    if not 0 <= score <= 1:
        raise InputError(
            f"{code.name} scored the answer to {item.place} with {score}",
            hint="a score is a number from 0 to 1",
        )
    return float(score)
