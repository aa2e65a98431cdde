"""The one place that says which ids are special, how dialogues are written, where answers end.

Training, tuning, serving and export read it from here, so that no two exported files disagree.
Ids are Yi's (`01-ai/Yi-6B` tokenizer.model); 3-5 and 9-13 are reserved and carry no meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.errors import InputError

UNKNOWN_ID = 0
PAD_ID = 0
BOS_ID = 1
EOS_ID = 2
IM_START_ID = 6
IM_END_ID = 7
IM_SEP_ID = 8
STOP_IDS = (EOS_ID, IM_END_ID)
"""A generated answer ends at the first of these."""

UNKNOWN = "<unk>"
BOS = "<|startoftext|>"
EOS = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
IM_SEP = "<|im_sep|>"

SPECIAL_PIECES = (
    UNKNOWN,
    BOS,
    EOS,
    "<|reserved_3|>",
    "<|reserved_4|>",
    "<|reserved_5|>",
    IM_START,
    IM_END,
    IM_SEP,
    "<|reserved_9|>",
    "<|reserved_10|>",
    "<|reserved_11|>",
    "<|reserved_12|>",
    "<|reserved_13|>",
)
"""The piece of every special id, in the order of the ids, which start at 0."""

FIRST_BYTE_ID = len(SPECIAL_PIECES)
"""Id of the byte piece `<0x00>`; the other 255 byte pieces follow in order."""

ROLES = ("system", "user", "assistant")
ANSWER_ROLE = "assistant"

TOOLS_BEFORE = "You may call functions. Their definitions, one JSON object a line:\n<tools>"
TOOLS_AFTER = (
    "</tools>\nTo call one, answer with its name and arguments as JSON:\n"
    '<tool_call>\n{"name": "NAME", "arguments": {}}\n</tool_call>'
)
"""What the system message says around the definitions of functions."""

_LINES = str.maketrans({"\n": "\\n"})

CHAT_TEMPLATE = (
    "{% set shown = namespace(tools='') %}"
    "{% if tools %}"
    f"{{% set shown.tools = '{TOOLS_BEFORE.translate(_LINES)}' %}}"
    "{% for tool in tools %}"
    "{% set f = tool['function'] if 'function' in tool else tool %}"
    "{% set shown.tools = shown.tools + '\\n' + ({'type': 'function', 'function': "
    "{'name': f['name'], 'description': f['description'] or '', 'parameters': f['parameters'] "
    "or {'properties': {}, 'additionalProperties': false}}} | tojson) %}"
    "{% endfor %}"
    f"{{% set shown.tools = shown.tools + '\\n{TOOLS_AFTER.translate(_LINES)}' %}}"
    "{% if messages[0]['role'] not in ['system', 'developer'] %}"
    "{{ '<|im_start|>system\\n' + shown.tools + '<|im_end|>\\n' }}"
    "{% endif %}{% endif %}"
    "{% for message in messages %}"
    "{% set turn = namespace(content=message['content'], role=message['role']) %}"
    "{% if turn.content is not string %}"
    "{% set turn.content = '' %}"
    "{% for part in message['content'] or [] %}"
    "{% set turn.content = turn.content + part['text'] %}"
    "{% endfor %}{% endif %}"
    "{% if turn.role in ['tool', 'function'] %}"
    "{% set turn.role = 'user' %}"
    "{% set turn.content = '<tool_response>\\n' + turn.content + '\\n</tool_response>' %}"
    "{% elif turn.role in ['system', 'developer'] %}"
    "{% set turn.role = 'system' %}"
    "{% if tools and loop.first %}"
    "{% set turn.content = turn.content + '\\n\\n' + shown.tools %}"
    "{% endif %}{% endif %}"
    "{% for call in message['tool_calls'] or [] %}"
    "{% set f = call['function'] if 'function' in call else call %}"
    "{% set given = f['arguments'] or {} %}"
    "{% set turn.content = turn.content + ('\\n' if turn.content else '') "
    "+ '<tool_call>\\n{\"name\": ' + (f['name'] | tojson) + ', \"arguments\": ' "
    "+ (given if given is string else given | tojson) + '}\\n</tool_call>' %}"
    "{% endfor %}"
    "{{ '<|im_start|>' + turn.role + '\\n' + turn.content + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML as a Jinja template for `tokenizer_config.json`; says the same as `chat_prompt`, and of
functions, calls and their results the same as `turns`."""

Message = Mapping[str, str]
"""One turn of a dialogue: `role` (one of `ROLES`) and `content`."""


def check_messages(messages: Sequence[Message]) -> None:
    """Refuse a dialogue that ChatML cannot carry.

    Raises:
        InputError: no message, an unknown role, or content that is not a string.
    """
    if not messages:
        raise InputError("the dialogue has no message")
    for number, message in enumerate(messages, start=1):
        role = message.get("role")
        if role not in ROLES:
            raise InputError(
                f"message {number} has the role {role!r}", hint=f"known roles: {', '.join(ROLES)}"
            )
        if not isinstance(message.get("content"), str):
            kind = type(message.get("content")).__name__
            raise InputError(f"message {number} has a content of type {kind}, not a string")


def chat_prompt(messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
    """A dialogue as ChatML text, equal to what `CHAT_TEMPLATE` renders.

    To feed a model use `Tokenizer.encode_dialogue`, where a marker that a user typed into a
    message stays text; in this string the two cannot be distinguished.

    Raises:
        InputError: see `check_messages`.
    """
    check_messages(messages)
    turns = [f"{IM_START}{turn['role']}\n{turn['content']}{IM_END}\n" for turn in messages]
    if add_generation_prompt:
        turns.append(f"{IM_START}{ANSWER_ROLE}\n")
    return "".join(turns)


def generation_config() -> dict[str, Any]:
    """Content of `generation_config.json`: greedy, and it stops at both ends of an answer."""
    return {
        "bos_token_id": BOS_ID,
        "do_sample": False,
        "eos_token_id": list(STOP_IDS),
        "pad_token_id": PAD_ID,
    }


def tokenizer_config() -> dict[str, Any]:
    """Content of `tokenizer_config.json` for transformers.

    The class is the generic fast one: Llama's own class would rebuild the tokenizer with a
    dummy prefix, which Yi's users met as a stray space after every marker (01-ai/Yi-1.5 #37).
    """
    return {
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(number): {
                "content": piece,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for number, piece in enumerate(SPECIAL_PIECES)
        },
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
        **special_tokens_map(),
    }


def special_tokens_map() -> dict[str, str]:
    """Content of `special_tokens_map.json`."""
    return {
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": SPECIAL_PIECES[PAD_ID],
        "unk_token": UNKNOWN,
    }
