"""The interface as an OpenAPI 3.1 document, and the list of its places."""

from collections.abc import Mapping
from typing import Any

from tongwen import __version__

PLACES: Mapping[str, str] = {
    "/v1/models": "GET",
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/responses": "POST",
    "/v1/messages": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/embeddings": "POST",
    "/tokenize": "POST",
    "/detokenize": "POST",
    "/apply-template": "POST",
    "/attachments": "POST",
    "/model-facts": "GET",
    "/mcp-servers": "GET",
    "/health": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
}
"""Path -> method. Those below /v1 are there without it as well."""

Schema = dict[str, Any]


def _optional(kind: str, **limits: Any) -> Schema:
    return {"type": [kind, "null"], **limits}


def _number(least: float, most: float) -> Schema:
    return _optional("number", minimum=least, maximum=most)


def _whole(least: int, most: int = 2**31) -> Schema:
    return _optional("integer", minimum=least, maximum=most)


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _list(items: Schema, **limits: Any) -> Schema:
    return {"type": "array", "items": items, **limits}


_TEXT: Schema = {"type": "string"}
_MODEL: Schema = {"$ref": "#/components/schemas/Model"}
_SOME_TEXT: Schema = {"type": "string", "minLength": 1}
_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,128}$"}
_FLAG = _optional("boolean")
_IDS = _list({"type": "integer"})
_JSON = {"type": "object", "additionalProperties": True}

