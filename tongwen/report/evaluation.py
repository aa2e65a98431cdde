"""Scores with their intervals, the prompts that were asked, and answers right and wrong."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tongwen.report.funnel import group_of
from tongwen.report.words import number, words

_SAMPLES = 3  # of each task, language and verdict
_QUESTION_CHARACTERS = 400  # its end: few-shot examples come before it
_LAST_USER_TURN = re.compile(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", re.S)


@dataclass(frozen=True)
class ScoreRow:
    """One task in one language; score, interval and chance are shares of 1."""

    task: str
    language: str
    metric: str
    n: int
    score: float
    interval: tuple[float, float] | None
    chance: float | None
    kind: str

    @property
    def is_share(self) -> bool:
        """Whether score and interval are shares of 1; bits per byte are not."""
        return self.metric != "gold_bits_per_byte"

    @property
    def color(self) -> str:
        return group_of(self.language)


@dataclass(frozen=True)
class Answer:
    """A question, what the model answered, what was expected."""

    lang: str
    question: str
    answer: str
    expected: str
    is_right: bool


@dataclass(frozen=True)
class TaskSamples:
    """Answers of one task, right ones before wrong ones."""

    task: str
    items: Sequence[Answer]


@dataclass(frozen=True)
class Evaluation:
    """All results of the evaluate stage."""

    scores: Sequence[ScoreRow]
    notes: Sequence[Markup]
    prompts: Sequence[tuple[str, str]]
    samples: Sequence[TaskSamples]


def build_evaluation(data: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Evaluation:
    """The contents of `results.json` and `items.jsonl`; items are read one at a time."""
    results = data["results"]
    scores = [
        ScoreRow(
            task=result["task"],
            language=result["language"],
            metric=result["metric"],
            n=result["n"],
            score=result["value"],
            interval=tuple(result["interval"]) if result["interval"] else None,
            chance=result.get("chance"),
            kind=result.get("kind", ""),
        )
        for result in results
    ]
    return Evaluation(
        scores=scores,
        notes=[
            *(note for result in results for note in _notes(result)),
            *map(_missing, data.get("missing", ())),
        ],
        prompts=[
            (f"{result['task']} · {result['language']}", result["example"]["prompt"])
            for result in results
            if result.get("example")
        ],
        samples=_samples({row.task: row.metric for row in scores}, items),
    )


def _notes(result: Mapping[str, Any]) -> list[Markup]:
    """What a reader must know before believing a score."""
    name = f"{result['task']} ({result['language']})"
    not_scored = result.get("not_scored", {})
    asked = result["n"] + sum(not_scored.values())
    counts = {
        **{key: (result.get(key), result["n"]) for key in ("truncated", "left_out", "hit_limit")},
        "not_finite": (not_scored.get("not_finite"), asked),
        "too_long": (not_scored.get("too_long"), asked),
        "not_extracted": (result.get("not_extracted"), result["n"]),
    }
    return [
        words(f"note_{key}", task=name, count=number(count), n=number(n))
        for key, (count, n) in counts.items()
        if count
    ]


def _missing(entry: Mapping[str, Any]) -> Markup:
    return words("note_missing", task=entry["task"], source=entry.get("source", ""))


def _samples(metrics: Mapping[str, str], items: Iterable[Mapping[str, Any]]) -> list[TaskSamples]:
    """The first few items of each task, language and verdict, in the order of the file."""
    found: dict[tuple[str, str, bool], list[Answer]] = defaultdict(list)
    for item in items:
        metric = metrics.get(item["task"], "")
        if metric not in item["scores"]:
            continue
        is_right = item["scores"][metric] == 1
        kept = found[item["task"], item["language"], is_right]
        if len(kept) < _SAMPLES:
            kept.append(_answer(item, is_right))
    return [
        TaskSamples(
            task,
            [
                answer
                for right in (True, False)
                for (name, _, verdict), answers in sorted(found.items())
                if name == task and verdict is right
                for answer in answers
            ],
        )
        for task in metrics
        if any(name == task for name, _, _ in found)
    ]


def _answer(item: Mapping[str, Any], is_right: bool) -> Answer:
    choices = [one["text"] if isinstance(one, dict) else one for one in item.get("choices", ())]
    if "answer" in item:
        answer, expected = item["answer"], " / ".join(item.get("accepted", ()))
    else:
        answer, expected = choices[item["predicted"]], choices[item["gold"]]
    turns = _LAST_USER_TURN.findall(item["prompt"])
    question = (turns[-1] if turns else item["prompt"]).strip()
    if len(question) > _QUESTION_CHARACTERS:
        question = "…" + question[-_QUESTION_CHARACTERS:]
    lang = "zh-Hans" if item["language"].startswith("zh") else item["language"]
    return Answer(lang, question, answer.strip(), expected.strip(), is_right)
