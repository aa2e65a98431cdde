"""A model behind an address, asked as `Evaluator` asks a folder's."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tongwen.ask.server import Refusal
from tongwen.evaluate.answers import cut_at
from tongwen.evaluate.choices import Score, dialogue
from tongwen.evaluate.free import Answer
from tongwen.evaluate.items import Item, plain_prompt, without_question
from tongwen.evaluate.journal import Journal
from tongwen.evaluate.programs import SEED, ProgramSettings, Report, judged_samples
from tongwen.evaluate.records import (
    REFUSED,
    ChoiceScores,
    Questions,
    Record,
    Shown,
    choice_record,
    free_record,
    program_record,
)
from tongwen.evaluate.server.echo import Echo, shared_end
from tongwen.evaluate.server.endpoint import CHAT, COMPLETIONS, Endpoint, Reply, Wanted, Written
from tongwen.evaluate.spec import TaskSpec

_MOST_STOPS = 4
"""That OpenAI's interface takes; all of them are looked for in the answer."""
_NO_FIRST = "a choice without a context: its first token has no log-probability"


class ServerEvaluator:
    """Asks an `Endpoint`.

    Prompts go as text: the server's own tokenizer and template make tokens of them. What does not
    fit its window it refuses, which is counted; nothing is cut here.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def choice_records(
        self, tasks: Sequence[Questions], *, report: Report, journal: Journal | None = None
    ) -> list[list[Record]]:
        """The records of several tasks of the kind `choice`, by the log-probabilities of texts.

        Raises:
            InputError: the server does not answer, or no longer gives them.
        """
        asked = [[_AskedItem(self._endpoint, task, item) for item in task.items] for task in tasks]
        wanted = [one for items in asked for item in items for one in item.wanted]
        replies = self._endpoint.replies(wanted, journal, report)
        return [
            [item.record(replies, self._endpoint.near_tie) for item in items] for items in asked
        ]

    def records(
        self,
        spec: TaskSpec,
        items: Sequence[Item],
        *,
        chat: bool,
        max_new_tokens: int,
        report: Report,
        journal: Journal | None = None,
        programs: ProgramSettings | None = None,
    ) -> list[Record]:
        """A record for every item of a task whose answers are text or programs.

        Raises:
            InputError: the server does not answer, or has no interface for such prompts.
        """
        task = Questions(spec, items, chat)
        programs = programs or ProgramSettings()
        wanted = [
            [
                self._writing(task, item, max_new_tokens, programs, number)
                for number in range(programs.samples if spec.kind == "program" else 1)
            ]
            for item in items
        ]
        replies = self._endpoint.replies([one for some in wanted for one in some], journal, report)
        found = [[replies[one.name] for one in some] for some in wanted]
        shown = [
            _shown(_prompt_text(task, item), some) for item, some in zip(items, found, strict=True)
        ]
        stops = () if chat else spec.stop
        answers = [
            [_answer(reply, stops) for reply in some] if not one.unasked else []
            for one, some in zip(shown, found, strict=True)
        ]
        if spec.kind == "program":
            return _program_records(task, shown, answers, programs)
        return [
            free_record(task, item, one, some[0] if some else None)
            for item, one, some in zip(items, shown, answers, strict=True)
        ]

    def _writing(
        self,
        task: Questions,
        item: Item,
        max_new_tokens: int,
        programs: ProgramSettings,
        number: int,
    ) -> Wanted:
        prompt: str | Sequence[Mapping[str, str]] = plain_prompt(task.spec, item, item.contexts[0])
        if task.chat:
            prompt = dialogue(item, item.contexts[0])
        is_drawn = programs.temperature > 0
        return self._endpoint.writing(
            CHAT if task.chat else COMPLETIONS,
            prompt,
            max_tokens=max_new_tokens,
            stop=() if task.chat else task.spec.stop[:_MOST_STOPS],
            temperature=programs.temperature,
            seed=SEED + number if is_drawn else None,
        )


class _AskedItem:
    """An item with choices: its requests, and its record once they are answered."""

    def __init__(self, endpoint: Endpoint, task: Questions, item: Item) -> None:
        self._task, self._item = task, item
        self._asked = list(_choices(endpoint, task.spec, item))
        alone = without_question(task.spec, item) if task.spec.unconditional else None
        self._alone = list(_choices(endpoint, task.spec, alone)) if alone is not None else []

    @property
    def wanted(self) -> list[Wanted]:
        """The requests."""
        return [*self._asked, *self._alone]

    def record(self, replies: Mapping[str, Reply], near_tie: float) -> Record:
        """What the replies come to."""
        item = self._item
        first = self._asked[0]
        prompt = (first.scored_text or "").encode()
        found = [replies[one.name] for one in self.wanted]
        shown = _shown(prompt[: first.context_bytes].decode(), found)
        if shown.unasked:
            nothing = ChoiceScores([0] * len(item.choices), [])
            return choice_record(self._task, item, shown, nothing, near_tie)
        starts, scores = _scores(self._asked, replies, is_shared=len(item.contexts) == 1)
        _, alone = _scores(self._alone, replies, is_shared=True)
        if any(math.isnan(score.log_probability) for score in (*scores, *alone)) and _has_none(
            found, (*self._asked, *self._alone)
        ):
            shown = Shown(shown.prompt, unasked=REFUSED, refusal=_NO_FIRST)
        else:
            seen = first.context_bytes if starts[0] < 0 else starts[0]
            shown = Shown(prompt[:seen].decode("utf-8", "replace"))
        tokens = [
            len(_echo(replies, one).ends) - _first(_echo(replies, one), start)
            for one, start in zip(self._asked, starts, strict=True)
        ]
        return choice_record(self._task, item, shown, ChoiceScores(tokens, scores, alone), near_tie)


def _choices(endpoint: Endpoint, spec: TaskSpec, item: Item) -> Iterable[Wanted]:
    """A request for each choice: the text whose tokens are scored behind the context."""
    for index, choice in enumerate(item.choices):
        context = item.contexts[index if len(item.contexts) > 1 else 0]
        prompt = plain_prompt(spec, item, context)
        yield endpoint.echo(prompt + choice, len(prompt.encode()))


def _echo(replies: Mapping[str, Reply], one: Wanted) -> Echo:
    reply = replies[one.name]
    assert isinstance(reply, Echo)
    return reply


def _first(echo: Echo, start: int) -> int:
    """The first token that is scored where scoring begins after `start` bytes."""
    return echo.scored_from(start)


def _scores(
    asked: Sequence[Wanted], replies: Mapping[str, Reply], *, is_shared: bool
) -> tuple[list[int], list[Score]]:
    """Where scoring begins, in bytes, and the score, of each choice."""
    if not asked:
        return [], []
    echoes = [_echo(replies, one) for one in asked]
    starts = [one.context_bytes for one in asked]
    if is_shared:
        starts = [shared_end(echoes, starts[0])] * len(asked)
    scores = []
    for echo, start in zip(echoes, starts, strict=True):
        first = _first(echo, start)
        scores.append(Score(echo.log_probability(first), all(echo.is_best[first:])))
    return starts, scores


def _has_none(found: Sequence[Reply], wanted: Sequence[Wanted]) -> bool:
    """Whether a scored token has no log-probability, as the first of a text has none."""
    return any(
        isinstance(reply, Echo)
        and None in reply.log_probabilities[_first(reply, one.context_bytes) :]
        for reply, one in zip(found, wanted, strict=True)
    )


def _shown(prompt: str, replies: Sequence[Reply]) -> Shown:
    refusal = next((reply.reason for reply in replies if isinstance(reply, Refusal)), None)
    if refusal is None:
        return Shown(prompt)
    return Shown(prompt, unasked=REFUSED, refusal=refusal)


def _prompt_text(task: Questions, item: Item) -> str:
    """What was sent: a dialogue as its turns, since the server's template is not seen."""
    if not task.chat:
        return plain_prompt(task.spec, item, item.contexts[0])
    turns = dialogue(item, item.contexts[0])
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _answer(reply: Reply, stops: Sequence[str]) -> Answer:
    assert isinstance(reply, Written)
    cut = cut_at(reply.text, stops)
    return Answer(cut, hit_limit=reply.is_cut and cut == reply.text)


def _program_records(
    task: Questions,
    shown: Sequence[Shown],
    answers: Sequence[Sequence[Answer]],
    programs: ProgramSettings,
) -> list[Record]:
    asked = [item for item, one in zip(task.items, shown, strict=True) if not one.unasked]
    given = [some for some in answers if some]
    judged: Any = iter(judged_samples(asked, given, programs.isolation, chat=task.chat))
    return [
        program_record(task, item, one, [] if one.unasked else next(judged))
        for item, one in zip(task.items, shown, strict=True)
    ]
