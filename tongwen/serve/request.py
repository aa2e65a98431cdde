"""What a client asks for, whichever interface it speaks."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tongwen.errors import InputError
from tongwen.model.sampler import Sampling
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.grammar import choice_grammar, json_grammar, lark_grammar, regex_grammar
from tongwen.serve.settings import ServeSettings
from tongwen.serve.tools import ToolUse, function_call
from tongwen.tokenizer.prompts import ChatPrompt
from tongwen.tokenizer.special import Message
from tongwen.tokenizer.turns import TurnError, chatml_turn, results_as_called

Made = TypeVar("Made")

MOST_LOGPROBS = 20  # OpenAI's limit

_MOST_STOPS = 16  # each is looked for in every piece of text; OpenAI has 4
_LEAST_TEMPERATURE = 1e-4
"""Below it the likeliest token is drawn anyway, and float32 divides by nothing."""

_IGNORED_IN_A_MESSAGE = frozenset(
    ("name", "refusal", "annotations", "reasoning_content", "reasoning", "audio", "function_call",
     "tool_calls", "tool_call_id", "id", "status", "type", "phase")
)  # fmt: skip


@dataclass(frozen=True)
class AnswerFormat:
    """A JSON schema or a grammar that answers fit; neither for plain text."""

    schema: object = None
    grammar: str | None = None
    param: str = ""

    def with_tools(self, tools: ToolUse) -> str | None:
        """The grammar of answers that may also call functions."""
        if not tools.callable_names:
            if self.schema is None:
                return self.grammar
            return made_grammar(json_grammar, self.schema, self.param)
        if self.grammar is not None:
            raise ApiError(
                400, f"`{self.param}` cannot be a grammar where `tools` are", param=self.param
            )
        return made_grammar(tools.grammar, self.schema, "tools")


@dataclass(frozen=True, kw_only=True)
class AnswerRequest:
    """A checked request.

    Attributes:
        model: the name it asks for.
        chat: the dialogue of a chat request; None for a completion.
        prompts: texts or token ids of a completion; empty for a chat request.
        answers: wanted for each prompt.
        is_stream: send the answer while it is written.
        wants_usage: end a stream with the token counts.
        max_tokens, min_tokens, stop, stop_ids, ignores_eos, sampling, grammar, logprobs: see
            `generation.GenerationRequest`.
        tools: functions that the answer may call.
        answer_format: what an answer without calls looks like.
        uses_servers: the tools are those of MCP servers, which this server calls.
        echoes: the answer begins with the prompt.
        reads_special: in a raw prompt `<|im_start|>` and the like become their ids.
        reports_progress: a stream tells how much of the prompt has been read.
        instructions: that the Responses interface repeats.
        unknown_fields: what was left out of the request.
    """

    model: str
    chat: ChatPrompt | None = None
    prompts: tuple[str | tuple[int, ...], ...] = ()
    answers: int = 1
    is_stream: bool = False
    wants_usage: bool = False
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignores_eos: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    grammar: str | None = None
    tools: ToolUse = field(default_factory=ToolUse)
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)
    uses_servers: bool = False
    logprobs: int | None = None
    echoes: bool = False
    reads_special: bool = True
    reports_progress: bool = False
    instructions: str | None = None
    unknown_fields: tuple[str, ...] = ()

    def after(
        self,
        fields: Fields,
        *,
        ignored: Collection[str],
        only_off: Mapping[str, tuple[Any, ...]],
        refuses_unknown: bool,
    ) -> "AnswerRequest":
        """The request with a note of the fields that nobody took.

        Args:
            fields: what is left of the body.
            ignored: names of those that change no answer.
            only_off: see `Fields.only_off`.
            refuses_unknown: see `Fields.finish`.
        """
        fields.ignore(*ignored)
        fields.only_off(only_off)
        return replace(self, unknown_fields=fields.finish(refuses_unknown=refuses_unknown))

    @property
    def messages(self) -> tuple[Message, ...] | None:
        """The dialogue as ChatML carries it; None for a completion."""
        return None if self.chat is None else tuple(self.chat.chatml())


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds where a request says nothing.

    Attributes:
        sampling: how tokens are chosen.
        max_tokens: longest answer.
        refuses_unknown: whether a field nobody knows is an error.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 512
    refuses_unknown: bool = False

    @classmethod
    def of(cls, settings: ServeSettings, sampling: Sampling) -> "Defaults":
        """Those of the settings over those of the model's generation_config.json."""
        return cls(
            sampling=settings.sampling_over(sampling),
            max_tokens=settings.max_tokens,
            refuses_unknown=settings.refuse_unknown_fields,
        )


