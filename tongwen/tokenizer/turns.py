"""A turn as OpenAI's API and data sets write it, as ChatML carries it.

ChatML has no role for tools. Calls are part of the answer that makes them, and a result is a turn
of the user, each between the tags that models taught ChatML use (Hermes 2 Pro, Qwen2.5). Serving
and tuning both write turns with `chatml_turn`, so a model is asked as it was taught.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.tokenizer.special import ANSWER_ROLE, ROLES, TOOLS_AFTER, TOOLS_BEFORE, Message

_OTHER_NAMES = {"developer": "system", "function": "tool"}
_TEXT_PARTS = ("text", "input_text", "output_text")


class TurnError(ValueError):
    """A turn that ChatML cannot carry.

    Attributes:
        field: of the turn, as in `tool_calls[0].function`.
        problem: what is wrong with it; a sentence whose subject is the field.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"`{field}` {problem}")
        self.field = field
        self.problem = problem


def chatml_turn(turn: Mapping[str, Any]) -> tuple[Message, dict[str, Any]]:
    """The ChatML turn of an OpenAI message, and the fields that have no part in it.

    `developer` is `system`, `function` is `tool`, text parts are joined, and null or an empty list
    counts as absent.

    Raises:
        TurnError: an unknown role, content that is not text, or a malformed tool call.
    """
    # Programs send answers back with the empty fields they came with.
    fields = {key: value for key, value in turn.items() if value is not None and value != []}
    role = fields.pop("role", None)
    if isinstance(role, str):
        role = _OTHER_NAMES.get(role, role)
    content = fields.pop("content", None)
    if role == "tool":
        fields.pop("tool_call_id", None)
        result = "" if content is None else _text(content)
        return {"role": "user", "content": tool_response(result)}, fields
    if role not in ROLES:
        raise TurnError("role", f"is {role!r}; it must be {', '.join(_KNOWN[:-1])} or {_KNOWN[-1]}")
    if role != ANSWER_ROLE:
        return {"role": role, "content": _text(content)}, fields
    calls = _calls(fields.pop("tool_calls", []))
    if "function_call" in fields:  # OpenAI's older name for a single call
        calls.append(_call(fields.pop("function_call"), "function_call"))
    text = "" if content is None else _text(content)
    return {"role": role, "content": "\n".join([text, *calls] if text else calls)}, fields


_KNOWN = ("system", "developer", "user", "assistant", "tool")


def results_as_called(turns: Sequence[Any]) -> list[Any]:
    """OpenAI messages with the results of several calls in the order of the calls, because a ChatML
    turn with a result does not name its call.
    """
    ordered: list[Any] = []
    results: list[Any] = []
    places: dict[Any, int] = {}

    def place(turn: Any) -> int:
        return places.get(str(turn.get("tool_call_id")), len(places))

    for turn in turns:
        if turn.get("role") == "tool":
            results.append(turn)
            continue
        ordered += sorted(results, key=place)
        ordered.append(turn)
        results = []
        calls = turn.get("tool_calls")
        if isinstance(calls, list):
            ids = [call.get("id") for call in calls if isinstance(call, dict)]
            places = {str(one): number for number, one in enumerate(ids)}
    return [*ordered, *sorted(results, key=place)]


def tool_call(name: str, arguments: object) -> str:
    """A call as part of an answer. Arguments that are a string are JSON, as OpenAI sends them, or
    else stay as they are.
    """
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):
            arguments = json.loads(arguments)
    shown = {"name": name, "arguments": arguments}
    return f"<tool_call>\n{json.dumps(shown, ensure_ascii=False)}\n</tool_call>"


def tools_prompt(definitions: Sequence[Mapping[str, Any]]) -> str:
    """What the system message says about functions that may be called."""
    lines = [json.dumps(definition, ensure_ascii=False) for definition in definitions]
    return "\n".join([TOOLS_BEFORE, *lines, TOOLS_AFTER])


def with_tools(messages: list[Message], definitions: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The turns with functions that may be called in the system message."""
    if not definitions:
        return messages
    shown = tools_prompt(definitions)
    if messages[0]["role"] == "system":
        first: Message = {"role": "system", "content": f"{messages[0]['content']}\n\n{shown}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": shown}, *messages]


def tool_definition(value: object) -> dict[str, Any]:
    """The definition of a function as the system message has it.

    Raises:
        TurnError: it is no object with a `name`.
    """
    function = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise TurnError("tools", "must be a list of objects with a `name`")
    return {
        "type": "function",
        "function": {
            "name": function["name"],
            "description": function.get("description") or "",
            "parameters": function.get("parameters")
            or {"properties": {}, "additionalProperties": False},
        },
    }


def tool_response(result: str) -> str:
    """A tool's result as a turn of the user holds it."""
    return f"<tool_response>\n{result}\n</tool_response>"


def _calls(values: object) -> list[str]:
    if not isinstance(values, list):
        raise TurnError("tool_calls", "must be a list")
    calls = []
    for number, value in enumerate(values):
        field = f"tool_calls[{number}].function"
        if isinstance(value, dict) and "name" not in value:
            value = value.get("function")  # else without the wrapper of type and id
        calls.append(_call(value, field))
    return calls


def _call(function: object, field: str) -> str:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise TurnError(field, "must be an object with a `name`")
    return tool_call(function["name"], function.get("arguments") or {})


def _text(value: object) -> str:
    """The text of a turn; several text parts are joined."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        found = "is missing" if value is None else f"is of type {type(value).__name__}"
        raise TurnError("content", f"{found}; it must be a string or a list of text parts")
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
            raise TurnError("content", f"holds a part of type {kind!r}; this model reads text")
    return "".join(part["text"] for part in value)
