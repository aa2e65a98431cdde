"""Turns as OpenAI writes them, as ChatML carries them."""

from typing import Any

import pytest

from tongwen.tokenizer.turns import TurnError, chatml_turn

CALL = '<tool_call>\n{"name": "天气", "arguments": {"城市": "开封"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("turn", "role", "content"),
    [
        ({"role": "developer", "content": "简短"}, "system", "简短"),
        ({"role": "user", "content": [{"type": "text", "text": "a"},
                                      {"type": "input_text", "text": "b"}]}, "user", "ab"),
        ({"role": "tool", "content": "晴"}, "user", "<tool_response>\n晴\n</tool_response>"),
        ({"role": "function", "content": None}, "user", "<tool_response>\n\n</tool_response>"),
        ({"role": "assistant", "content": None}, "assistant", ""),
        ({"role": "assistant", "content": "a", "tool_calls": []}, "assistant", "a"),
        ({"role": "assistant", "tool_calls": [{"name": "天气", "arguments": {"城市": "开封"}}]},
         "assistant", CALL),
        ({"role": "assistant", "content": "我查一下。", "tool_calls": [
            {"function": {"name": "天气", "arguments": '{"城市": "开封"}'}}] * 2},
         "assistant", f"我查一下。\n{CALL}\n{CALL}"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "not JSON"}},
         "assistant", '<tool_call>\n{"name": "f", "arguments": "not JSON"}\n</tool_call>'),
    ],
)  # fmt: skip
def test_a_turn_of_any_role_becomes_one_that_chatml_has(
    turn: dict[str, Any], role: str, content: str
) -> None:
    assert chatml_turn(turn) == ({"role": role, "content": content}, {})


def test_fields_without_a_part_in_the_turn_are_handed_back() -> None:
    turn = {"role": "assistant", "content": "4", "reasoning_content": "2 + 2", "refusal": None}
    assert chatml_turn(turn)[1] == {"reasoning_content": "2 + 2"}


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        ({"role": "narrator", "content": "x"}, "role"),
        ({"content": "x"}, "role"),
        ({"role": ["user"], "content": "x"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": 3}, "content"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "content"),
        ({"role": "assistant", "tool_calls": {"name": "f"}}, "tool_calls"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "tool_calls[0].function"),
        ({"role": "assistant", "function_call": "f"}, "function_call"),
    ],
)
def test_what_chatml_cannot_carry_is_named_by_field(turn: dict[str, Any], field: str) -> None:
    with pytest.raises(TurnError) as caught:
        chatml_turn(turn)
    assert caught.value.field == field