def check_model(name: str, served: str) -> None:
    """Refuse a request for another model.

    Raises:
        ApiError: 404 with the name of the one that is served.
    """
    if name != served:
        raise ApiError(
            404,
            f"there is no model `{name}`; this server has: {served}",
            code="model_not_found",
            param="model",
        )


def take_sampling(fields: Fields, default: Sampling) -> Sampling:
    """How tokens are to be chosen, by the names that OpenAI, vLLM and llama.cpp use."""
    top_k = fields.whole_number("top_k", -1, default.top_k)
    temperature = fields.number("temperature", 0, 2, default.temperature)
    penalty = fields.number("repeat_penalty", 0.01, 100, default.repetition_penalty)
    return Sampling(
        temperature=temperature if temperature >= _LEAST_TEMPERATURE else 0.0,
        top_p=fields.number("top_p", 0, 1, default.top_p),
        top_k=top_k if top_k is not None and top_k > 0 else None,
        min_p=fields.number("min_p", 0, 1, default.min_p),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, 0.0),
        presence_penalty=fields.number("presence_penalty", -2, 2, 0.0),
        repetition_penalty=fields.number("repetition_penalty", 0.01, 100, penalty),
        logit_bias=_biases(fields.take("logit_bias", dict, {})),
        seed=fields.whole_number("seed", -(2**63), None, most=2**63 - 1),
    )


def take_max_tokens(fields: Fields, names: Sequence[str], least: int, default: int) -> int | None:
    """The longest answer, of the last of several names for it; None for -1, as much as fits."""
    most: int | None = None
    for name in names:
        given = fields.whole_number(name, -1, None)
        if given is not None and -1 < given < least:
            fields.refuse(name, given, f"at least {least}, or -1 for as many as fit")
        most = given if given is not None else most
    if most is None:
        return default
    return None if most == -1 else most


def take_stops(fields: Fields, name: str = "stop") -> tuple[str, ...]:
    """Up to 16 texts before which an answer ends."""
    value = fields.take_any(name)
    stops = [value] if isinstance(value, str) else value
    if stops is None:
        return ()
    is_texts = isinstance(stops, list) and all(isinstance(s, str) and s for s in stops)
    if not isinstance(stops, list) or not is_texts or len(stops) > _MOST_STOPS:
        raise ApiError(
            400,
            f"`{name}` must be a string or up to {_MOST_STOPS} strings, none empty",
            param=name,
        )
    return tuple(stops)


