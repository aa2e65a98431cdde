"""OpenAI's Responses interface as Open Responses specifies it (https://www.openresponses.org): text
and functions. Nothing is stored, so every request brings its whole input.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.serve.answers import Answer, Call
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.openai import parse_chosen
from tongwen.serve.reply import DONE, Event, Usage
from tongwen.serve.request import (
    MOST_LOGPROBS,
    AnswerRequest,
    Defaults,
    check_messages,
    take_format,
    take_max_tokens,
    take_sampling,
)
from tongwen.serve.scores import TokenScore, token_bytes, token_text
from tongwen.serve.tools import Part, function_call, parse_tools
from tongwen.tokenizer.prompts import ChatPrompt
from tongwen.tokenizer.text import Tokenizer

_IGNORED = (
    "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "store",
    "prompt_cache_retention", "reasoning", "stream_options", "max_tool_calls",
)  # fmt: skip
_ONLY_OFF: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "truncation": ("disabled",),
    "conversation": (),
    "prompt": (),
}
_SCORES = "message.output_text.logprobs"


def parse_response_request(body: object, defaults: Defaults) -> AnswerRequest:
    """A checked request from the JSON value of its body.

    Raises:
        ApiError: 400 with the name of the field that is wrong or not supported.
    """
    fields = Fields.of_body(body)
    model = fields.required("model", str)
    if fields.take("previous_response_id", str, None) is not None:
        raise ApiError(
            400,
            "this server stores no responses: leave `previous_response_id` out and send the whole "
            "input",
            code="previous_response_not_found",
            param="previous_response_id",
        )
    tools = parse_chosen(fields, parse_tools(fields.take("tools", list, [])))
    text = fields.nested("text")
    grammar = take_format(text, "format").with_tools(tools)
    text.ignore("verbosity")
    text.finish()
    include = fields.take("include", list, [])
    top = fields.whole_number("top_logprobs", 0, 0, most=MOST_LOGPROBS) or 0
    instructions = fields.take("instructions", str, None)
    system = [] if instructions is None else [{"role": "system", "content": instructions}]
    turns = check_messages([*system, *_turns(fields.take_any("input"))], "input")
    request = AnswerRequest(
        model=model,
        chat=ChatPrompt(turns=turns, tools=tools.definitions),
        tools=tools,
        grammar=grammar,
        logprobs=top if top or _SCORES in include else None,
        is_stream=fields.take("stream", bool, False),
        max_tokens=take_max_tokens(fields, ("max_output_tokens",), 1, defaults.max_tokens),
        sampling=take_sampling(fields, defaults.sampling),
        instructions=instructions,
    )
    return request.after(
        fields,
        ignored=_IGNORED,
        only_off=_ONLY_OFF,
        refuses_unknown=defaults.refuses_unknown,
    )


def _turns(value: object) -> list[dict[str, Any]]:
    """Input items as messages of the chat interface."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value:
        raise ApiError(400, "`input` must be a text or a list of items", param="input")
    turns: list[dict[str, Any]] = []
    for number, item in enumerate(value):
        place = f"input[{number}]"
        fields = Fields.of_item(item, place)
        kind = fields.take_any("type") or "message"
        call_id = fields.take_any("call_id")
        if kind == "message":
            content = _content(fields.take_any("content"), place)
            turns.append({"role": fields.take_any("role"), "content": content})
        elif kind == "function_call":
            name, arguments = fields.take_any("name"), fields.take_any("arguments") or "{}"
            _add_call(turns, function_call(call_id, name, arguments))
        elif kind == "function_call_output":
            content = _content(fields.take_any("output"), place)
            turns.append({"role": "tool", "tool_call_id": call_id, "content": content})
        elif kind != "reasoning":  # what a model thought before is not shown to it again
            fields.refuse_type(
                kind, "this server reads message, function_call and function_call_output"
            )
    return turns


def _add_call(turns: list[dict[str, Any]], call: Mapping[str, Any]) -> None:
    """Add a call to the answer that is before it, or as an answer of its own."""
    if not turns or turns[-1]["role"] != "assistant":
        turns.append({"role": "assistant", "content": ""})
    turns[-1].setdefault("tool_calls", []).append(call)


def _content(value: object, place: str) -> object:
    if not isinstance(value, list):
        return value
    for part in value:
        if isinstance(part, dict) and part.get("type") == "refusal":
            continue
        if not isinstance(part, dict) or part.get("type") not in (
            "input_text", "output_text", "text",
        ):  # fmt: skip
            kind = part.get("type") if isinstance(part, dict) else None
            raise ApiError(
                400,
                f"`{place}` holds a part of type {str(kind)[:80]!r}; this model reads text",
                param=f"{place}.content",
            )
    return [{"type": "text", "text": part.get("text", part.get("refusal"))} for part in value]


