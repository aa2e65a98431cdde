"""The layouts that people keep dialogues in, told apart by the fields of each row.

OpenAI's fine-tuning files (`messages`), ShareGPT (`conversations`), Alpaca (`instruction`, `input`,
`output`), prompt and completion as in TRL, and columns of questions and answers.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.errors import InputError
from tongwen.tokenizer.special import ANSWER_ROLE, Message
from tongwen.tokenizer.turns import (
    TurnError,
    chatml_turn,
    results_as_called,
    tool_call,
    tool_definition,
    with_tools,
)

_TURN_LISTS = ("messages", "conversations", "conversation", "dialogue", "dialog", "items", "turns")
_CERTAIN_TURN_LISTS = ("messages", "conversations")
"""Names that nothing else has."""
_SYSTEM = ("system", "system_prompt")
_INSTRUCTIONS = ("instruction", "指令")
_INPUTS = ("input", "context", "question", "query", "输入", "问题", "問題")
_QUESTIONS = ("prompt", "question", "query", "input", "q", "ask",
              "问题", "問題", "提问", "问", "输入")  # fmt: skip
_ANSWERS = ("completion", "output", "response", "answer", "target", "a",
            "回答", "答案", "答", "输出", "回复")  # fmt: skip
_PREFERENCES = (
    ("chosen", "rejected"),
    ("preferred_output", "non_preferred_output"),
    ("response", "rejected_response"),
    ("messages", "rejected_response"),
)
_EXCHANGES = ("conversation", "conversations", "dialogue", "dialog", "turns")
"""Lists that may hold a question and its answer in one object."""
_ASKED, _ANSWERED = ("input", "human", "user", "question"), ("output", "assistant", "bot", "answer")
_TOOLS = ("tools", "functions")
_ROLES = {
    "human": "user", "用户": "user", "gpt": ANSWER_ROLE, "chatgpt": ANSWER_ROLE, "bot": ANSWER_ROLE,
    "model": ANSWER_ROLE, "bing": ANSWER_ROLE, "bard": ANSWER_ROLE, "助手": ANSWER_ROLE,
    "ai": ANSWER_ROLE, "chatbot": ANSWER_ROLE,
    "系统": "system", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool",
}  # fmt: skip
_CALLERS = ("function_call", "tool_call")
_REASONING = ("reasoning_content", "reasoning")

KNOWN = (
    'known layouts: {"messages": [{"role": "user", "content": "..."}, '
    '{"role": "assistant", "content": "..."}]}, '
    "ShareGPT's conversations, instruction/input/output, prompt/completion, question/answer"
)


@dataclass(frozen=True)
class Dialogue:
    """A row as a dialogue.

    Attributes:
        layout: of the row, in a word.
        messages: the turns.
        is_learnt: for each, whether its content is in the loss.
        unused: names of fields that hold something and have no part in it; those of turns begin
            with `messages[].`.
    """

    layout: str
    messages: tuple[Message, ...]
    is_learnt: tuple[bool, ...]
    unused: tuple[str, ...] = ()


class NotForTuningError(InputError):
    """The file is for another kind of training; no row of it can be used."""


def dialogue_of(row: Any) -> Dialogue:
    """The dialogue of a row, whatever known layout it has.

    Raises:
        NotForTuningError: the row is a pair for preference tuning.
        InputError: no known layout, or a malformed one.
    """
    if isinstance(row, list):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise InputError(f"the row is {_kind(row)}, not an object", hint=KNOWN)
    fields = _Fields(row)
    turns = _turn_list(fields)
    if turns is None or not _ends_in_answer(turns) or fields.has("rejected_response"):
        _refuse_preferences(fields)
    if turns is not None:
        return _of_turns(turns, fields)
    if fields.first(_ANSWERS) is not None:
        if fields.first(_INSTRUCTIONS) is not None:
            return _of_instruction(fields)
        if fields.first(_QUESTIONS) is not None:
            return _of_pair(fields)
    if fields.has("text"):
        raise InputError(
            f"plain text and no dialogue (fields of the row: {', '.join(map(str, row))})",
            hint="plain text is learnt by pretrain: name the file as a source of [crawl]",
        )
    raise InputError(
        f"no known layout (fields of the row: {', '.join(map(str, row)) or 'none'})",
        hint=f"{KNOWN}; others are read as tune.pairs says: "
        'pairs = [{path = "...", question = "{FIELD}", answer = "{FIELD}"}]',
    )


def has_dialogue(value: Any) -> bool:
    """Whether a JSON value is itself a row of a known layout, rather than something with rows."""
    if isinstance(value, list):
        return _are_turns(value)
    if not isinstance(value, dict):
        return False
    if any(name in value for name in _CERTAIN_TURN_LISTS):
        return True
    if any(_are_turns(value[name]) for name in _TURN_LISTS if name in value):
        return True
    if any(_exchanged(value.get(name)) for name in _EXCHANGES):
        return True
    return names_dialogue(name for name in value if name not in _TURN_LISTS)


def _are_turns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and _is_turn(turn) for turn in value)
    )


def names_dialogue(names: Iterable[str]) -> bool:
    """Whether the names of a table's columns are those of a known layout."""
    known = {name.strip().casefold() for name in names if isinstance(name, str)}
    if known.intersection(_TURN_LISTS) or any(known.issuperset(pair) for pair in _PREFERENCES):
        return True
    questions = known.intersection((*_INSTRUCTIONS, *_QUESTIONS))
    return bool(questions) and bool(known.intersection(_ANSWERS))


