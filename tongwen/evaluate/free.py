"""Free answers: the model writes, greedily, and its text is judged."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tongwen.errors import InputError
from tongwen.evaluate.answers import (
    accepted_numbers,
    contains,
    cut_at,
    exact_match,
    extract,
    f1,
    is_empty,
    is_letter_answer,
    number_match,
    stands_in,
    without_question,
)
from tongwen.evaluate.choices import Fit, dialogue
from tongwen.evaluate.instructions import instruction_scores
from tongwen.evaluate.items import Item, plain_prompt
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.latex import formula_matches, read_formula
from tongwen.evaluate.letters import letter_answers, letter_scores, read_letters
from tongwen.evaluate.numbers import Reading, last_number, read_number
from tongwen.evaluate.spec import TaskSpec
from tongwen.evaluate.trie import UNLIMITED, ReadingLimits
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.plugins import Code, JudgedAnswer, call
from tongwen.tokenizer.text import Tokenizer

_PROMPTS_AT_ONCE = 256
"""An answer does not depend on when a killed run went on: those of so many are kept together."""
_MOST_ROWS = 128
"""Answers that grow together: beyond 128 a step costs as much as it saves."""


@dataclass(frozen=True)
class Prompt:
    """What the model continues, and how it fits the window with the answer."""

    token_ids: list[int]
    fit: Fit


@dataclass(frozen=True)
class Answer:
    """What the model said, whether it was stopped by the limit of new tokens, and whether all its
    logits were finite.
    """

    text: str
    hit_limit: bool
    is_finite: bool = True


def free_prompt(
    spec: TaskSpec,
    item: Item,
    tokenizer: Tokenizer,
    *,
    chat: bool,
    window_tokens: int,
    max_new_tokens: int,
) -> Prompt:
    """The item's prompt as token ids, with room for the answer inside the window.

    A window without room for the prompt's last token and the longest answer cannot ask anything.
    """
    if chat:
        turns = dialogue(item, item.contexts[0])
        ids, _ = tokenizer.encode_dialogue(turns, add_generation_prompt=True)
    else:
        ids = tokenizer.encode(plain_prompt(spec, item, item.contexts[0]))
        ids = [*tokenizer.beginning_ids, *ids] or [tokenizer.start_id]
    room = window_tokens - max_new_tokens
    if len(ids) <= room:
        return Prompt(ids, Fit.WHOLE)
    return Prompt(ids[-room:], Fit.CUT) if room > 0 else Prompt(ids, Fit.TOO_LONG)


def answer_prompts(
    model: Llama,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[str],
    max_new_tokens: int,
    batch_tokens: int,
    cache_tokens: int = UNLIMITED,
    report: Callable[[int, int], None] = lambda done, total: None,
    journal: Journal | None = None,
) -> list[Answer]:
    """The greedy answer to every prompt, in order.

    Prompts are read in alphabetic order, so that each reads only what it does not share with the
    one before.

    Args:
        model: ready to run.
        tokenizer: of the model.
        prompts: token ids.
        stops: texts that end an answer and are not part of it.
        max_new_tokens: longest answer.
        batch_tokens: answers that grow together, at most: each step reads a token of each.
        cache_tokens: tokens in the cache at once.
        report: called with the finished and the total number of prompts.
        journal: keeps finished answers, from which a killed run goes on.

    Raises:
        RecipeError: the longest prompt and its answer do not fit the cache.
    """
    stop_ids = {*tokenizer.stop_ids}
    for stop in stops:
        ids = tokenizer.encode(stop)
        if len(ids) == 1:  # saves steps; the text is searched all the same
            stop_ids.add(ids[0])
    rows = rows_at_once(prompts, max_new_tokens, batch_tokens, cache_tokens)
    order = sorted(range(len(prompts)), key=lambda index: tuple(prompts[index]))
    answers: list[Answer | None] = [None] * len(prompts)
    for number, start in enumerate(range(0, len(order), _PROMPTS_AT_ONCE)):
        indices = order[start : start + _PROMPTS_AT_ONCE]
        if journal is not None and number < len(journal.entries):
            found = [Answer(*values) for values in journal.entries[number]]
        else:
            found = _answer_together(
                model, tokenizer, [prompts[index] for index in indices], stops, stop_ids,
                max_new_tokens, rows,
            )  # fmt: skip
            if journal is not None:
                journal.add([[one.text, one.hit_limit, one.is_finite] for one in found])
        for index, answer in zip(indices, found, strict=True):
            answers[index] = answer
        report(start + len(indices), len(order))
    return [answer for answer in answers if answer is not None]


def rows_at_once(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, batch_tokens: int, cache_tokens: int
) -> int:
    """How many answers can grow together.

    Raises:
        RecipeError: the longest prompt and its answer do not fit the cache.
    """
    if not prompts:
        return 1
    longest = max(map(len, prompts)) + max_new_tokens
    # Each prompt is read in a row of its own, and a batch that grows is in memory twice.
    rows = min(ReadingLimits(batch_tokens, cache_tokens).piece_tokens(longest), _MOST_ROWS)
    return max(1, min(rows, (cache_tokens - longest) // (3 * longest)))


def _answer_together(
    model: Llama,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[str],
    stop_ids: Collection[int],
    max_new_tokens: int,
    rows: int,
) -> list[Answer]:
    broken: set[int] = set()
    written = generate(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        stop_ids=stop_ids,
        rows=rows,
        report_not_finite=broken.add,
    )
    answers = []
    for place, ids in enumerate(written):
        text = tokenizer.decode(ids)
        cut = cut_at(text, stops)
        hit_limit = cut == text and len(ids) >= max_new_tokens
        answers.append(Answer(cut, hit_limit, is_finite=place not in broken))
    return answers


def judge(spec: TaskSpec, item: Item, text: str) -> tuple[dict[str, float], str, bool]:
    """All scores of an answer, what was judged of it, and whether an answer was found in it.

    `exact_match` is strict and `flexible` lenient, so that a score which depends on how answers
    are read shows it. A wrong choice that the question itself names does not count against an
    answer, which may repeat the question ("4 plus 6 is 10"), unless it is a letter.
    """
    if spec.metric == "instructions":
        # Some ask for the question again before the answer; the question alone is no answer.
        is_answer = not is_empty(_without_question(spec, item, text))
        return instruction_scores(text if is_answer else "", item.accepted[0]), text, is_answer
    said = _without_question(spec, item, text)
    if spec.metric in ("letters", "math") and spec.extraction_code is None:
        return _LETTERS_OR_MATH[spec.metric](item, said)
    reading = read_number(said) if _reads_numbers(spec) else None
    judged, is_found = _judged(spec, item, text, said, reading)
    language = item.language
    others = [
        choice
        for index, choice in enumerate(item.choices)
        if index != item.gold
        and (is_letter_answer(choice) or not stands_in(item.contexts[0], choice, language))
    ]
    scores: dict[str, float] = {
        "contains": float(contains(judged, item.accepted, others, language)),
        "exact_match": float(exact_match(judged, item.accepted, language)),
        "f1": f1(judged, item.accepted, language),
    }
    if spec.metric == "number":
        scores |= _number_scores(item, judged, said, reading)
    else:
        scores["flexible"] = max(
            scores["contains"],
            scores["exact_match"],
            float(contains(said, item.accepted, others, language)),
            float(_is_same_letter(judged, item.accepted)),
        )
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


def _judge_letters(item: Item, said: str) -> tuple[dict[str, float], str, bool]:
    """The letters that an answer marks as its result; the last ones count as lenient."""
    right = letter_answers(item.accepted)
    letters, is_marked = read_letters(said, len(right))
    scores = letter_scores(letters, right)
    flexible = scores["letters"]
    if not is_marked:
        scores = dict.fromkeys(scores, 0.0)
    return scores | {"flexible": flexible}, " ".join(letters), bool(letters)


def _judge_math(item: Item, said: str) -> tuple[dict[str, float], str, bool]:
    """The formula that an answer marks as its result, or its last one."""
    formula = read_formula(said)
    judged = "" if formula is None else formula.text
    is_right = formula_matches(judged, item.accepted, item.contexts[0])
    is_marked = formula is not None and formula.is_marked
    number = last_number(said)
    by_number = number is not None and number in accepted_numbers(item.accepted)
    scores = {
        "math": float(is_right),
        "exact_match": float(is_right and is_marked),
        "flexible": float(is_right or by_number),
    }
    return scores, judged, not is_empty(judged)


_LETTERS_OR_MATH = {"letters": _judge_letters, "math": _judge_math}


def _without_question(spec: TaskSpec, item: Item, text: str) -> str:
    if exact_match(text, item.accepted, item.language):
        return text
    context = item.contexts[0]
    return without_question(text, (context, plain_prompt(spec, item, context)))


def _reads_numbers(spec: TaskSpec) -> bool:
    """Whether answers are read as numbers, not by patterns or code of the task."""
    return spec.metric == "number" and not spec.extract and spec.extraction_code is None


def _judged(
    spec: TaskSpec, item: Item, text: str, said: str, reading: Reading | None
) -> tuple[str, bool]:
    """What is judged of an answer, and whether there is an answer in it."""
    if _reads_numbers(spec):
        return (said.strip(), False) if reading is None else (reading.text, True)
    code = spec.extraction_code
    if code is None:
        judged, is_found = extract(said, spec.extract)
        has_answer = not is_empty(judged) or exact_match(judged, item.accepted, item.language)
        return judged, is_found and has_answer
    function = code.load()
    found = call(code, f"the answer to {item.place}", lambda: function(text))
    if found is not None and not isinstance(found, str):
        raise InputError(
            f"{code.name} answered {found!r} for the answer to {item.place}",
            hint="answer a text, or None where nothing is found",
        )
    return (text.strip(), False) if found is None else (found.strip(), True)


def _number_scores(item: Item, judged: str, said: str, reading: Reading | None) -> dict[str, float]:
    """Strict, counted and lenient: a stated result, the number that was read, also the last one."""
    accepted = accepted_numbers(item.accepted)
    is_right = number_match(judged, item.accepted) if reading is None else reading.value in accepted
    is_stated = reading is None or reading.is_marked
    return {
        "number": float(is_right),
        "exact_match": float(is_right and is_stated),
        "flexible": float(is_right or last_number(said) in accepted),
    }


def _is_same_letter(judged: str, accepted: Sequence[str]) -> bool:
    """Whether the letter is right, brackets or not."""
    letters = {
        answer.strip(" ()（）.").casefold() for answer in accepted if is_letter_answer(answer)
    }
    return judged.strip(" ()（）.*").casefold() in letters


def _own_score(code: Code, item: Item, answer: JudgedAnswer) -> float:
    function = code.load()
    score = call(code, f"the answer to {item.place}", lambda: float(function(answer)))
    if not 0 <= score <= 1:
        raise InputError(
            f"{code.name} scored the answer to {item.place} with {score}",
            hint="a score is a number from 0 to 1",
        )
    return float(score)
