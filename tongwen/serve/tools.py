"""Functions that a model may call: how they are shown to it, and how its calls are read.

A call is written as `tongwen.tokenizer.turns` writes those of the history. A grammar holds the
model to the names and the schemas of the functions it was shown, so arguments always fit them.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.generation import Delta, FinishReason
from tongwen.serve.grammar import bounded, lark_grammar
from tongwen.serve.scores import TokenScore

OPENING, CLOSING = "<tool_call>", "</tool_call>"

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*')
_MOST_TOOLS = 128  # OpenAI's limit


@dataclass(frozen=True)
class Tool:
    """A function: its name, what it does, and the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]

    def definition(self) -> dict[str, Any]:
        """As OpenAI's chat interface defines it, which is what models are shown."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolUse:
    """The functions of a request and whether they have to be called.

    Attributes:
        tools: those the model is shown.
        callable_names: those it may call.
        is_required: at least one call, and no text.
        is_parallel: several calls in one answer.
    """

    tools: tuple[Tool, ...] = ()
    callable_names: frozenset[str] = field(default_factory=frozenset)
    is_required: bool = False
    is_parallel: bool = True

    @property
    def definitions(self) -> tuple[dict[str, Any], ...]:
        """Of the functions that the model is shown, for its prompt."""
        return tuple(tool.definition() for tool in self.tools)

    def grammar(self, answer_schema: object = None) -> str | None:
        """The grammar of answers; None where no function may be called.

        Args:
            answer_schema: JSON schema of an answer that calls nothing; None: any text.
        """
        tools = [tool for tool in self.tools if tool.name in self.callable_names]
        if not tools:
            return None
        more = '("\\n" call)*' if self.is_parallel else ""
        lines = [f"start: call {more}"]
        if not self.is_required and answer_schema is not None:
            lines = [f"start: answer | call {more}", f"answer: %json {_schema(answer_schema)}"]
        elif not self.is_required:
            lines = [
                f"start: text | first {more}",
                "first: first_head body",
                f"first_head[lazy]: TEXT {json.dumps(OPENING)}",
                "text: TEXT",
                r"TEXT: /(.|\n)*/",
            ]
        lines += [
            f"call: {json.dumps(OPENING)} body",
            "body: " + " | ".join(f"body_{number}" for number in range(len(tools))),
        ]
        for number, tool in enumerate(tools):
            head = json.dumps(f'\n{{"name": "{tool.name}", "arguments": ')
            schema = _schema({"type": "object", **tool.parameters})
            end = json.dumps("}\n" + CLOSING)
            lines.append(f"body_{number}: {head} %json {schema} {end}")
        return lark_grammar("\n".join(lines))


def _schema(schema: object) -> str:
    return json.dumps(bounded(schema))


def parse_tools(values: list[Any], param: str = "tools") -> tuple[Tool, ...]:
    """The functions of a request, in OpenAI's nested or flat form or in Anthropic's.

    Raises:
        ApiError: 400; a definition is malformed, or its type is not `function`.
    """
    if len(values) > _MOST_TOOLS:
        raise ApiError(400, f"`{param}` has {len(values)} entries; the most are {_MOST_TOOLS}")
    tools = [_tool(value, f"{param}[{number}]") for number, value in enumerate(values)]
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ApiError(400, f"`{param}` defines {twice!r} twice", param=param)
    return tuple(tools)


def _tool(value: object, place: str) -> Tool:
    fields = Fields.of_item(value, place)
    kind = fields.take("type", str, "function")
    schema = fields.take("input_schema", dict, None)
    if kind not in ("function", "custom") or (kind == "custom" and schema is None):
        fields.refuse_type(kind, "this server offers `function` alone")
    if (nested := fields.nested("function")).names:
        fields = nested
    name = fields.required("name", str)
    if not _NAME.fullmatch(name):
        fields.refuse("name", name, "1 to 128 letters, digits, `_`, `.`, `:` or `-`")
    parameters = schema or fields.take("parameters", dict, None)
    description = fields.take("description", str, "")
    return Tool(name, description, parameters or {"properties": {}, "additionalProperties": False})


def tool_use(
    tools: tuple[Tool, ...], choice: str, *, names: Sequence[str] | None, is_parallel: bool
) -> ToolUse:
    """What a request's choice comes to.

    Args:
        tools: defined in the request.
        choice: `none`, `auto` or `required`.
        names: functions that may be called; None for all.
        is_parallel: whether several may be called at once.

    Raises:
        ApiError: 400; the choice names a function that is not defined.
    """
    if choice == "none":
        return ToolUse()
    known = [tool.name for tool in tools]
    wrong = next((name for name in names or () if name not in known), None)
    if wrong is not None or (choice == "required" and not tools):
        shown = ", ".join(known) or "none"
        message = f"`tool_choice` asks for {wrong or 'a call'}; `tools` defines {shown}"
        raise ApiError(400, message, param="tool_choice")
    callable_names = frozenset(known if names is None else names)
    return ToolUse(tools, callable_names, choice == "required", is_parallel)


def function_call(call_id: object, name: object, arguments: object) -> dict[str, Any]:
    """A call as a turn of OpenAI's chat interface has it."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