class _Fields:
    """The fields of a row, found by names in any case; what was taken is known."""

    def __init__(self, row: Mapping[Any, Any]) -> None:
        self._values = dict(row)
        self._names: dict[str, Any] = {}
        for name in row:
            self._names.setdefault(str(name).strip().casefold(), name)
        self._taken: set[Any] = set()

    def first(self, names: Sequence[str]) -> str | None:
        """The first of some names that the row has; before others one that is not null, since the
        rows of a table have all columns.
        """
        found = [name for name in names if name in self._names]
        return next(
            (name for name in found if self.look(name) is not None), next(iter(found), None)
        )

    def has(self, name: str) -> bool:
        """Whether the row has the field, and not as null."""
        return name in self._names and self.look(name) is not None

    def look(self, name: str) -> Any:
        return self._values[self._names[name]]

    def take(self, names: Sequence[str]) -> Any:
        """The value of the first of some names that the row has; None without any."""
        name = self.first(names)
        if name is None:
            return None
        self._taken.add(self._names[name])
        return self._values[self._names[name]]

    def unused(self) -> tuple[str, ...]:
        """Names of the fields that hold something and were not taken."""
        return tuple(
            str(name)
            for name, value in self._values.items()
            if name not in self._taken and value is not None and value not in ("", [], {})
        )


def _kind(value: Any) -> str:
    kinds = {str: "a text", bool: "true or false", int: "a number", float: "a number",
             list: "a list", dict: "an object", type(None): "null"}  # fmt: skip
    return kinds.get(type(value), f"of type {type(value).__name__}")


