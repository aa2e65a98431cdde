"""OpenAI's request and response objects, as far as this server speaks them.

Every field of a request is one of: honoured; ignored because it cannot change the answer
(`_IGNORED`); accepted while it asks for nothing (`_ONLY_OFF`), and refused by name otherwise. A
field that nobody knows is left out and named in a header of the response, or refused where the
settings say so: front ends send fields of other servers along.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tongwen.model.sampler import Sampling
from tongwen.serve.generation import Delta
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.special import Message
from tongwen.tokenizer.turns import TurnError, chatml_turn

_IGNORED = frozenset(
    ("user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
     "parallel_tool_calls", "reasoning_effort", "verbosity")
)  # fmt: skip
_IGNORED_IN_A_MESSAGE = frozenset(
    ("name", "refusal", "annotations", "reasoning_content", "function_call", "tool_calls",
     "tool_call_id")
)  # fmt: skip
_ONLY_OFF: Mapping[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}
_MOST_STOPS = 16
_MOST_ANSWERS = 16


class ApiError(Exception):
    """A refusal, as OpenAI's error object."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        error = {"message": message, "type": kind, "code": code, "param": param}
        # What the client sent is quoted, and may hold half a character, which no reply can.
        self.body = {
            "error": {
                key: value and value.encode("utf-8", "replace").decode("utf-8")
                for key, value in error.items()
            }
        }


@dataclass(frozen=True, kw_only=True)
class AnswerRequest:
    """A checked request.

    Attributes:
        model: the name it asks for.
        messages: the dialogue of a chat request; None for a completion.
        prompts: texts or token ids of a completion; empty for a chat request.
        answers: wanted for each prompt.
        is_stream: send the answer while it is written.
        wants_usage: end a stream with the token counts.
        max_tokens, min_tokens, stop, stop_ids, ignores_eos, sampling: see
            `generation.GenerationRequest`.
        reads_special: in a raw prompt `<|im_start|>` and the like become their ids.
        unknown_fields: what was left out of the request.
    """

    model: str
    messages: tuple[Message, ...] | None
    prompts: tuple[str | tuple[int, ...], ...]
    answers: int
    is_stream: bool
    wants_usage: bool
    max_tokens: int | None
    min_tokens: int
    stop: tuple[str, ...]
    stop_ids: tuple[int, ...]
    ignores_eos: bool
    sampling: Sampling
    reads_special: bool
    unknown_fields: tuple[str, ...] = ()