@dataclass(frozen=True)
class ServerCall:
    """A call that this server has an MCP server answer.

    Attributes:
        call_id: names it.
        name: of the tool.
        arguments: as JSON.
        status: where it stands.
        result: what the tool said, or what went wrong; None while it runs.
    """

    call_id: str
    name: str
    arguments: str
    status: Literal["running", "completed", "failed"]
    result: str | None = None

    def shown(self) -> dict[str, Any]:
        """As replies have it."""
        return {
            "id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
            "status": self.status,
            "result": self.result,
        }


@dataclass(frozen=True)
class Part:
    """A piece of an answer: new text, the start of a call, new arguments, or the end; before them
    how much of the prompt has been read, and between them what a tool of an MCP server said.

    Attributes:
        kind: what it is.
        text: of the text or the arguments; of a start, the function's name.
        number: of the call, counted from 0; of progress, the tokens that have been read.
        total: of progress, the tokens of the prompt.
        server_call: which was begun or has ended.
        call_id: of the start of a call.
        scores: of the tokens behind a text.
        is_prompt: the scores are the prompt's; its text is not repeated here.
        finish: why the answer ended.
        stop: the stop string that ended it.
    """

    kind: Literal["text", "call", "arguments", "end", "progress", "server_call"]
    text: str = ""
    number: int = 0
    call_id: str = ""
    scores: tuple[TokenScore, ...] = ()
    is_prompt: bool = False
    finish: FinishReason | None = None
    stop: str | None = None
    total: int = 0
    server_call: ServerCall | None = None


class PartReader:
    """Turns the deltas of one answer into parts.

    Args:
        reads_calls: whether functions may be called; otherwise all is text.
    """

    def __init__(self, *, reads_calls: bool) -> None:
        self._reads_calls = reads_calls
        self._text = ""
        self._calls = 0
        self._arguments: _Arguments | None = None
        self._is_within = False

    def push(self, delta: Delta) -> list[Part]:
        """What a delta adds."""
        parts = self._push_text(delta.text)
        if delta.finish is not None and self._text:
            if not (self._is_within or self._calls):
                parts.append(Part("text", self._text))
            self._text = ""
        if delta.scores:
            place = next((n for n, part in enumerate(parts) if part.kind == "text"), None)
            if place is None:
                parts.insert(0, Part("text", scores=delta.scores))
            else:
                parts[place] = Part("text", parts[place].text, scores=delta.scores)
        if delta.prompt_scores:
            parts.insert(0, Part("text", scores=delta.prompt_scores, is_prompt=True))
        if delta.finish is not None:
            finish = delta.finish
            if self._calls and finish == "stop":
                finish = "tool_calls"
            parts.append(Part("end", finish=finish, stop=delta.stop))
        return parts

    def _push_text(self, text: str) -> list[Part]:
        if not self._reads_calls:
            return [Part("text", text)] if text else []
        self._text += text
        parts: list[Part] = []
        while self._step(parts):
            pass
        return parts

    def _step(self, parts: list[Part]) -> bool:
        """Read one thing from the front of the text; whether there may be more."""
        if self._arguments is not None:
            return self._read_arguments(self._arguments, parts)
        if self._is_within:
            head = _HEAD.match(self._text)
            if head is None:
                return False
            call_id = f"call_{uuid.uuid4().hex[:24]}"
            parts.append(Part("call", head[1], self._calls, call_id))
            self._arguments, self._text = _Arguments(), self._text[head.end() :]
            return True
        before, tag, after = self._text.partition(OPENING)
        if tag:
            if before.strip() and not self._calls:
                parts.append(Part("text", before.rstrip()))
            self._is_within, self._text = True, after
            return True
        if not self._calls:
            shown = len(self._text) - _held(self._text)
            if shown:
                parts.append(Part("text", self._text[:shown]))
            self._text = self._text[shown:]
        return False

    def _read_arguments(self, arguments: "_Arguments", parts: list[Part]) -> bool:
        if arguments.is_empty:
            self._text = self._text.lstrip()
        if not arguments.is_complete:
            taken = arguments.push(self._text)
            if taken:
                parts.append(Part("arguments", self._text[:taken], self._calls))
            self._text = self._text[taken:]
        if not arguments.is_complete or CLOSING not in self._text:
            return False
        self._text = self._text.partition(CLOSING)[2]
        self._calls += 1
        self._arguments, self._is_within = None, False
        return True


class _Arguments:
    """Finds the end of a JSON object in a growing text."""

    def __init__(self) -> None:
        self.is_empty = True
        self.is_complete = False
        self._depth = 0
        self._is_string = self._is_escaped = False

    def push(self, text: str) -> int:
        """How many characters of the text belong to the object."""
        for number, character in enumerate(text):
            self.is_empty = False
            if self._is_string:
                if self._is_escaped:
                    self._is_escaped = False
                elif character == "\\":
                    self._is_escaped = True
                elif character == '"':
                    self._is_string = False
            elif character == '"':
                self._is_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_complete = True
                    return number + 1
        return len(text)


def _held(text: str) -> int:
    """Characters at the end that may be the start of a call, or the blanks before one."""
    for length in range(min(len(OPENING) - 1, len(text)), 0, -1):
        if text.endswith(OPENING[:length]):
            return length + len(text[:-length]) - len(text[:-length].rstrip())
    return len(text) - len(text.rstrip())
