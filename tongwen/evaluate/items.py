"""Items: rows turned into questions by a task's templates, with the right answer checked."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import xxhash

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.latex import read_formula
from tongwen.evaluate.readers import Row, Rows, value_of
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import TaskSpec

Turn = tuple[str, str]
"""A question and its answer."""


@dataclass(frozen=True)
class ProgramTest:
    """How an answer becomes a program, and what that must pass; see `TaskSpec`."""

    start: str
    setup: str
    tests: str
    entry: str


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        id: unique in its task.
        place: file and row, for messages.
        language: `en`, `zh`, ...
        cluster: items with an equal value depend on one another.
        group: by which results are broken down; empty when the task has no groups.
        shots: solved examples, oldest first.
        contexts: what stands before the scored text; one for every choice, or one for all.
        choices: the scored texts (kind `choice`), or the item's other answers (kind `generate`).
        gold: index of the right choice; None when free answers have no choices.
        accepted: right free answers.
        golds: indexes of all right choices, where several are.
        instruction: text before the examples; in ChatML it is part of the first question.
        program: for kind `program`.
    """

    id: str
    place: str
    language: str
    cluster: str
    group: str
    shots: tuple[Turn, ...]
    contexts: tuple[str, ...]
    choices: tuple[str, ...]
    gold: int | None
    accepted: tuple[str, ...]
    golds: tuple[int, ...] = ()
    instruction: str = ""
    program: ProgramTest | None = None


def make_items(spec: TaskSpec, task: TaskSettings, rows: Rows, *, chat: bool) -> list[Item]:
    """The questions of a task, in the order of the data.

    With a limit, the items whose ids hash lowest: the same ones on every run and for every model.

    Raises:
        InputError: a row lacks a field, or its right answer is out of range.
        RecipeError: examples are wanted and the task does not say where they come from.
    """
    if task.shots and not rows.shots:
        raise RecipeError(
            f"the task {task.name} has shots = {task.shots} but no examples to take them from",
            hint="name their file under [shots] in a task file of your own, or set shots = 0",
        )
    ids = _unique_ids(spec, rows.rows)
    chosen = range(len(ids))
    if task.limit is not None and task.limit < len(ids):
        by_hash = sorted(chosen, key=lambda index: (_hash(ids[index]), index))
        chosen = sorted(by_hash[: task.limit])  # type: ignore[assignment]
    pools: dict[str, _Pool] = {}
    items = []
    for index in chosen:
        row = rows.rows[index]
        key = str(value_of(row, spec.shots.match)) if task.shots and spec.shots.match else ""
        if key not in pools:
            pools[key] = _Pool(spec, rows.shots, task, key, chat=chat)
        item = pools[key].shown_to(_make_item(spec, row, ids[index], chat=chat))
        _check(item)
        items.append(item)
    return items


def plain_prompt(spec: TaskSpec, item: Item, context: str) -> str:
    """The instruction, the examples and the question as plain text."""
    shown = [question + answer for question, answer in item.shots]
    return item.instruction + spec.shots.separator.join([*shown, context])


def _check(item: Item) -> None:
    """Refuse what can be neither encoded nor scored."""
    try:
        "".join((*item.contexts, *item.choices)).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{item.place} holds half a surrogate pair, which is no text") from error
    for number, choice in enumerate(item.choices):
        if not choice.strip():
            raise InputError(f"{item.place}: choice {number} is empty")


def _unique_ids(spec: TaskSpec, rows: Sequence[Row]) -> list[str]:
    seen: dict[str, int] = {}
    ids = []
    for row in rows:
        name = str(value_of(row, spec.id)) if spec.id else row.place
        seen[name] = seen.get(name, 0) + 1
        ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return ids


def without_question(spec: TaskSpec, item: Item) -> Item:
    """The item's choices after the task's unconditional prompt, for `acc_pmi`."""
    return replace(item, shots=(), contexts=(spec.unconditional,), instruction="")