def parse_request(body: object, *, is_chat: bool, settings: ServeSettings) -> AnswerRequest:
    """A checked request from the JSON value of its body.

    Raises:
        ApiError: 400 with the name of the field that is wrong or not supported.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    fields = _Fields(body)
    model = fields.take("model", str, None)
    if model is None:
        raise ApiError(400, "the field `model` is missing", param="model")
    messages = _messages(fields.take("messages", list, None)) if is_chat else None
    prompts = () if is_chat else _prompts(fields.take_any("prompt"))
    is_stream = fields.take("stream", bool, False)
    options = _Fields(fields.take("stream_options", dict, {}), "stream_options.")
    wants_usage = options.take("include_usage", bool, False)
    options.ignore("include_obfuscation")
    options.finish()
    most = fields.whole_number("max_tokens", -1, None)
    most = fields.whole_number("max_completion_tokens", -1, most)
    if most == 0:
        raise ApiError(400, "`max_tokens` is 0; it must be at least 1, or -1", param="max_tokens")
    top_k = fields.whole_number("top_k", -1, None)
    penalty = fields.number("repeat_penalty", 0.01, 100, 1.0)
    spelt = fields.take("parse_special", bool, True)
    request = AnswerRequest(
        model=model,
        messages=messages,
        prompts=prompts,
        answers=fields.whole_number("n", 1, 1, most=_MOST_ANSWERS) or 1,
        is_stream=is_stream,
        wants_usage=wants_usage,
        max_tokens=settings.max_tokens if most is None else None if most == -1 else most,
        min_tokens=fields.whole_number("min_tokens", 0, 0) or 0,
        stop=_stops(fields.take_any("stop")),
        stop_ids=_ids(fields.take_any("stop_token_ids"), "stop_token_ids"),
        ignores_eos=fields.take("ignore_eos", bool, False),
        sampling=Sampling(
            temperature=fields.number("temperature", 0, 2, settings.temperature),
            top_p=fields.number("top_p", 0, 1, 1.0),
            top_k=top_k if top_k is not None and top_k > 0 else None,
            min_p=fields.number("min_p", 0, 1, 0.0),
            frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
            presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
            repetition_penalty=fields.number("repetition_penalty", 0.01, 100, penalty),
            logit_bias=_biases(fields.take("logit_bias", dict, {})),
            seed=fields.whole_number("seed", -(2**63), None, most=2**63 - 1),
        ),
        reads_special=spelt,
    )
    unknown = fields.finish(refuses_unknown=settings.refuse_unknown_fields)
    return replace(request, unknown_fields=unknown)


class _Fields:
    """The fields of a JSON object, taken one by one; null counts as absent."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._left = {key: value for key, value in values.items() if value is not None}
        self._prefix = prefix

    def take_any(self, name: str) -> Any:
        return self._left.pop(name, None)

    def take(self, name: str, kind: type, default: Any) -> Any:
        value = self._left.pop(name, default)
        if value is not None and not isinstance(value, kind):
            self._refuse(name, value, _KIND_NAMES[kind])
        return value

    def number(self, name: str, least: float, most: float, default: float) -> float:
        value = self._left.pop(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            self._refuse(name, value, f"a number from {least} to {most}")
        return float(value)

    def whole_number(
        self, name: str, least: int, default: int | None, *, most: int = 2**31
    ) -> int | None:
        value = self._left.pop(name, default)
        if value is None:
            return None
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or not least <= value <= most:
            self._refuse(name, value, f"a whole number from {least} to {most}")
        return int(value)

    def ignore(self, name: str) -> None:
        self._left.pop(name, None)

    def finish(self, *, refuses_unknown: bool = True) -> tuple[str, ...]:
        """Refuse what is left and would matter; names of the fields that nobody knows."""
        unknown = []
        for name, value in self._left.items():
            if name in _IGNORED:
                continue
            if name not in _ONLY_OFF and not refuses_unknown:
                unknown.append(name)
                continue
            if name not in _ONLY_OFF:
                raise ApiError(
                    400,
                    f"unknown field `{self._prefix}{name}`",
                    code="unknown_parameter",
                    param=f"{self._prefix}{name}",
                )
            if value not in _ONLY_OFF[name]:
                raise ApiError(
                    400,
                    f"`{name}` is not supported; leave it out",
                    code="unsupported_parameter",
                    param=name,
                )
        return tuple(unknown)

    def _refuse(self, name: str, value: object, expected: str) -> None:
        name = self._prefix + name
        shown = json.dumps(value, ensure_ascii=False)
        raise ApiError(400, f"`{name}` is {shown[:80]}; it must be {expected}", param=name)


_KIND_NAMES = {str: "a string", bool: "true or false", list: "a list", dict: "an object"}


def _messages(values: list[Any] | None) -> tuple[Message, ...]:
    if not values:
        raise ApiError(400, "the field `messages` is missing or empty", param="messages")
    return tuple(_message(value, f"messages[{place}]") for place, value in enumerate(values))


def _message(value: object, place: str) -> Message:
    if not isinstance(value, dict):
        raise ApiError(400, f"`{place}` must be an object", param=place)
    try:
        message, unused = chatml_turn(value)
    except TurnError as error:
        field = f"{place}.{error.field}"
        raise ApiError(400, f"`{field}` {error.problem}", param=field) from error
    for name in unused:
        if name not in _IGNORED_IN_A_MESSAGE:
            raise ApiError(400, f"`{place}.{name}` is not supported", param=f"{place}.{name}")
    return message


def _biases(values: Mapping[str, Any]) -> dict[int, float]:
    found = {}
    for key, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not key.isdecimal() or not is_number or not -100 <= value <= 100:
            raise ApiError(
                400,
                f"`logit_bias` has {key!r}: {value!r}; it must be token ids with numbers from -100 "
                "to 100",
                param="logit_bias",
            )
        found[int(key)] = float(value)
    return found


def _ids(value: object, name: str) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not _is_ids(value):
        raise ApiError(400, f"`{name}` must be a list of token ids", param=name)
    return tuple(value)


def _prompts(value: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        if _is_ids(value):
            return (tuple(value),)
        if all(isinstance(item, list) and _is_ids(item) for item in value):
            return tuple(tuple(item) for item in value)
    raise ApiError(
        400, "`prompt` must be a string, a list of strings, or token ids", param="prompt"
    )


def _is_ids(value: list[Any]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return ()
    is_texts = isinstance(stops, list) and all(isinstance(s, str) and s for s in stops)
    if not isinstance(stops, list) or not is_texts or len(stops) > _MOST_STOPS:
        raise ApiError(
            400, f"`stop` must be a string or up to {_MOST_STOPS} strings, none empty", param="stop"
        )
    return tuple(stops)


class Reply:
    """Builds the objects of one response; all parts of a stream share its id and time."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        self._is_chat = is_chat
        kind = "chatcmpl" if is_chat else "cmpl"
        self._head = {
            "id": f"{kind}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def opening(self, index: int) -> dict[str, Any] | None:
        """The first chunk of an answer, which names its role; a completion has none."""
        if not self._is_chat:
            return None
        return self._chunk([self._choice(index, {"role": "assistant", "content": ""}, None)])

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """New text of one answer, or its end, or both."""
        if not self._is_chat:
            return self._chunk([self._text_choice(index, delta.text, delta.finish)])
        content = {"content": delta.text} if delta.text else {}
        return self._chunk([self._choice(index, content, delta.finish)])

    def usage_chunk(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """The last chunk of a stream that was asked to count."""
        return self._chunk([]) | {"usage": usage}

    def whole(self, answers: Sequence[tuple[str, str]], usage: Mapping[str, int]) -> dict[str, Any]:
        """The response that is no stream, from the text and the finish reason of each answer."""
        if self._is_chat:
            choices = [
                {
                    "index": index,
                    "message": {"role": "assistant", "content": text, "refusal": None},
                    "finish_reason": finish,
                    "logprobs": None,
                }
                for index, (text, finish) in enumerate(answers)
            ]
        else:
            choices = [
                self._text_choice(index, text, finish)
                for index, (text, finish) in enumerate(answers)
            ]
        kind = "chat.completion" if self._is_chat else "text_completion"
        return self._head | {"object": kind, "choices": choices, "usage": usage}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._is_chat else "text_completion"
        return self._head | {"object": kind, "choices": choices}

    @staticmethod
    def _choice(index: int, delta: dict[str, str], finish: str | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}

    @staticmethod
    def _text_choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
        return {"index": index, "text": text, "finish_reason": finish, "logprobs": None}


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's token counts."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
