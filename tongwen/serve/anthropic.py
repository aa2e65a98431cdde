"""Anthropic's Messages interface: text, functions, streams and counts."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.serve.answers import Answer
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.reply import Event, Usage
from tongwen.serve.request import (
    AnswerRequest,
    Defaults,
    check_messages,
    take_format,
    take_max_tokens,
    take_sampling,
    take_stops,
)
from tongwen.serve.tools import Part, ToolUse, function_call, parse_tools, tool_use
from tongwen.tokenizer.prompts import ChatPrompt

_IGNORED = ("metadata", "service_tier", "cache_control", "container", "context_management")
_UNSEEN = ("thinking", "redacted_thinking")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(error: ApiError) -> dict[str, Any]:
    """An error as Anthropic's clients read it."""
    kind = _ERROR_TYPES.get(error.status, "api_error")
    return {"type": "error", "error": error.body["error"] | {"type": kind}}


def parse_messages_request(
    body: object, defaults: Defaults, *, counts: bool = False
) -> AnswerRequest:
    """A checked request from the JSON value of its body.

    Args:
        body: the value.
        defaults: of the server.
        counts: the request only counts tokens, and needs no `max_tokens`.

    Raises:
        ApiError: 400 with the name of the field that is wrong or not supported.
    """
    fields = Fields.of_body(body)
    model = fields.required("model", str)
    if not counts and fields.take_any("max_tokens") is None:
        raise ApiError(400, "the field `max_tokens` is missing", param="max_tokens")
    most = Fields({"max_tokens": dict(body).get("max_tokens")})  # type: ignore[call-overload]
    tools = _tools(fields)
    system = fields.take_any("system")
    turns = _turns(fields.take_any("messages"))
    if system is not None:
        turns.insert(0, {"role": "system", "content": _blocks(system, "system")[0]})
    checked = check_messages(turns)
    thinking = fields.nested("thinking")
    thinking.only_off({"type": ("disabled", "adaptive")})
    output = fields.nested("output_config")
    output.ignore("effort")
    request = AnswerRequest(
        model=model,
        chat=ChatPrompt(
            turns=checked,
            tools=tools.definitions,
            continues=checked[-1]["role"] == "assistant" and "tool_calls" not in checked[-1],
        ),
        tools=tools,
        grammar=take_format(output, "format").with_tools(tools),
        is_stream=fields.take("stream", bool, False),
        max_tokens=take_max_tokens(most, ("max_tokens",), 1, defaults.max_tokens),
        stop=take_stops(fields, "stop_sequences"),
        sampling=take_sampling(fields, defaults.sampling),
    )
    output.finish()
    return request.after(
        fields,
        ignored=_IGNORED,
        only_off={"mcp_servers": ([],)},
        refuses_unknown=defaults.refuses_unknown,
    )


def _tools(fields: Fields) -> ToolUse:
    tools = parse_tools(fields.take("tools", list, []))
    choice = fields.nested("tool_choice")
    kind = choice.choice("type", ("auto", "any", "tool", "none"), "auto")
    names = [choice.required("name", str)] if kind == "tool" else None
    is_parallel = not choice.take("disable_parallel_tool_use", bool, False)
    asked = "required" if kind in ("any", "tool") else kind
    return tool_use(tools, asked, names=names, is_parallel=is_parallel)


def _turns(values: object) -> list[dict[str, Any]]:
    """Messages of content blocks as messages of OpenAI's chat interface."""
    if not isinstance(values, list) or not values:
        raise ApiError(400, "the field `messages` is missing or empty", param="messages")
    turns: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        place = f"messages[{number}]"
        fields = Fields.of_item(value, place)
        role = fields.take_any("role")
        if role not in ("user", "assistant", "system"):
            fields.refuse("role", role, "user or assistant")
        text, calls, results = _blocks(fields.take_any("content"), f"{place}.content")
        turns += results
        if calls:
            turns.append({"role": role, "content": text, "tool_calls": calls})
        elif text or not results:
            turns.append({"role": role, "content": text})
    return turns