def take_ids(fields: Fields, name: str) -> tuple[int, ...]:
    """A list of token ids, empty when absent."""
    value = fields.take_any(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not is_ids(value):
        raise ApiError(400, f"`{name}` must be a list of token ids", param=name)
    return tuple(value)


def take_format(fields: Fields, name: str, *, allows_grammar: bool = True) -> AnswerFormat:
    """What an answer has to look like, from an object with a `type`.

    OpenAI's `text`, `json_object` and `json_schema` (nested or flat), and `regex` and `grammar`.
    """
    value = fields.take(name, dict, None)
    if value is None:
        return AnswerFormat()
    form = Fields(value, f"{fields.prefix}{name}.")
    kind = form.choice("type", ("text", "json_object", "json_schema", "regex", "grammar"), "text")
    if kind == "text":
        return AnswerFormat()
    if kind == "json_object":
        schema = form.take("schema", dict, {})
        return AnswerFormat(schema={"type": "object", **schema}, param=form.prefix)
    if kind == "json_schema":
        nested = form.take("json_schema", dict, None)
        inner = form if nested is None else Fields(nested, f"{form.prefix}json_schema.")
        schema = inner.take_any("schema")
        if not isinstance(schema, dict | bool):
            inner.refuse("schema", schema, "a JSON schema")
        return AnswerFormat(schema=schema, param=inner.prefix + "schema")
    names = ("regex", "pattern", "value") if kind == "regex" else ("grammar", "definition", "value")
    text = next((found for each in names if (found := form.take(each, str, None))), None)
    if text is None or not allows_grammar:
        form.refuse(names[0], text, f"a {kind}")
    is_regex = kind == "regex" or form.take("syntax", str, "lark") == "regex"
    return AnswerFormat(
        grammar=made_grammar(regex_grammar if is_regex else lark_grammar, text, form.prefix),
        param=form.prefix,
    )


def take_guided(fields: Fields) -> AnswerFormat:
    """The same from fields that vLLM and llama.cpp have for it."""
    extra = fields.nested("structured_outputs")
    for source, json_name, regex_name, choice_name, grammar_name in (
        (fields, "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
        (extra, "json", "regex", "choice", "grammar"),
        (fields, "json_schema", "", "", "grammar"),
    ):
        if (schema := source.take(json_name, dict, None)) is not None:
            return AnswerFormat(schema=schema, param=source.prefix + json_name)
        if (pattern := source.take(regex_name, str, None)) is not None:
            grammar = made_grammar(regex_grammar, pattern, regex_name)
            return AnswerFormat(grammar=grammar, param=regex_name)
        if (choices := source.take(choice_name, list, None)) is not None:
            if not choices or not all(isinstance(choice, str) and choice for choice in choices):
                source.refuse(choice_name, choices, "a list of texts, none empty")
            return AnswerFormat(grammar=made_grammar(choice_grammar, choices, choice_name))
        if (text := source.take(grammar_name, str, None)) is not None:
            grammar = made_grammar(lark_grammar, text, grammar_name)
            return AnswerFormat(grammar=grammar, param=grammar_name)
    return AnswerFormat()


def made_grammar(make: Callable[..., Made], source: object, param: str) -> Made:
    """A grammar by one of the functions that make them.

    Raises:
        ApiError: 400; the function refuses the source.
    """
    try:
        return make(source)
    except (InputError, ValueError, RecursionError, UnicodeError) as error:
        words = error.message if isinstance(error, InputError) else str(error)
        raise ApiError(400, f"`{param}`: {words}", param=param) from error


def check_messages(values: object, param: str = "messages") -> tuple[Mapping[str, Any], ...]:
    """Messages in OpenAI's form.

    Raises:
        ApiError: 400; there is none, or one that ChatML cannot carry.
    """
    if not isinstance(values, list) or not values:
        message = f"the field `{param}` is missing or empty"
        if values:
            message = f"`{param}` must be a list"
        raise ApiError(400, message, param=param)
    turns = {id(value): _turn(value, f"{param}[{place}]") for place, value in enumerate(values)}
    return tuple(turns[id(value)] for value in results_as_called(values))


def _turn(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ApiError(400, f"`{place}` must be an object", param=place)
    try:
        message, unused = chatml_turn(value)
    except TurnError as error:
        name = f"{place}.{error.field}"
        raise ApiError(400, f"`{name}` {error.problem}", param=name) from error
    for name in unused:
        if name not in _IGNORED_IN_A_MESSAGE:
            raise ApiError(400, f"`{place}.{name}` is not supported", param=f"{place}.{name}")
    role = "tool" if value["role"] in ("tool", "function") else message["role"]
    turn: dict[str, Any] = {"role": role, "content": _plain_text(value.get("content"))}
    if value.get("tool_calls") and role == "assistant":
        turn["tool_calls"] = [_call(call) for call in value["tool_calls"]]
    elif value.get("function_call") and role == "assistant":
        turn["tool_calls"] = [_call({"function": value["function_call"]})]
    return turn


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call if "name" in call else call["function"]
    return function_call(str(call.get("id", "")), function["name"], function.get("arguments") or {})


def _plain_text(content: object) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content if isinstance(content, str) else ""


def _biases(values: Mapping[str, Any]) -> dict[int, float]:
    found = {}
    for key, value in values.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_id = key.isascii() and key.isdecimal() and len(key) < 10
        if not is_id or not is_number or not -100 <= value <= 100:
            raise ApiError(
                400,
                f"`logit_bias` has {key!r}: {value!r}; it must be token ids with numbers from -100 "
                "to 100",
                param="logit_bias",
            )
        found[int(key)] = float(value)
    return found


def is_ids(value: list[Any]) -> bool:
    """Whether all are whole numbers."""
    return all(isinstance(item, int) and not isinstance(item, bool) for item in value)
