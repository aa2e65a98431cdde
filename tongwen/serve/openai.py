"""OpenAI's chat and completions interfaces: requests and replies.

Every field of a request is one of: honoured; ignored because it cannot change the answer
(`_IGNORED`); accepted while it asks for nothing (`_ONLY_OFF`), and refused by name otherwise. A
field that nobody knows is left out and named in a header of the response, or refused where the
settings say so: front ends send fields of other servers along.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tongwen.model.sampler import Sampling
from tongwen.serve.answers import Answer
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.mcp_servers import McpServers, server_tools
from tongwen.serve.reply import DONE, Event, Usage
from tongwen.serve.request import (
    MOST_LOGPROBS,
    AnswerFormat,
    AnswerRequest,
    Defaults,
    check_messages,
    is_ids,
    take_format,
    take_guided,
    take_ids,
    take_max_tokens,
    take_sampling,
    take_stops,
)
from tongwen.serve.scores import TokenScore, token_bytes, token_text
from tongwen.serve.settings import ServeSettings
from tongwen.serve.tools import Part, Tool, ToolUse, function_call, parse_tools, tool_use
from tongwen.tokenizer.prompts import ChatPrompt
from tongwen.tokenizer.text import Tokenizer

_IGNORED = (
    "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "reasoning_effort", "verbosity", "add_special_tokens",
)  # fmt: skip
_ONLY_OFF: Mapping[str, tuple[Any, ...]] = {
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "best_of": (1,),
    "suffix": ("",),
}
_MOST_ANSWERS = 16  # each is a row of the batch: one request must not take all


def parse_request(
    body: object,
    *,
    is_chat: bool,
    settings: ServeSettings,
    sampling: Sampling | None = None,
    servers: McpServers | None = None,
) -> AnswerRequest:
    """A checked request from the JSON value of its body.

    Args:
        body: the value.
        is_chat: of the chat interface, else of the completions interface.
        settings: defaults of the server.
        sampling: defaults of the model.
        servers: MCP servers whose tools the request may name.

    Raises:
        ApiError: 400 with the name of the field that is wrong or not supported.
    """
    fields = Fields.of_body(body)
    defaults = Defaults.of(settings, sampling or Sampling())
    model = fields.required("model", str)
    request = _chat(fields, model, servers) if is_chat else _completion(fields, model)
    options = fields.nested("stream_options")
    wants_usage = options.take("include_usage", bool, False)
    options.ignore("include_obfuscation", "continuous_usage_stats")
    options.finish()
    echoes = fields.take("echo", bool, False)
    request = replace(
        request,
        answers=fields.whole_number("n", 1, 1, most=1 if request.uses_servers else _MOST_ANSWERS)
        or 1,
        is_stream=fields.take("stream", bool, False),
        wants_usage=wants_usage,
        max_tokens=take_max_tokens(
            fields, ("max_tokens", "max_completion_tokens"), 0 if echoes else 1, defaults.max_tokens
        ),
        min_tokens=fields.whole_number("min_tokens", 0, 0) or 0,
        stop=take_stops(fields),
        stop_ids=take_ids(fields, "stop_token_ids"),
        ignores_eos=fields.take("ignore_eos", bool, False),
        sampling=take_sampling(fields, defaults.sampling),
        echoes=echoes,
        reads_special=fields.take("parse_special", bool, True),
        reports_progress=is_chat and fields.take("return_progress", bool, False),
    )
    return request.after(
        fields,
        ignored=_IGNORED,
        only_off=_ONLY_OFF,
        refuses_unknown=defaults.refuses_unknown,
    )


def _chat(fields: Fields, model: str, servers: McpServers | None) -> AnswerRequest:
    turns = check_messages(fields.take_any("messages"))
    given = fields.take("tools", list, [])
    uses_servers = any(isinstance(tool, dict) and tool.get("type") == "mcp" for tool in given)
    tools = parse_chosen(
        fields, server_tools(given, servers) if uses_servers else parse_tools(given)
    )
    answer_format = _answer_format(fields)
    wants_scores = fields.take("logprobs", bool, False)
    top = fields.whole_number("top_logprobs", 0, 0, most=MOST_LOGPROBS) or 0
    if top and not wants_scores:
        raise ApiError(400, "`top_logprobs` needs `logprobs`: true", param="top_logprobs")
    if fields.take_any("echo"):
        raise ApiError(
            400, "`echo` is of /v1/completions", code="unsupported_parameter", param="echo"
        )
    return AnswerRequest(
        model=model,
        chat=chat_prompt(fields, turns, tools),
        grammar=answer_format.with_tools(tools),
        answer_format=answer_format,
        tools=tools,
        uses_servers=uses_servers,
        logprobs=top if wants_scores else None,
    )


def chat_prompt(fields: Fields, turns: tuple[Mapping[str, Any], ...], tools: ToolUse) -> ChatPrompt:
    """The dialogue of a request with vLLM's fields for its template.

    Raises:
        ApiError: 400; what is to be continued is not an answer.
    """
    continues = fields.take("continue_final_message", bool, False)
    opens = fields.take("add_generation_prompt", bool, not continues)
    if continues and (opens or turns[-1]["role"] != "assistant" or "tool_calls" in turns[-1]):
        wrong = "add_generation_prompt" if opens else "continue_final_message"
        raise ApiError(
            400,
            "`continue_final_message` needs a last message of the assistant without calls, and "
            "`add_generation_prompt`: false",
            param=wrong,
        )
    return ChatPrompt(
        turns=turns,
        tools=tools.definitions,
        continues=continues,
        opens_answer=opens,
        arguments=fields.take("chat_template_kwargs", dict, {}),
    )


def _completion(fields: Fields, model: str) -> AnswerRequest:
    fields.only_off({"tools": ([],), "tool_choice": ("none", "auto")})
    fields.ignore("parallel_tool_calls")
    scores = fields.take_any("logprobs")
    logprobs = None
    if scores not in (None, False) or scores == 0:
        scores = None if scores is False else scores
        logprobs = Fields({"logprobs": scores}).whole_number(
            "logprobs", 0, None, most=MOST_LOGPROBS
        )
    return AnswerRequest(
        model=model,
        prompts=_prompts(fields.take_any("prompt")),
        grammar=_answer_format(fields).with_tools(ToolUse()),
        logprobs=logprobs,
    )


def _answer_format(fields: Fields) -> AnswerFormat:
    asked = take_format(fields, "response_format")
    return asked if asked.param else take_guided(fields)


def parse_chosen(fields: Fields, tools: tuple[Tool, ...]) -> ToolUse:
    """The functions of a request by its `tool_choice` and `parallel_tool_calls`.

    Raises:
        ApiError: 400; the choice is none of OpenAI's, or names a function that is not defined.
    """
    is_parallel = fields.take("parallel_tool_calls", bool, True)
    choice = fields.take_any("tool_choice")
    names: Sequence[str] | None = None
    if isinstance(choice, dict):
        names, choice = _chosen(Fields(choice, "tool_choice."))
    if choice is not None and choice not in ("none", "auto", "required"):
        fields.refuse("tool_choice", choice, "none, auto, required or a function of `tools`")
    return tool_use(tools, choice or "auto", names=names, is_parallel=is_parallel)


def _chosen(choice: Fields) -> tuple[Sequence[str], str]:
    """The names that a choice allows, and whether one of them must be called."""
    kind = choice.choice("type", ("function", "allowed_tools"), "function")
    if kind == "function":
        nested = choice.take("function", dict, None)
        inner = choice if nested is None else Fields(nested, "tool_choice.function.")
        return [inner.required("name", str)], "required"
    nested = choice.take("allowed_tools", dict, None)
    inner = choice if nested is None else Fields(nested, "tool_choice.allowed_tools.")
    mode = inner.choice("mode", ("auto", "required"), "auto")
    tools = parse_tools(inner.required("tools", list), "tool_choice.tools")
    return [tool.name for tool in tools], mode


def _prompts(value: object) -> tuple[str | tuple[int, ...], ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and value:
        if all(isinstance(item, str) for item in value):
            return tuple(value)
        if is_ids(value):
            return (tuple(value),)
        if all(isinstance(item, list) and is_ids(item) for item in value):
            return tuple(tuple(item) for item in value)
    raise ApiError(
        400, "`prompt` must be a string, a list of strings, or token ids", param="prompt"
    )


class ChatReply:
    """Builds the objects of one chat response; all parts of a stream share its id and time."""

    def __init__(self, wanted: AnswerRequest, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._wants_usage = wanted.wants_usage
        self._wants_scores = wanted.logprobs is not None
        self._answers = wanted.answers
        self._head = _head("chatcmpl", wanted.model)

    def opening(self) -> list[Event]:
        """The first chunk of each answer, which names its role."""
        return [
            self._chunk(index, {"role": "assistant", "content": ""})
            for index in range(self._answers)
        ]

    def part(self, index: int, part: Part) -> list[Event]:
        """The chunk of a piece of an answer."""
        if part.kind == "end":
            return [self._chunk(index, {}, part.finish)]
        if part.kind == "progress":  # as llama.cpp has it
            progress = {"total": part.total, "processed": part.number}
            return [Event({**self._chunk_head(), "choices": [], "prompt_progress": progress})]
        if part.server_call is not None:
            call = part.server_call.shown()
            return [Event({**self._chunk_head(), "choices": [], "mcp_call": call})]
        if part.kind == "text":
            content = {"content": part.text} if part.text else {}
            return [self._chunk(index, content, None, part.scores)]
        if part.kind == "call":
            begun = function_call(part.call_id, part.text, "")
            return [self._chunk(index, {"tool_calls": [{"index": part.number, **begun}]})]
        call = {"index": part.number, "function": {"arguments": part.text}}
        return [self._chunk(index, {"tool_calls": [call]})]

    def closing(self, usage: Usage) -> list[Event]:
        """The last chunk of a stream that was asked to count, and the end mark."""
        counts = [Event({**self._chunk_head(), "choices": [], "usage": usage_of(usage)})]
        return [*(counts if self._wants_usage else []), DONE]

    def failure(self, error: ApiError) -> list[Event]:
        """An error in the middle of a stream."""
        return [Event(error.body)]

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The response that is no stream."""
        choices = [self._whole_choice(index, answer) for index, answer in enumerate(answers)]
        return self._head | {
            "object": "chat.completion", "choices": choices, "usage": usage_of(usage)
        }  # fmt: skip

    def _whole_choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text if answer.text or not answer.calls else None,
            "refusal": None,
        }
        if answer.calls:
            message["tool_calls"] = [call.turn() for call in answer.calls]
        if answer.server_calls:
            message["mcp_calls"] = [call.shown() for call in answer.server_calls]
        return {
            "index": index,
            "message": message,
            "finish_reason": answer.finish,
            "logprobs": self._logprobs(answer.scores),
        }

    def _chunk_head(self) -> dict[str, Any]:
        return self._head | {"object": "chat.completion.chunk"}

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        finish: str | None = None,
        scores: Sequence[TokenScore] = (),
    ) -> Event:
        choice = {
            "index": index,
            "delta": delta,
            "finish_reason": finish,
            "logprobs": self._logprobs(scores) if scores else None,
        }
        return Event({**self._chunk_head(), "choices": [choice]})

    def _logprobs(self, scores: Sequence[TokenScore]) -> dict[str, Any] | None:
        if not self._wants_scores:
            return None
        content = []
        for score in scores:
            top = [self._token(token_id, logprob) for token_id, logprob in score.top]
            content.append(self._token(score.token_id, score.logprob) | {"top_logprobs": top})
        return {"content": content, "refusal": None}

    def _token(self, token_id: int, logprob: float | None) -> dict[str, Any]:
        return {
            "token": token_text(self._tokenizer, token_id),
            "logprob": logprob,
            "bytes": list(token_bytes(self._tokenizer, token_id)),
        }