_PART = _object({"type": {"enum": ["text"]}, "text": _TEXT}, "type", "text")
_CONTENT: Schema = {"anyOf": [_TEXT, _list(_PART, minItems=1)]}
_FUNCTION = _object({"name": _NAME, "arguments": _TEXT}, "name")
_CALL = _object({"id": _TEXT, "type": {"const": "function"}, "function": _FUNCTION}, "function")
_ROLES = ["system", "developer", "user", "tool"]
_MESSAGE: Schema = {
    "anyOf": [
        _object({"role": {"enum": _ROLES}, "content": _CONTENT}, "role", "content"),
        _object(
            {
                "role": {"const": "assistant"},
                "content": {"anyOf": [_CONTENT, {"type": "null"}]},
                "tool_calls": _list(_CALL),
            },
            "role",
        ),
    ]
}
_TOOL = _object(
    {
        "type": {"const": "function"},
        "function": _object(
            {"name": _NAME, "description": _TEXT, "parameters": _JSON, "strict": _FLAG}, "name"
        ),
    },
    "type",
    "function",
)
_FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        _object({"type": {"enum": ["text", "json_object"]}}, "type"),
        _object(
            {
                "type": {"const": "json_schema"},
                "json_schema": _object({"name": _TEXT, "schema": _JSON}, "schema"),
            },
            "type",
            "json_schema",
        ),
        _object({"type": {"const": "regex"}, "regex": _TEXT}, "type", "regex"),
        _object({"type": {"const": "grammar"}, "grammar": _TEXT}, "type", "grammar"),
    ]
}
_SAMPLING: Mapping[str, Schema] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_k": _whole(-1),
    "min_p": _number(0, 1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "repetition_penalty": _number(0.01, 100),
    "repeat_penalty": _number(0.01, 100),
    "logit_bias": _optional(
        "object",
        propertyNames={"pattern": "^[0-9]{1,9}$"},
        additionalProperties={"type": "number", "minimum": -100, "maximum": 100},
    ),
    "seed": _whole(-(2**63), 2**63 - 1),
}
_MAX_TOKENS: Schema = {"anyOf": [{"const": -1}, _whole(1)]}
_STOP: Schema = {"anyOf": [_SOME_TEXT, _list(_SOME_TEXT, maxItems=16), {"type": "null"}]}
_GENERATION: Mapping[str, Schema] = {
    "model": _MODEL,
    "n": _whole(1, 16),
    "stream": _FLAG,
    "stream_options": _optional("object", properties={"include_usage": _FLAG}),
    "max_tokens": _MAX_TOKENS,
    "max_completion_tokens": _MAX_TOKENS,
    "min_tokens": _whole(0),
    "stop": _STOP,
    "stop_token_ids": {"anyOf": [_IDS, {"type": "null"}]},
    "ignore_eos": _FLAG,
    "response_format": _FORMAT,
    **_SAMPLING,
}
_TEMPLATE: Mapping[str, Schema] = {
    "continue_final_message": _FLAG,
    "add_generation_prompt": _FLAG,
    "chat_template_kwargs": _optional("object"),
}
_CHAT = _object(
    {
        **_GENERATION,
        **_TEMPLATE,
        "messages": _list(_MESSAGE, minItems=1),
        "tools": {"anyOf": [_list(_TOOL, maxItems=128), {"type": "null"}]},
        "tool_choice": {
            "anyOf": [
                {"enum": ["none", "auto", "required", None]},
                _object({"type": {"const": "function"}, "function": _FUNCTION}, "function"),
            ]
        },
        "parallel_tool_calls": _FLAG,
        "logprobs": _FLAG,
        "top_logprobs": _whole(0, 20),
        "return_progress": _FLAG,
    },
    "model",
    "messages",
)
_COMPLETION = _object(
    {
        **_GENERATION,
        "prompt": {
            "anyOf": [_TEXT, _list(_TEXT, minItems=1), _list({"type": "integer"}, minItems=1),
                      _list(_list({"type": "integer"}), minItems=1)]
        },
        "echo": _FLAG,
        "logprobs": {"anyOf": [{"const": False}, _whole(0, 20)]},
        "parse_special": _FLAG,
    },
    "model",
    "prompt",
)  # fmt: skip
_ITEM_PART = _object(
    {"type": {"enum": ["input_text", "output_text"]}, "text": _TEXT}, "type", "text"
)
_ITEM: Schema = {
    "anyOf": [
        _object(
            {
                "type": {"const": "message"},
                "role": {"enum": ["user", "assistant", "system", "developer"]},
                "content": {"anyOf": [_TEXT, _list(_ITEM_PART, minItems=1)]},
            },
            "role",
            "content",
        ),
        _object(
            {
                "type": {"const": "function_call"},
                "call_id": _TEXT,
                "name": _NAME,
                "arguments": _TEXT,
            },
            "type",
            "call_id",
            "name",
            "arguments",
        ),
        _object(
            {"type": {"const": "function_call_output"}, "call_id": _TEXT, "output": _TEXT},
            "type",
            "call_id",
            "output",
        ),
    ]
}
_RESPONSE = _object(
    {
        "model": _MODEL,
        "input": {"anyOf": [_TEXT, _list(_ITEM, minItems=1)]},
        "instructions": _optional("string"),
        "max_output_tokens": _MAX_TOKENS,
        "stream": _FLAG,
        "tools": {
            "anyOf": [
                _list(
                    _object(
                        {
                            "type": {"const": "function"},
                            "name": _NAME,
                            "description": _TEXT,
                            "parameters": _JSON,
                        },
                        "type",
                        "name",
                    ),
                    maxItems=128,
                ),
                {"type": "null"},
            ]
        },
        "parallel_tool_calls": _FLAG,
        "top_logprobs": _whole(0, 20),
        **_SAMPLING,
    },
    "model",
    "input",
)
_BLOCK: Schema = {
    "anyOf": [
        _PART,
        _object(
            {"type": {"const": "tool_use"}, "id": _TEXT, "name": _NAME, "input": _JSON},
            "type", "id", "name", "input",
        ),
        _object(
            {"type": {"const": "tool_result"}, "tool_use_id": _TEXT, "content": _TEXT},
            "type", "tool_use_id",
        ),
    ]
}  # fmt: skip
_TURNS: Mapping[str, Schema] = {
    "model": _MODEL,
    "messages": _list(
        _object(
            {
                "role": {"enum": ["user", "assistant"]},
                "content": {"anyOf": [_TEXT, _list(_BLOCK, minItems=1)]},
            },
            "role",
            "content",
        ),
        minItems=1,
    ),
    "system": {"anyOf": [_TEXT, _list(_PART), {"type": "null"}]},
    "tools": {
        "anyOf": [
            _list(
                _object(
                    {"name": _NAME, "description": _TEXT, "input_schema": _JSON},
                    "name",
                    "input_schema",
                ),
                maxItems=128,
            ),
            {"type": "null"},
        ]
    },
}
_MESSAGES = _object(
    {
        **_TURNS,
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 2**31},
        "stream": _FLAG,
        "stop_sequences": {"anyOf": [_list(_SOME_TEXT, maxItems=16), {"type": "null"}]},
        "temperature": _number(0, 2),
        "top_p": _number(0, 1),
        "top_k": _whole(-1),
    },
    "model",
    "messages",
    "max_tokens",
)
_DIALOGUE = _object(
    {
        "model": _MODEL,
        "messages": _list(_MESSAGE, minItems=1),
        "tools": {"anyOf": [_list(_TOOL, maxItems=128), {"type": "null"}]},
        **_TEMPLATE,
    },
    "messages",
)
_TOKENIZE = {
    "anyOf": [
        _object({"model": _MODEL, "prompt": _TEXT, "return_token_strs": _FLAG}, "prompt"),
        _DIALOGUE,
    ]
}
_ATTACHMENT = _object({"name": _TEXT, "content": _TEXT}, "name", "content")
_DETOKENIZE = _object({"model": _MODEL, "tokens": _IDS})