def _make_item(spec: TaskSpec, row: Row, name: str, *, chat: bool) -> Item:
    language = spec.language or str(value_of(row, spec.language_field))
    options = _options(spec, row)
    is_known = bool(options) and (spec.kind == "choice" or bool(spec.gold_field))
    gold = _gold(spec, row, len(options)) if is_known else None
    _add_letters(spec, row, options)
    shown = letters(len(options)) if spec.lettered else options
    template = _prompt_template(spec, language, chat=chat)
    if spec.kind == "program":
        return Item(
            id=name, place=row.place, language=language, cluster=_name(spec.cluster, row, name),
            group=_name(spec.group, row, ""), shots=(), contexts=(fill(template, row),),
            choices=(), gold=None, accepted=(), program=_program_test(spec, row),
        )  # fmt: skip
    if spec.kind == "generate":
        accepted = _accepted(spec, row)
        return Item(
            id=name, place=row.place, language=language, cluster=_name(spec.cluster, row, name),
            group=_name(spec.group, row, ""), shots=(), contexts=(fill(template, row).lstrip(),),
            choices=tuple(options), gold=gold, accepted=accepted,
            instruction=fill(spec.instruction, row),
        )  # fmt: skip
    answer = _answer_template(spec, language)
    depends = "choice" in _names(template)
    variants = shown if depends else shown[:1]
    contexts = [fill(template, row, choice).lstrip() for choice in variants]
    return Item(
        id=name, place=row.place, language=language, cluster=_name(spec.cluster, row, name),
        group=_name(spec.group, row, ""), shots=(), contexts=tuple(contexts),
        choices=tuple(fill(answer, row, choice) for choice in shown), gold=gold, accepted=(),
        golds=_golds(spec, row, len(options)), instruction=fill(spec.instruction, row),
    )  # fmt: skip


class _Pool:
    """The solved examples for the questions of a subject, or of all."""

    def __init__(
        self, spec: TaskSpec, rows: Sequence[Row], task: TaskSettings, key: str, *, chat: bool
    ) -> None:
        match = spec.shots.match
        self.rows = [row for row in rows if not match or str(value_of(row, match)) == key]
        self.about = f" with {match} = {key}" if match else ""
        self.spec, self.task, self.chat = spec, task, chat
        self.turns: list[Turn] = []
        self._refuse_too_few(len(self.rows))

    def shown_to(self, item: Item) -> Item:
        """The item with the first examples; one that is the item itself is passed over.

        Raises:
            InputError: there are too few other examples.
        """
        shots: list[Turn] = []
        place = 0
        while len(shots) < self.task.shots:
            self._refuse_too_few(len(self.rows) - (place - len(shots)))
            turn = self._turn(place)
            place += 1
            if not _shows(turn, item):
                shots.append(turn)
        item = replace(item, shots=tuple(shots))
        if not self.chat or not item.instruction:
            return item
        if shots:
            shots[0] = (item.instruction + shots[0][0], shots[0][1])
            return replace(item, shots=tuple(shots), instruction="")
        contexts = tuple(item.instruction + context for context in item.contexts)
        return replace(item, contexts=contexts, instruction="")

    def _refuse_too_few(self, count: int) -> None:
        if count < self.task.shots:
            raise InputError(
                f"the task {self.task.name} has {count} examples{self.about}, "
                f"shots = {self.task.shots}",
                hint=f"set shots = {count}",
            )

    def _turn(self, place: int) -> Turn:
        while len(self.turns) <= place:
            row, spec = self.rows[len(self.turns)], self.spec
            language = spec.language or str(value_of(row, spec.language_field))
            options = _options(spec, row)
            _add_letters(spec, row, options)
            shown = letters(len(options)) if spec.lettered else options
            is_known = bool(options) and (spec.kind == "choice" or bool(spec.gold_field))
            right = shown[_gold(spec, row, len(options))] if is_known else ""
            question = fill(_prompt_template(spec, language, chat=self.chat), row, right).lstrip()
            self.turns.append((question, fill(_answer_template(spec, language), row, right)))
        return self.turns[place]


def _shows(turn: Turn, item: Item) -> bool:
    """Whether an example is the item's own question with its answer."""
    question, answer = turn
    if item.gold is None or not item.choices or item.accepted:
        return question in item.contexts
    context = item.contexts[item.gold if len(item.contexts) > 1 else 0]
    return question == context and answer == item.choices[item.gold]


def _golds(spec: TaskSpec, row: Row, count: int) -> tuple[int, ...]:
    """Indexes of all right choices, where the task names their field."""
    if not spec.gold_list_field:
        return ()
    values = value_of(row, spec.gold_list_field)
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(value, int) and 0 <= value < count for value in values)
    ):
        raise InputError(f"{row.place}: the right choices are {values!r}, of {count} choices")
    return tuple(values)


def _program_test(spec: TaskSpec, row: Row) -> ProgramTest:
    lines = value_of(row, spec.tests_field) if spec.tests_field else []
    if not isinstance(lines, list):
        raise InputError(f"{row.place}: `{spec.tests_field}` is {lines!r}, not a list")
    tests = "\n".join([fill(spec.tests, row), *map(str, lines)])
    if not tests.strip():
        raise InputError(f"{row.place} has no test: a program that does nothing would pass")
    return ProgramTest(
        start=fill(spec.program_start, row),
        setup=fill(spec.setup, row),
        tests=tests,
        entry=fill(spec.entry, row),
    )