class CompletionReply:
    """Builds the objects of one completion.

    Args:
        wanted: the request.
        tokenizer: spells tokens.
        prompts: token ids of each prompt, which an echo begins with.
    """

    def __init__(
        self, wanted: AnswerRequest, tokenizer: Tokenizer, prompts: Sequence[tuple[int, ...]]
    ) -> None:
        self._tokenizer = tokenizer
        self._wanted = wanted
        self._prompts = prompts
        self._offsets: dict[int, _Offsets] = {}
        self._head = _head("cmpl", wanted.model) | {"object": "text_completion"}

    def opening(self) -> list[Event]:
        """Nothing, or the prompts of an echo whose tokens nobody scores."""
        if not self._wanted.echoes or self._wanted.logprobs is not None:
            return []
        count = len(self._prompts) * self._wanted.answers
        return [self._chunk(index, self._echo(index)) for index in range(count)]

    def part(self, index: int, part: Part) -> list[Event]:
        """The chunk of a piece of an answer."""
        if part.kind == "end":
            return [self._chunk(index, "", finish=part.finish)]
        text = self._echo(index) if part.is_prompt else part.text
        return [self._chunk(index, text, part.scores)]

    def closing(self, usage: Usage) -> list[Event]:
        """The last chunk of a stream that was asked to count, and the end mark."""
        counts = [Event(self._head | {"choices": [], "usage": usage_of(usage)})]
        return [*(counts if self._wanted.wants_usage else []), DONE]

    def failure(self, error: ApiError) -> list[Event]:
        """An error in the middle of a stream."""
        return [Event(error.body)]

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The response that is no stream."""
        choices = [
            self._choice(
                index,
                (self._echo(index) if self._wanted.echoes else "") + answer.text,
                [*answer.prompt_scores, *answer.scores],
                answer.finish,
            )
            for index, answer in enumerate(answers)
        ]
        return self._head | {"choices": choices, "usage": usage_of(usage)}

    def _echo(self, index: int) -> str:
        number = index // self._wanted.answers
        given = self._wanted.prompts[number]
        if isinstance(given, str):
            return given
        return self._tokenizer.decode(given, show_special=True)

    def _chunk(
        self, index: int, text: str, scores: Sequence[TokenScore] = (), finish: str | None = None
    ) -> Event:
        return Event(self._head | {"choices": [self._choice(index, text, scores, finish)]})

    def _choice(
        self, index: int, text: str, scores: Sequence[TokenScore], finish: str | None
    ) -> dict[str, Any]:
        has_scores = self._wanted.logprobs is not None
        return {
            "index": index,
            "text": text,
            "finish_reason": finish,
            "logprobs": self._logprobs(index, scores) if has_scores else None,
        }

    def _logprobs(self, index: int, scores: Sequence[TokenScore]) -> dict[str, Any]:
        offsets = self._offsets.setdefault(index, _Offsets(self._tokenizer))
        return {
            "tokens": [token_text(self._tokenizer, score.token_id) for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [self._top(score) for score in scores],
            "text_offset": [offsets.push(score.token_id) for score in scores],
        }

    def _top(self, score: TokenScore) -> dict[str, float] | None:
        if score.logprob is None:
            return None
        top: dict[str, float] = {}
        for token_id, logprob in score.top:  # two tokens may be spelt alike: the likelier counts
            top.setdefault(token_text(self._tokenizer, token_id), logprob)
        if self._wanted.logprobs:  # as OpenAI does, the chosen token is always among them
            top.setdefault(token_text(self._tokenizer, score.token_id), score.logprob)
        return top


class _Offsets:
    """Where in the text each token begins, in characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.streaming_decoder(show_special=True)
        self._characters = 0

    def push(self, token_id: int) -> int:
        start = self._characters
        self._characters += len(self._decoder.push(token_id))
        return start


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"{kind}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


def usage_of(usage: Usage) -> dict[str, Any]:
    """OpenAI's token counts."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
