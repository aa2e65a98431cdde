"""Prompts say what `transformers` renders of the same folder, with functions, calls and results."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Made

from tongwen.errors import InputError
from tongwen.tokenizer.prompts import ChatMl, ChatPrompt, load_template
from tongwen.tokenizer.text import Tokenizer

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "某地的天气 “now”",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
    {
        "type": "function",
        "function": {"name": "time", "description": "", "parameters": {"properties": {}}},
    },
]


def calls(*arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": "1", "type": "function", "function": {"name": "weather", "arguments": given}}
        for given in arguments
    ]


DIALOGUES: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "北京 <b>?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Oslo?"}],
    [
        {"role": "user", "content": "Both?"},
        {
            "role": "assistant",
            "content": "我看看。",
            "tool_calls": calls({"city": "Oslo"}, {"city": "北京"}),
        },
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "tool", "tool_call_id": "1", "content": "晴\n12 °C"},
        {"role": "assistant", "content": "Rain; 晴。"},
        {"role": "user", "content": "Thanks"},
    ],
    [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": "", "tool_calls": calls({})},
        {"role": "tool", "tool_call_id": "1", "content": ""},
    ],
]

LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) }}"
    "{{ '<|end_header_id|>\n\n' }}"
    "{% if tools and loop.first %}{{ tools | tojson }}\n{% endif %}"
    "{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}"
    "{{ raise_exception('one call at a time') }}{% endif %}"
    '{{ \'{"name": "\' + m.tool_calls[0].function.name + \'", "parameters": \' }}'
    "{{ m.tool_calls[0].function.arguments | tojson }}{{ '}' }}"
    "{% else %}{{ m.content | trim }}{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}"
    "{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}"
    "{% if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}"
    "{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for call in m.tool_calls or [] %}"
    '{{ \'\n<tool_call>\n{"name": "\' + call.function.name + \'", "arguments": \' }}'
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if tools %}{{ tools | length }}{% endif %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}"
)


def foreign(folder: Path, template: str) -> Path:
    """A tokenizer of bytes in another maker's layout."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Made(models.BPE(vocab={piece: n for n, piece in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = ("begin_of_text", "start_header_id", "end_header_id", "eot_id", "im_start", "im_end")
    made.add_special_tokens([AddedToken(f"<|{name}|>", special=True) for name in names])
    made.save(str(folder / "tokenizer.json"))
    config = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "chat_template": template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=["plain", "system", "calls", "no words"])
@pytest.mark.parametrize("opens", [True, False])
def test_the_exported_template_shows_functions_as_our_server_does(
    folder: Path, tokenizer: Tokenizer, dialogue: list[dict[str, Any]], opens: bool
) -> None:
    from transformers import AutoTokenizer

    ours = ChatMl(tokenizer)
    theirs = AutoTokenizer.from_pretrained(folder)
    for tools in (TOOLS, []):
        prompt = ChatPrompt(turns=tuple(dialogue), tools=tuple(tools), opens_answer=opens)
        rendered = theirs.apply_chat_template(
            dialogue, tools=tools or None, tokenize=False, add_generation_prompt=opens
        )
        assert rendered == ours.render(prompt)
        assert theirs(rendered, add_special_tokens=False)["input_ids"] == ours.encode(prompt)


@pytest.mark.parametrize(("template", "most_calls"), [(LLAMA_3, 1), (QWEN, 2)])
@pytest.mark.parametrize("dialogue", DIALOGUES, ids=["plain", "system", "calls", "no words"])
def test_a_models_own_layout_is_written_as_transformers_writes_it(
    tmp_path: Path, template: str, most_calls: int, dialogue: list[dict[str, Any]]
) -> None:
    from transformers import AutoTokenizer

    folder = foreign(tmp_path, template)
    tokenizer = Tokenizer.load(folder)
    ours = load_template(folder, tokenizer)
    assert ours is not None
    prompt = ChatPrompt(turns=tuple(dialogue), tools=tuple(TOOLS))
    if any(len(turn.get("tool_calls", ())) > most_calls for turn in dialogue):
        with pytest.raises(InputError, match="one call at a time"):
            ours.encode(prompt)
        return
    theirs = AutoTokenizer.from_pretrained(folder)
    rendered = theirs.apply_chat_template(
        dialogue, tools=TOOLS, tokenize=False, add_generation_prompt=True
    )
    assert ours.render(prompt) == rendered
    assert ours.encode(prompt) == theirs(rendered, add_special_tokens=False)["input_ids"]


def test_arguments_reach_a_template_but_never_replace_the_dialogue(tmp_path: Path) -> None:
    folder = foreign(tmp_path, QWEN)
    ours = load_template(folder, Tokenizer.load(folder))
    assert ours is not None
    turns = ({"role": "user", "content": "Hi"},)
    quiet = ChatPrompt(turns=turns, arguments={"enable_thinking": False})
    assert ours.render(quiet).endswith("<think>\n\n</think>\n\n")
    with pytest.raises(InputError, match="messages"):
        ours.render(ChatPrompt(turns=turns, arguments={"messages": []}))
