"""Answers alone are learnt, token by token, in templates in the style of five families."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tongwen.tokenizer.text import Tokenizer as OurTokenizer

SPECIAL = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>",
    "<|end_header_id|>", "<AI>", "<User>", "[INST]", "[/INST]",
)  # fmt: skip
LLAMA2 = (
    "{% set start = 0 %}{% if messages[0].role == 'system' %}{% set start = 1 %}{% endif %}"
    "{% for m in messages[start:] %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.first and start %}{{ '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' }}"
    "{% endif %}{{ m.content | trim }}{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim }}"
    "{{ '<|eot_id|>' }}{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}{% endfor %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}"
    "{% endif %}{% for m in messages %}{% set said = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set said = said.split('</think>')[-1].lstrip('\\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\\n' + said + '<|im_end|>\\n' }}{% endfor %}"
)
MINICPM = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<User>' + m.content + '<AI>' }}"
    "{% elif m.role == 'system' %}{{ m.content }}{% else %}"
    "{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
SYSTEM, FIRST, SECOND = "You know roads.", "It is long. 很长。", "Yes: 42 miles!"
ASKED = ("How long is it? 多长？", "It is long. 很长。")
"""The second question repeats the first answer, so that a search by text alone would miss."""

# What each template writes, piece by piece; True for what is learnt.
EXPECTED: dict[str, tuple[str, list[tuple[str, bool]]]] = {
    "Llama 2": (LLAMA2, [
        (f"<s>[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{ASKED[0]} [/INST] ", False),
        (f"{FIRST} </s>", True),
        (f"<s>[INST] {ASKED[1]} [/INST] ", False), (f"{SECOND} </s>", True),
    ]),
    "Llama 3": (LLAMA3, [
        (f"<s><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>", False),
        (f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED[0]}<|eot_id|>", False),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
        (f"{FIRST}<|eot_id|>", True),
        (f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED[1]}<|eot_id|>", False),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", False),
        (f"{SECOND}<|eot_id|>", True),
    ]),
    "Mistral": (MISTRAL, [
        (f"<s>[INST] {SYSTEM}[/INST][INST] {ASKED[0]}[/INST] ", False), (f"{FIRST}</s>", True),
        (f"[INST] {ASKED[1]}[/INST] ", False), (f"{SECOND}</s>", True),
    ]),
    "Qwen": (QWEN, [
        (f"<|im_start|>system\n{SYSTEM}<|im_end|>\n", False),
        (f"<|im_start|>user\n{ASKED[0]}<|im_end|>\n<|im_start|>assistant\n", False),
        (f"{FIRST}<|im_end|>", True), ("\n", False),
        (f"<|im_start|>user\n{ASKED[1]}<|im_end|>\n<|im_start|>assistant\n", False),
        (f"{SECOND}<|im_end|>", True), ("\n", False),
    ]),
    "MiniCPM": (MINICPM, [
        (f"{SYSTEM}<User>{ASKED[0]}<AI>", False), (f"{FIRST}</s>", True),
        (f"<User>{ASKED[1]}<AI>", False), (f"{SECOND}</s>", True),
    ]),
}  # fmt: skip


def tokenizer_with(folder: Path, template: str) -> OurTokenizer:
    """One id a byte, and one a special piece: what is learnt is exact to the byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(piece, special=True) for piece in SPECIAL])
    made.save(str(folder / "tokenizer.json"))
    values = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return OurTokenizer.load(folder)


@pytest.mark.parametrize("family", EXPECTED)
@pytest.mark.parametrize("which", ["both", "last", "thinking"])
def test_every_token_of_an_answer_and_no_other_is_learnt(
    tmp_path: Path, family: str, which: str
) -> None:
    template, parts = EXPECTED[family]
    tokenizer = tokenizer_with(tmp_path, template)
    thought = "<think>\nHm.\n</think>\n\n" if which == "thinking" and family == "Qwen" else ""
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": ASKED[0]},
        {"role": "assistant", "content": thought + FIRST},
        {"role": "user", "content": ASKED[1]},
        {"role": "assistant", "content": SECOND},
    ]
    is_learnt = [False, False, which != "last", False, True]
    ids, wanted = tokenizer.encode_dialogue(messages, is_learnt=is_learnt)
    expected_ids: list[int] = []
    expected: list[bool] = []
    answers = 0
    for text, learnt in parts:
        answers += learnt
        new = tokenizer.encode(text, allow_special=True)
        expected_ids += new
        expected += [learnt and not (which == "last" and answers == 1)] * len(new)
    assert ids == expected_ids
    assert wanted == expected