class ResponseReply:
    """Builds the object of a response and its events, which carry the items as they grow."""

    def __init__(self, wanted: AnswerRequest, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._wanted = wanted
        self._id = _new_id("resp")
        self._created = int(time.time())
        self._number = 0
        self._answer = Answer()
        self._items: list[dict[str, Any]] = []

    def opening(self) -> list[Event]:
        """The response as it begins."""
        started = self._response("in_progress", [], None)
        return [
            self._event("response.created", response=started),
            self._event("response.in_progress", response=started),
        ]

    def part(self, index: int, part: Part) -> list[Event]:
        """The events of a piece."""
        events: list[Event] = []
        if part.kind == "text":
            if not part.text and not self._is_message:
                self._answer.add(part)
                return []
            if not self._is_message:
                events += self._open(_message("", "in_progress"))
                events.append(self._content_event("response.content_part.added", "part", ""))
            events.append(
                self._event(
                    "response.output_text.delta",
                    item_id=self._items[-1]["id"],
                    output_index=len(self._items) - 1,
                    content_index=0,
                    delta=part.text,
                    logprobs=self._logprobs(part.scores),
                )
            )
        elif part.kind == "call":
            events += self._close()
            events += self._open(_call_item(Call(part.call_id, part.text), "in_progress"))
        elif part.kind == "arguments":
            events.append(
                self._event(
                    "response.function_call_arguments.delta",
                    item_id=self._items[-1]["id"],
                    output_index=len(self._items) - 1,
                    delta=part.text,
                )
            )
        self._answer.add(part)
        if part.kind == "end":
            events += self._close()
        return events

    def closing(self, usage: Usage) -> list[Event]:
        """The response as it ended."""
        status = "incomplete" if self._answer.finish == "length" else "completed"
        response = self._response(status, self._items, usage)
        return [self._event(f"response.{status}", response=response), DONE]

    def failure(self, error: ApiError) -> list[Event]:
        """The response that broke off."""
        response = self._response("failed", self._items, None)
        response["error"] = {"code": "server_error", "message": error.body["error"]["message"]}
        return [self._event("response.failed", response=response), DONE]

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The response that is no stream."""
        (answer,) = answers
        status = "incomplete" if answer.finish == "length" else "completed"
        items = [_call_item(call, "completed") for call in answer.calls]
        if answer.text or not items:
            logprobs = self._logprobs(answer.scores)
            items.insert(0, _message(answer.text, status, logprobs))
        return self._response(status, items, usage)

    @property
    def _is_message(self) -> bool:
        return bool(self._items) and self._items[-1]["type"] == "message"

    def _open(self, item: dict[str, Any]) -> list[Event]:
        self._items.append(item)
        place = len(self._items) - 1
        return [self._event("response.output_item.added", output_index=place, item=dict(item))]

    def _close(self) -> list[Event]:
        """The events that complete the item being written."""
        if not self._items or self._items[-1]["status"] == "completed":
            return []
        item, place = self._items[-1], len(self._items) - 1
        shared = {"item_id": item["id"], "output_index": place}
        item["status"] = "incomplete" if self._answer.finish == "length" else "completed"
        events: list[Event] = []
        if item["type"] == "message":
            text = self._answer.text
            item["content"] = [_text_part(text, self._logprobs(self._answer.scores))]
            events.append(
                self._event(
                    "response.output_text.done",
                    **shared, content_index=0, text=text,
                    logprobs=self._logprobs(self._answer.scores),
                )
            )  # fmt: skip
            events.append(self._content_event("response.content_part.done", "part", text))
        else:
            item["arguments"] = self._answer.calls[-1].arguments
            events.append(
                self._event(
                    "response.function_call_arguments.done",
                    **shared, name=item["name"], arguments=item["arguments"],
                )
            )  # fmt: skip
        done = self._event("response.output_item.done", output_index=place, item=dict(item))
        return [*events, done]

    def _content_event(self, name: str, key: str, text: str) -> Event:
        values = {key: _text_part(text, self._logprobs(self._answer.scores if text else ()))}
        return self._event(
            name,
            item_id=self._items[-1]["id"],
            output_index=len(self._items) - 1,
            content_index=0,
            **values,
        )

    def _event(self, name: str, /, **values: Any) -> Event:
        event = Event({"type": name, "sequence_number": self._number, **values}, name)
        self._number += 1
        return event

    def _logprobs(self, scores: Sequence[TokenScore]) -> list[dict[str, Any]]:
        if self._wanted.logprobs is None:
            return []
        return [
            self._token(score.token_id, score.logprob)
            | {"top_logprobs": [self._token(token_id, logprob) for token_id, logprob in score.top]}
            for score in scores
        ]

    def _token(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        return {
            "token": token_text(self._tokenizer, token_id),
            "logprob": logprob,
            "bytes": list(token_bytes(self._tokenizer, token_id)),
        }

    def _response(
        self, status: str, items: Sequence[dict[str, Any]], usage: Usage | None
    ) -> dict[str, Any]:
        wanted = self._wanted
        is_incomplete = status == "incomplete"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_incomplete else None,
            "instructions": wanted.instructions,
            "max_output_tokens": wanted.max_tokens,
            "max_tool_calls": None,
            "model": wanted.model,
            "output": [dict(item) for item in items],
            "parallel_tool_calls": wanted.tools.is_parallel,
            "previous_response_id": None,
            "reasoning": None,
            "store": False,
            "background": False,
            "service_tier": "default",
            "temperature": wanted.sampling.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "required" if wanted.tools.is_required else "auto",
            "tools": [
                {"type": "function", "strict": True, **tool.definition()["function"]}
                for tool in wanted.tools.tools
            ],
            "top_logprobs": wanted.logprobs or 0,
            "top_p": wanted.sampling.top_p,
            "presence_penalty": wanted.sampling.presence_penalty,
            "frequency_penalty": wanted.sampling.frequency_penalty,
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
            "user": None,
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _message(text: str, status: str, logprobs: Sequence[Any] = ()) -> dict[str, Any]:
    content = [] if status == "in_progress" else [_text_part(text, logprobs)]
    return {
        "id": _new_id("msg"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _text_part(text: str, logprobs: Sequence[Any] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def _call_item(call: Call, status: str) -> dict[str, Any]:
    return {
        "id": _new_id("fc"),
        "type": "function_call",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }


def _new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