def text_of(value: Any, name: str) -> str:
    """The text of a field; a number is written as text, null and not-a-number are empty, bytes are
    UTF-8.

    Raises:
        InputError: it is a list or an object, or bytes of something else.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""  # pandas writes a cell without a value as NaN
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"the field {name!r} holds bytes that are not UTF-8") from None
    if isinstance(value, list | dict):
        raise InputError(f"the field {name!r} is {_kind(value)}, not a text")
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _is_turn(turn: Mapping[str, Any]) -> bool:
    return ("role" in turn and ("content" in turn or "tool_calls" in turn)) or (
        "from" in turn and "value" in turn
    )


def _turn_list(fields: _Fields) -> list[Any] | None:
    """The list of turns of a row; None when its layout has none."""
    for name in _TURN_LISTS:
        if not fields.has(name):
            continue
        value = fields.look(name)
        if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a table
            try:
                value = json.loads(value)
            except ValueError as error:
                raise InputError(f"the field {name!r} is not JSON: {error}") from error
        exchanged = _exchanged(value) if name in _EXCHANGES else None
        if exchanged:
            fields.take([name])
            return exchanged
        if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
            fields.take([name])
            return value
        if name in _CERTAIN_TURN_LISTS:
            raise InputError(f"the row has no list `{name}` of objects", hint=KNOWN)
    value = fields.look("data") if fields.has("data") else None
    if isinstance(value, list) and len(value) > 1 and all(isinstance(t, str) for t in value):
        fields.take(["data"])  # UltraChat: question, answer, question, answer
        roles = ("user", ANSWER_ROLE)
        return [{"role": roles[n % 2], "content": text} for n, text in enumerate(value)]
    return None


def _exchanged(value: Any) -> list[dict[str, Any]] | None:
    """The turns of a list whose objects hold a question and its answer each; None of any other."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return None
    turns: list[dict[str, Any]] = []
    for one in value:
        asked = next((name for name in _ASKED if name in one), None)
        answered = next((name for name in _ANSWERED if name in one), None)
        if asked is None or answered is None or "role" in one or "from" in one:
            return None
        if one.get("system"):
            turns.append({"role": "system", "content": one["system"]})
        turns.append({"role": "user", "content": text_of(one[asked], asked)})
        turns.append({"role": ANSWER_ROLE, "content": text_of(one[answered], answered)})
        left = {key: item for key, item in one.items() if key not in (asked, answered, "system")}
        turns[-1] |= {key: item for key, item in left.items() if key not in turns[-1]}
    return turns or None


def _ends_in_answer(turns: list[Any]) -> bool:
    role = turns[-1].get("role", turns[-1].get("from")) if turns else None
    return isinstance(role, str) and _ROLES.get(role.lower(), role.lower()) == ANSWER_ROLE


def _refuse_preferences(fields: _Fields) -> None:
    for chosen, rejected in _PREFERENCES:
        if fields.has(chosen) and fields.has(rejected):
            is_text = isinstance(fields.look(chosen), str) and fields.has("prompt")
            pair = f'pairs = [{{path = "...", question = "{{prompt}}", answer = "{{{chosen}}}"}}]'
            raise NotForTuningError(
                f"a preference pair (`{chosen}`, `{rejected}`), which supervised tuning cannot use",
                hint="add [tune.dpo] to learn which answer is better, or --set tune.dpo.beta=0.1; "
                f"to learn the chosen answers alone, set tune.{pair}"
                if is_text
                else "add [tune.dpo] to learn which answer is better, or --set tune.dpo.beta=0.1; "
                f"to learn the chosen answers alone, write them as `messages` without `{rejected}`",
            )
    is_judged = fields.has("label") and isinstance(fields.look("label"), bool)
    if is_judged and fields.has("prompt") and fields.has("completion"):
        raise NotForTuningError(
            "an answer judged good or bad (`prompt`, `completion`, `label`), which supervised "
            "tuning cannot use",
            hint="keep the rows whose label is true, without `label`",
        )


def _of_turns(turns: list[Any], fields: _Fields, layout: str = "") -> Dialogue:
    if not turns:
        raise InputError("the dialogue has no message", hint=KNOWN)
    if not layout:
        layout = "ShareGPT" if any("from" in turn for turn in turns) else "messages"
    messages, is_learnt, unused = [], [], dict[str, None]()
    for number, turn in enumerate(results_as_called(turns), start=1):
        try:
            message, learnt, left = _turn(turn)
        except TurnError as error:
            raise InputError(f"message {number}: {error}", hint=KNOWN) from error
        messages.append(message)
        is_learnt.append(learnt)
        unused |= dict.fromkeys(f"messages[].{name}" for name in left)
    if messages[0]["role"] != "system":
        system = text_of(fields.take(_SYSTEM), "system")
        if system.strip():
            messages.insert(0, {"role": "system", "content": system})
            is_learnt.insert(0, False)
    if not any(message["role"] == ANSWER_ROLE for message in messages):
        raise InputError(f"no message has the role {ANSWER_ROLE!r}, so there is nothing to learn")
    count = len(messages)
    messages = with_tools(messages, _definitions(fields))
    if len(messages) > count:
        is_learnt.insert(0, False)
    return Dialogue(layout, tuple(messages), tuple(is_learnt), (*fields.unused(), *unused))


