"""A haystack read once, and every question on a branch of its cache."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tongwen.errors import InputError
from tongwen.evaluate.long.haystack import Straw
from tongwen.evaluate.long.needles import KINDS, NeedleMaker, Question, haystack_text, recall
from tongwen.model.cache import new_cache
from tongwen.model.decoding import Prefill
from tongwen.model.llama import KeyValueCache, Llama
from tongwen.tokenizer.text import Tokenizer

_FACT_SHARE = 0.1
"""Part of a haystack that may be needles: more would leave no straw."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is asked: each kind at each length and depth.

    Attributes:
        lengths: tokens of haystack, question and answer together.
        kinds: of `KINDS`.
        cells: depths, equal parts of the text.
        samples: of each kind at each length and depth.
        seed: of all draws.
    """

    lengths: Sequence[int]
    kinds: Sequence[str] = KINDS
    cells: int = 5
    samples: int = 25
    seed: int = 0


@dataclass(frozen=True)
class Haystack:
    """A text of one length with the facts of its questions."""

    language: str
    length: int
    number: int
    text: str
    token_ids: list[int]
    questions: tuple[Question, ...]


def haystacks(
    tokenizer: Tokenizer, straw: Straw, language: str, length: int, grid: Grid
) -> list[Haystack]:
    """All haystacks of one length: as many as its questions' facts need room.

    Raises:
        InputError: the length has no room for one question.
    """
    made: list[Haystack] = []
    waiting = [
        (kind, cell)
        for _ in range(grid.samples)
        for cell in range(grid.cells)
        for kind in grid.kinds
    ]
    while waiting:
        seed = f"{grid.seed} {language} {length} {len(made)}"
        maker = NeedleMaker(language, seed)
        room = int(length * _FACT_SHARE)
        questions: list[Question] = []
        for kind, cell in waiting:
            question = maker.question(kind, cell)
            room -= sum(len(tokenizer.encode(fact)) for fact in question.facts)
            if room < 0 and questions:
                break
            questions.append(question)
        waiting = waiting[len(questions) :]
        made.append(_haystack(tokenizer, straw, language, length, len(made), questions, grid, seed))
    return made


def _haystack(
    tokenizer: Tokenizer,
    straw: Straw,
    language: str,
    length: int,
    number: int,
    questions: Sequence[Question],
    grid: Grid,
    seed: str,
) -> Haystack:
    """As much straw as leaves room for facts, the longest question and its answer."""
    start = tokenizer.beginning_ids
    asked = max(len(tokenizer.encode(q.text)) + q.answer_tokens for q in questions)
    budget = length - asked - len(start)
    wanted = budget - sum(len(tokenizer.encode(fact)) for q in questions for fact in q.facts)
    while wanted > 0:
        sentences = straw.stack(wanted, seed)
        text = haystack_text(sentences, questions, language, grid.cells, seed)
        ids = [*start, *tokenizer.encode(text)]
        if len(ids) <= budget + len(start):
            return Haystack(language, length, number, text, ids, tuple(questions))
        wanted -= len(ids) - budget
    raise InputError(
        f"a haystack of {length:,} tokens has no room for a question of {asked:,} and its facts",
        hint="ask at greater lengths",
    )


@dataclass(frozen=True)
class Asked:
    """A question and what the model said."""

    language: str
    length: int
    haystack: int
    kind: str
    cell: int
    question: str
    expected: tuple[str, ...]
    answer: str
    score: float | None
    """Share of what was expected; None where the model computed no finite number."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ask(
    model: Llama,
    tokenizer: Tokenizer,
    haystack: Haystack,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> list[Asked]:
    """Answers to all questions of a haystack: it is read once, then each question and its answer
    take the places behind it, which the next one takes again.

    Args:
        model: ready to run.
        tokenizer: of the model.
        haystack: of `haystacks`, no longer than the model's window.
        report: called with the tokens read of the haystack and its length.
    """
    prefix = haystack.token_ids
    cache = new_cache(model, 1, haystack.length)
    reader = Prefill(model, prefix, cache=cache)
    while reader.advance() is None:
        report(reader.tokens, len(prefix))
    answers = []
    for question in haystack.questions:
        ids = _answer(model, tokenizer, cache, len(prefix), question)
        text = None if ids is None else tokenizer.decode(ids)
        answers.append(
            Asked(
                haystack.language,
                haystack.length,
                haystack.number,
                question.kind,
                question.cell,
                question.text,
                question.expected,
                text or "",
                None if text is None else recall(text, question.expected),
            )
        )
    return answers


@torch.inference_mode()
def _answer(
    model: Llama, tokenizer: Tokenizer, cache: KeyValueCache, known: int, question: Question
) -> list[int] | None:
    """The likeliest continuation of the question, to the end of its line; None where a logit that
    decides it is not finite.
    """
    piece, position, ids = tokenizer.encode(question.text), known, list[int]()
    while len(ids) < question.answer_tokens:
        positions = torch.arange(position, position + len(piece), device=model.device)
        piece_BT = torch.tensor([piece], device=model.device)
        hidden_BTM = model(piece_BT, positions_BT=positions[None], keys=cache)
        logits_V = model.logits(hidden_BTM[0, -1])
        chosen = int(logits_V.argmax())
        if not math.isfinite(logits_V[chosen]):
            return None
        if chosen == tokenizer.end_id:
            break
        ids.append(chosen)
        if "\n" in tokenizer.decode(ids).lstrip("\n"):
            break
        position, piece = position + len(piece), [chosen]
    return ids