_ERROR = _object(
    {
        "error": _object(
            {
                "message": _TEXT,
                "type": _TEXT,
                "code": _optional("string"),
                "param": _optional("string"),
            },
            "message",
            "type",
        )
    },
    "error",
)
_REFUSALS = {
    "400": "A field is wrong, or the prompt is too long; the message says which and why.",
    "401": "A valid API key is needed.",
    "403": "The page or the host name may not use this server.",
    "404": "There is no such model or place.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too many requests; Retry-After says when to come back.",
    "500": "The model failed.",
}
_USAGE = _object(
    {name: {"type": "integer"} for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    | {"prompt_tokens_details": _object({"cached_tokens": {"type": "integer"}})}
)
_BODIES: Mapping[str, tuple[str, Schema, Schema]] = {
    "/v1/chat/completions": (
        "An answer in a dialogue.",
        _CHAT,
        _object({"id": _TEXT, "choices": _list(_JSON), "usage": _USAGE}, "id", "choices", "usage"),
    ),
    "/v1/completions": (
        "The continuation of a text.",
        _COMPLETION,
        _object({"id": _TEXT, "choices": _list(_JSON), "usage": _USAGE}, "id", "choices", "usage"),
    ),
    "/v1/responses": (
        "An answer after Open Responses; nothing is stored.",
        _RESPONSE,
        _object({"id": _TEXT, "output": _list(_JSON), "status": _TEXT}, "id", "output", "status"),
    ),
    "/v1/messages": (
        "An answer after Anthropic's Messages.",
        _MESSAGES,
        _object({"id": _TEXT, "content": _list(_JSON)}, "id", "content"),
    ),
    "/v1/messages/count_tokens": (
        "Tokens of a dialogue.",
        _object(_TURNS, "model", "messages"),
        _object({"input_tokens": {"type": "integer"}}, "input_tokens"),
    ),
    "/v1/embeddings": ("Refused: the models of this server continue text.", _JSON, _JSON),
    "/tokenize": (
        "Token ids of a text or a dialogue.",
        _TOKENIZE,
        _object({"count": {"type": "integer"}, "tokens": _IDS}, "count", "tokens"),
    ),
    "/detokenize": (
        "The text of token ids.",
        _DETOKENIZE,
        _object({"prompt": _TEXT, "content": _TEXT}, "prompt"),
    ),
    "/attachments": (
        "The text of a document whose bytes are sent in base64, and its tokens.",
        _ATTACHMENT,
        _object(
            {"name": _TEXT, "format": _TEXT, "text": _TEXT, "tokens": {"type": "integer"}},
            "text",
            "tokens",
        ),
    ),
    "/apply-template": (
        "The prompt of a dialogue as text.",
        _DIALOGUE,
        _object({"prompt": _TEXT}, "prompt"),
    ),
}
_STREAMED = frozenset(("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"))


def description(model: str) -> dict[str, Any]:
    """The document. It names the fields that clients send most; further ones are left out.

    Args:
        model: the name of the one that is served.
    """
    paths = {place: {method.lower(): _operation(place)} for place, method in PLACES.items()}
    keys = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    schemas = {"Error": _ERROR, "Model": {"type": "string", "enum": [model]}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tongwen", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": keys, "schemas": schemas},
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _operation(place: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {
        status: {"description": words, "content": error} for status, words in _REFUSALS.items()
    }
    if place not in _BODIES:
        kind = "text/plain" if place == "/metrics" else "application/json"
        found = {"description": "What there is.", "content": {kind: {}}}
        return {"summary": _SUMMARIES[place], "responses": {"200": found, **refusals}}
    summary, body, reply = _BODIES[place]
    content: dict[str, Any] = {"application/json": {"schema": reply}}
    if place in _STREAMED:
        content["text/event-stream"] = {}  # what a schema says of events is OpenAPI 3.2
    request = {"required": True, "content": {"application/json": {"schema": body}}}
    answered = {"description": "The answer.", "content": content}
    return {
        "summary": summary,
        "requestBody": request,
        "responses": {"200": answered, **refusals},
    }


_SUMMARIES = {
    "/v1/models": "The model that is served.",
    "/model-facts": "What the model is, and its card.",
    "/mcp-servers": "MCP servers whose tools requests may name.",
    "/health": "Whether the server is up.",
    "/metrics": "Counts and times for Prometheus.",
    "/openapi.json": "This document.",
}