def _definitions(fields: _Fields) -> list[dict[str, Any]]:
    """Functions that a row defines, as a list or as its JSON; none where it is something else."""
    for name in _TOOLS:
        value = fields.look(name) if fields.has(name) else None
        try:
            if isinstance(value, str) and value.strip():
                value = json.loads(value)
            if isinstance(value, list):
                found = [tool_definition(item) for item in value]
                fields.take([name])
                return found
        except (ValueError, TurnError):  # stays unused, and is counted
            continue
    return []


def _turn(turn: Mapping[str, Any]) -> tuple[Message, bool, list[str]]:
    """The ChatML turn, whether it is learnt, and the names of the fields without a part in it."""
    named = dict(turn)
    role = named.pop("from", None) if "role" not in named else named.pop("role")
    if "content" not in named:
        name = next((name for name in ("value", "text") if name in named), None)
        if name is not None:
            named["content"] = named.pop(name)
    if isinstance(role, str):
        role = role.strip().lower()
        role = _ROLES.get(role, role)
    if role in _CALLERS:
        role, named["content"] = ANSWER_ROLE, _calls_of(named.get("content"))
    if role in ("tool", "function") and isinstance(named.get("content"), dict):
        named["content"] = json.dumps(named["content"], ensure_ascii=False)
    weight = named.pop("weight", None)
    if weight is not None and weight not in (0, 1):
        raise TurnError("weight", f"is {weight!r}; it must be 0 or 1")
    message, left = chatml_turn({"role": role, **named})
    is_learnt = message["role"] == ANSWER_ROLE and weight != 0
    return message, is_learnt, [name for name, value in left.items() if value not in ("", {})]


def _calls_of(value: Any) -> str:
    """Calls of tools that are a turn of their own: JSON, or text that stays as it is."""
    calls = value
    if isinstance(value, str):
        try:
            calls = json.loads(value)
        except ValueError:
            return f"<tool_call>\n{value}\n</tool_call>"
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise TurnError("value", "must be a tool call: an object with a `name`")
    return "\n".join(
        tool_call(call["name"], call.get("arguments", call.get("parameters")) or {})
        for call in calls
    )


def _of_instruction(fields: _Fields) -> Dialogue:
    parts = [text_of(fields.take(names), names[0]) for names in (_INSTRUCTIONS, _INPUTS)]
    answer = text_of(fields.take(_ANSWERS), str(fields.first(_ANSWERS)))
    turns = _history(fields)
    turns.append({"role": "user", "content": "\n".join(filter(None, parts))})
    return _of_turns([*turns, {"role": ANSWER_ROLE, "content": answer}], fields, "Alpaca")


def _history(fields: _Fields) -> list[Any]:
    """The turns before the question: pairs of a question and an answer."""
    value = fields.look("history") if fields.has("history") else None
    if isinstance(value, str) and value.strip():  # a cell of a table
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"the field 'history' is not JSON: {error}") from error
    turns: list[Any] = []
    for turn in value or []:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise InputError("`history` must be a list of pairs of a question and an answer")
        asked, answered = (text_of(part, "history") for part in turn)
        turns += [{"role": "user", "content": asked}, {"role": ANSWER_ROLE, "content": answered}]
    fields.take(["history"])
    return turns


def _of_pair(fields: _Fields) -> Dialogue:
    is_prompt = fields.first(_QUESTIONS) == "prompt"
    sides = []
    for names, role in ((_QUESTIONS, "user"), (_ANSWERS, ANSWER_ROLE)):
        name = str(fields.first(names))
        value = fields.take([name])
        if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
            sides.append(value)
        else:
            sides.append([{"role": role, "content": text_of(value, name)}])
    # Of a prompt with turns only the completion is learnt, as in TRL.
    prompt = [{**turn, "weight": 0} if len(sides[0]) > 1 else turn for turn in sides[0]]
    layout = "prompt/completion" if is_prompt else "question/answer"
    return _of_turns([*_history(fields), *prompt, *sides[1]], fields, layout)