def _blocks(content: object, place: str) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """The text of content blocks, the calls, and the results as turns of their own."""
    if isinstance(content, str):
        return content, [], []
    if not isinstance(content, list):
        raise ApiError(400, f"`{place}` must be a text or a list of blocks", param=place)
    texts, calls, results = [], [], []
    for number, block in enumerate(content):
        where = f"{place}[{number}]"
        fields = Fields.of_item(block, where)
        kind = fields.required("type", str)
        if kind == "text":
            texts.append(fields.required("text", str))
        elif kind == "tool_use":
            arguments = json.dumps(fields.take("input", dict, {}), ensure_ascii=False)
            name, call_id = fields.required("name", str), fields.required("id", str)
            calls.append(function_call(call_id, name, arguments))
        elif kind == "tool_result":
            given = fields.take_any("content")
            text = "" if given is None else _blocks(given, f"{where}.content")[0]
            call_id = fields.required("tool_use_id", str)
            results.append({"role": "tool", "tool_call_id": call_id, "content": text})
        elif kind not in _UNSEEN:
            fields.refuse_type(kind, "this model reads text")
    return "".join(texts), calls, results


class MessagesReply:
    """Builds a message and its events."""

    def __init__(self, wanted: AnswerRequest, prompt_tokens: int) -> None:
        self._model = wanted.model
        self._prompt_tokens = prompt_tokens
        self._id = f"msg_{uuid.uuid4().hex}"
        self._blocks: list[str] = []
        """Kinds of the blocks that were begun."""
        self._is_open = False
        self._answer = Answer()

    def opening(self) -> list[Event]:
        """The message as it begins."""
        message = self._message([], None, None, Usage(self._prompt_tokens, 0))
        return [_event("message_start", message=message)]

    def part(self, index: int, part: Part) -> list[Event]:
        """The events of a piece."""
        self._answer.add(part)
        if part.kind == "text" and part.text:
            opening = [] if self._is_open else self._open({"type": "text", "text": ""})
            return [*opening, self._delta({"type": "text_delta", "text": part.text})]
        if part.kind == "call":
            block = {"type": "tool_use", "id": part.call_id, "name": part.text, "input": {}}
            return [*self._close(), *self._open(block)]
        if part.kind == "arguments":
            return [self._delta({"type": "input_json_delta", "partial_json": part.text})]
        return self._close() if part.kind == "end" else []

    def closing(self, usage: Usage) -> list[Event]:
        """Why the message ended."""
        delta = {"stop_reason": _stop_reason(self._answer), "stop_sequence": self._answer.stop}
        return [
            _event("message_delta", delta=delta, usage=_usage(usage)),
            _event("message_stop"),
        ]

    def failure(self, error: ApiError) -> list[Event]:
        """An error in the middle of a stream."""
        return [Event(error_body(error), "error")]

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The response that is no stream."""
        (answer,) = answers
        content: list[dict[str, Any]] = [
            {
                "type": "tool_use",
                "id": call.call_id,
                "name": call.name,
                "input": _object(call.arguments),
            }
            for call in answer.calls
        ]
        if answer.text:
            content.insert(0, {"type": "text", "text": answer.text, "citations": None})
        return self._message(content, _stop_reason(answer), answer.stop, usage)

    def _open(self, block: Mapping[str, Any]) -> list[Event]:
        self._blocks.append(block["type"])
        self._is_open = True
        place = len(self._blocks) - 1
        return [_event("content_block_start", index=place, content_block=block)]

    def _close(self) -> list[Event]:
        if not self._is_open:
            return []
        self._is_open = False
        return [_event("content_block_stop", index=len(self._blocks) - 1)]

    def _delta(self, delta: Mapping[str, Any]) -> Event:
        return _event("content_block_delta", index=len(self._blocks) - 1, delta=delta)

    def _message(
        self,
        content: Sequence[Mapping[str, Any]],
        reason: str | None,
        stop: str | None,
        usage: Usage,
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": _usage(usage),
        }


def _event(name: str, /, **values: Any) -> Event:
    return Event({"type": name, **values}, name)


def _usage(usage: Usage) -> dict[str, int]:
    """Anthropic's counts: its input tokens are those that were read."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def _stop_reason(answer: Answer) -> str:
    if answer.stop is not None:
        return "stop_sequence"
    reasons = {"length": "max_tokens", "tool_calls": "tool_use"}
    return reasons.get(answer.finish or "", "end_turn")


def _object(arguments: str) -> Any:
    """The arguments of a call; of one that the limit cut, what there is."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {"partial_json": arguments} if arguments else {}