def _prompt_template(spec: TaskSpec, language: str, *, chat: bool) -> str:
    if chat and spec.chat_prompt is not None:
        return spec.chat_prompt
    if spec.prompt_zh is not None and language.startswith("zh"):
        return spec.prompt_zh
    return spec.prompt


def _answer_template(spec: TaskSpec, language: str) -> str:
    if spec.answer_zh is not None and language.startswith("zh"):
        return spec.answer_zh
    return spec.answer


def _options(spec: TaskSpec, row: Row) -> list[str]:
    """The texts of the choices, without their letters."""
    if spec.choices_field:
        values = value_of(row, spec.choices_field)
        if not isinstance(values, list) or not values:
            raise InputError(f"{row.place}: `{spec.choices_field}` is {values!r}, not a list")
        options = [str(value) for value in values]
    else:
        options = [fill(template, row) for template in spec.choices]
    if spec.choice_pattern:
        options = [_first_group(spec.choice_pattern, option) for option in options]
    return options


def _gold(spec: TaskSpec, row: Row, count: int) -> int:
    if not spec.gold_field:
        return 0  # the template puts the right choice first
    value = value_of(row, spec.gold_field)
    text = str(value).lower() if isinstance(value, bool) else str(value).strip()
    names = [str(name) for name in _gold_names(spec, row)]
    if names:
        gold = names.index(text) if text in names else -1
    else:
        gold = int(text) if re.fullmatch(r"\d+", text) else -1
    if not 0 <= gold < count:
        known = ", ".join(names[:count]) if names else f"0 to {count - 1}"
        raise InputError(
            f"{row.place}: the right choice is {value!r}, which is none of {known}",
            hint="is the file damaged, or of another layout than the task names?",
        )
    return gold


def _gold_names(spec: TaskSpec, row: Row) -> Sequence[Any]:
    if spec.gold_values_field:
        values = value_of(row, spec.gold_values_field)
        return values if isinstance(values, list) else []
    return spec.gold_values


def _accepted(spec: TaskSpec, row: Row) -> tuple[str, ...]:
    answers: list[str] = []
    for name in spec.accepted:
        value = value_of(row, name)
        entries = [str(entry) for entry in (value if isinstance(value, list) else [value])]
        if spec.accepted_joined is not None:
            entries = [spec.accepted_joined.join(entries)]
        answers += entries or [spec.unanswerable]
    if spec.metric == "math":
        answers = [_result_of(answer) for answer in answers]
    if spec.accepted_pattern:
        answers = [_first_group(spec.accepted_pattern, answer) for answer in answers]
    answers = [answer for answer in dict.fromkeys(answers) if answer.strip()]
    if not answers:
        raise InputError(f"{row.place} has no accepted answer in {', '.join(spec.accepted)}")
    return tuple(answers)


def _result_of(answer: str) -> str:
    """The formula in the box of a solution; the answer itself when it has none."""
    formula = read_formula(answer) if "boxed" in answer else None
    return answer if formula is None else formula.text


def _first_group(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    return found.group(1) if found else text


def letters(count: int) -> list[str]:
    return list(string.ascii_uppercase[:count])


def _add_letters(spec: TaskSpec, row: Row, options: list[str]) -> None:
    if spec.lettered:
        lines = zip(letters(len(options)), options, strict=True)
        row.values["lettered"] = "\n".join(f"{letter}. {option}" for letter, option in lines)


def _name(field: str, row: Row, otherwise: str) -> str:
    if not field:
        return otherwise
    value = str(value_of(row, field) or "")
    if not value:
        return otherwise
    # A passage can be a page long; its digest names it as well.
    return value if len(value) <= 64 else _hash(value)


def _hash(text: str) -> str:
    # JSON can carry half a surrogate pair, which plain UTF-8 refuses.
    return xxhash.xxh3_64_hexdigest(text.encode("utf-8", "surrogatepass"))


def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def fill(template: str, row: Row, choice: str = "") -> str:
    """A template with the row's fields put in; fields are text and are not read as templates.

    Raises:
        InputError: the row has no such field.
    """
    parts = []
    for text, name, _, _ in string.Formatter().parse(template):
        parts.append(text)
        if name == "choice":
            parts.append(choice)
        elif name is not None:
            value = value_of(row, name)
            parts.append(_text_of(value))
    return "".join(parts)


def _text_of(value: Any) -> str:
    """A field in a template; of a list its entries, letters one after the other."""
    if isinstance(value, list):
        texts = [str(entry) for entry in value]
        return ("" if all(len(text) == 1 for text in texts) else ", ").join(texts)
    return "" if value is None else str(value)
