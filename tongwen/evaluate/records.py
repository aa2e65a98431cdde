"""Records: what one item came to, as JSON, whoever answered it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from tongwen.evaluate.choice_scores import choice_scores
from tongwen.evaluate.choices import Fit, Score, dialogue
from tongwen.evaluate.free import Answer, judge
from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.programs import program_scores
from tongwen.evaluate.spec import TaskSpec

Record = dict[str, Any]

NOT_FINITE = "not_finite"
"""Why an item was not scored: a logit that decides it is NaN or infinite."""
TOO_LONG = "too_long"
"""Likewise: it does not fit the model's window."""
REFUSED = "refused"
"""Likewise: the server would not answer it."""


@dataclass(frozen=True)
class Questions:
    """The items of a task, and whether they are put in the ChatML format."""

    spec: TaskSpec
    items: Sequence[Item]
    chat: bool


@dataclass(frozen=True)
class Shown:
    """An item as the model saw it.

    Attributes:
        prompt: what it read before the answer, markers included where they are known.
        is_cut: the prompt lost its beginning.
        unasked: why it was not asked, `TOO_LONG` or `REFUSED`; None where it was.
        refusal: what the server said.
    """

    prompt: str
    is_cut: bool = False
    unasked: str | None = None
    refusal: str = ""

    @classmethod
    def fitting(cls, prompt: str, fit: Fit) -> "Shown":
        """By how the item fits a model's window."""
        return cls(prompt, fit is Fit.CUT, TOO_LONG if fit is Fit.TOO_LONG else None)


@dataclass(frozen=True)
class ChoiceScores:
    """What a model finds of an item's choices.

    Attributes:
        tokens: scored of each choice.
        scores: of each choice; empty where the item was not asked.
        unconditional: likewise without the question; empty where the task does not compare so.
    """

    tokens: Sequence[int]
    scores: Sequence[Score]
    unconditional: Sequence[Score] = ()


def choice_record(
    task: Questions, item: Item, shown: Shown, found: ChoiceScores, near_tie: float
) -> Record:
    """The record of an item with choices; less than `near_tie` apart, another batch may decide."""
    return _head(task, item, shown) | _choice_values(item, shown, found, near_tie)


def free_record(task: Questions, item: Item, shown: Shown, answer: Answer | None) -> Record:
    """The record of an item that was answered in free text; None where it was not asked."""
    given = answer or Answer("", hit_limit=False)
    scores, judged, is_found = judge(task.spec, item, given.text)
    reason = shown.unasked or (None if given.is_finite else NOT_FINITE)
    return _head(task, item, shown) | {
        "answer": given.text,
        "judged": judged,
        "accepted": list(item.accepted),
        "choices": list(item.choices),
        "extracted": is_found,
        "hit_limit": given.hit_limit,
        "not_scored": reason,
        "scores": {} if reason else scores,
    }


def program_record(
    task: Questions, item: Item, shown: Shown, samples: Sequence[Mapping[str, Any]]
) -> Record:
    """The record of an item whose answers are programs; no samples where it was not asked."""
    is_finite = all(sample["is_finite"] for sample in samples)
    reason = shown.unasked or (None if is_finite else NOT_FINITE)
    return _head(task, item, shown) | {
        "answer": samples[0]["answer"] if samples else "",
        "accepted": [],
        "choices": [],
        "samples": list(samples),
        "hit_limit": bool(samples) and all(sample["hit_limit"] for sample in samples),
        "not_scored": reason,
        "scores": {} if reason else program_scores(samples),
    }


def _head(task: Questions, item: Item, shown: Shown) -> Record:
    return {
        "id": item.id,
        "place": item.place,
        "language": item.language,
        "cluster": item.cluster,
        "group": item.group,
        "gold": item.gold,
        "asked": _asked_digest(task, item),
        "prompt": shown.prompt,
        "truncated": shown.is_cut,
        **({"refusal": shown.refusal} if shown.refusal else {}),
    }


def _asked_digest(task: Questions, item: Item) -> str:
    """Names what is asked, before a template or a tokenizer makes a model's prompt of it."""
    asked: list[Any] = [
        dialogue(item, context) if task.chat else plain_prompt(task.spec, item, context)
        for context in item.contexts
    ]
    text = json.dumps([asked, item.choices], ensure_ascii=False)
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass"))


def _choice_values(item: Item, shown: Shown, found: ChoiceScores, near_tie: float) -> Record:
    """Scores of a multiple-choice item; none where it was not asked or a logit is not finite."""
    assert item.gold is not None
    lengths = [len(choice.strip().encode("utf-8")) for choice in item.choices]
    sums = [result.log_probability for result in found.scores]
    unconditional = [result.log_probability for result in found.unconditional]
    is_finite = all(map(math.isfinite, (*sums, *unconditional)))
    reason = shown.unasked or (None if is_finite else NOT_FINITE)
    choices = [
        {
            "text": text,
            "log_probability": None if reason else round(sums[index], 5),
            "tokens": tokens,
            "bytes": length,
        }
        for index, (text, tokens, length) in enumerate(
            zip(item.choices, found.tokens, lengths, strict=True)
        )
    ]
    if reason:
        return {
            "choices": choices,
            "predicted": None,
            "margin": None,
            "near_tie": False,
            "not_scored": reason,
            "scores": {},
        }
    ordered = sorted(sums, reverse=True)
    per_byte = [total / count for total, count in zip(sums, lengths, strict=True)]
    is_greedy = found.scores[item.gold].is_greedy
    return {
        "choices": choices,
        "predicted": sums.index(max(sums)),
        "margin": round(ordered[0] - ordered[1], 5) if len(ordered) > 1 else None,
        "near_tie": _is_near_tie(sums, near_tie) or _is_near_tie(per_byte, near_tie / min(lengths)),
        "not_scored": None,
        "scores": choice_scores(item, sums, unconditional, is_greedy=is_greedy),
    }


def _is_near_tie(values: Sequence[float], margin: float) -> bool:
    """Whether the two highest values are less than `margin` apart."""
    best, *others = sorted(values, reverse=True)
    return bool(others) and best - others[0] < margin
