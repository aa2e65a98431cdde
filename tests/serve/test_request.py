"""Messages as requests carry them."""

import pytest

from tongwen.serve.fields import ApiError
from tongwen.serve.request import check_messages


def test_results_of_parallel_calls_come_in_the_order_of_the_calls() -> None:
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in ("first", "second")
    ]
    messages = [
        {"role": "user", "content": "Both, please. 都要。"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "second", "content": "2"},
        {"role": "tool", "tool_call_id": "first", "content": "1"},
        {"role": "user", "content": "Thanks"},
    ]
    assert [turn["content"] for turn in check_messages(messages)[2:]] == ["1", "2", "Thanks"]


def test_an_error_names_the_message_where_it_was_sent() -> None:
    with pytest.raises(ApiError, match=r"messages\[1\]"):
        check_messages([{"role": "user", "content": "Hi"}, {"role": "nobody", "content": ""}])
