"""Answers that must fit a grammar: with random weights, every one of them can be parsed."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.serve.generation import Delta
from tongwen.serve.grammar import (
    Grammars,
    choice_grammar,
    json_grammar,
    lark_grammar,
    regex_grammar,
)
from tongwen.serve.tools import Part, PartReader, parse_tools, tool_use
from tongwen.tokenizer.text import Tokenizer

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "天气",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
NOW = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"type": "string", "minLength": 3},
        "c": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "d": {"type": "string", "format": "date"}},
                "required": ["x", "d"],
            },
            "minItems": 1,
        },
        "e": {"enum": ["红", "blue"]},
    },
    "required": ["a", "b", "c", "e"],
    "additionalProperties": False,
}


def _families() -> ModuleType:
    """`bench/families.py`, which makes tokenizers of three kinds."""
    path = Path(__file__).parents[2] / "bench" / "families.py"
    made = importlib.util.spec_from_file_location("families", path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules["families"] = module  # its dataclasses look their module up
    made.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grammars(small_tokenizer: Tokenizer) -> Grammars:
    return Grammars(small_tokenizer, (2, 7))


def written(
    grammars: Grammars, tokenizer: Tokenizer, grammar: str, seed: int, most: int
) -> tuple[str, bool]:
    """What a model of random logits writes, and whether the limit shortened it."""
    state, draws, ids = grammars.state(grammar), torch.Generator().manual_seed(seed), []
    while len(ids) < most:
        logits_V = torch.randn(tokenizer.vocabulary_size, generator=draws) * 3
        token_id = state.fitting(int(state.masked(logits_V).argmax()), most - len(ids))
        if token_id in (2, 7):
            break
        state.take(token_id)
        ids.append(token_id)
        if state.is_finished:
            break
    return tokenizer.decode(ids), state.closes_early


def read(text: str, pieces: list[int] | None = None) -> list[Part]:
    """The parts of a text that comes in pieces of these lengths."""
    reader, parts, start = PartReader(reads_calls=True), [], 0
    for length in pieces or [1] * len(text):
        parts += reader.push(Delta(text[start : start + length]))
        start += length
    return [*parts, *reader.push(Delta(text[start:], "stop"))]


def calls_of(parts: list[Part]) -> list[tuple[str, str]]:
    names = [part.text for part in parts if part.kind == "call"]
    arguments = [""] * len(names)
    for part in parts:
        if part.kind == "arguments":
            arguments[part.number] += part.text
    return list(zip(names, arguments, strict=True))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32), most=st.integers(80, 200))
def test_an_answer_of_any_weights_fits_its_schema(
    grammars: Grammars, small_tokenizer: Tokenizer, seed: int, most: int
) -> None:
    text, _ = written(grammars, small_tokenizer, json_grammar(SCHEMA), seed, most)
    value = json.loads(text)
    assert list(value) == ["a", "b", "c", "e"]
    assert isinstance(value["a"], int)
    assert abs(value["a"]) < 2**53
    assert len(value["b"]) >= 3
    assert all(set(item) >= {"x", "d"} for item in value["c"])
    assert value["c"]
    assert value["e"] in ("红", "blue")


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32), most=st.integers(12, 40), schema=st.sampled_from([{}, True]))
def test_any_json_is_closed_before_the_limit(
    grammars: Grammars, small_tokenizer: Tokenizer, seed: int, most: int, schema: Any
) -> None:
    text, _ = written(grammars, small_tokenizer, json_grammar(schema), seed, most)
    json.loads(text)


def test_blank_space_between_the_parts_of_json_is_bounded(
    grammars: Grammars, small_tokenizer: Tokenizer
) -> None:
    def fits(text: str) -> bool:
        state = grammars.state(json_grammar({"type": "array", "items": {"type": "integer"}}))
        try:
            for token_id in small_tokenizer.encode(text):
                state.take(token_id)
        except InputError:
            return False
        return state._matcher.is_accepting()

    assert fits("[1,2]")
    assert fits("[1, 2]")
    assert fits("[\n  1,\n  2\n]")
    assert not fits("[  1]")
    assert not fits("[\n\n1]")
    assert not fits("[1" + "0" * 30 + "]")


def test_an_answer_that_the_limit_shortens_says_so(
    grammars: Grammars, small_tokenizer: Tokenizer
) -> None:
    ends = [
        written(grammars, small_tokenizer, json_grammar({"type": "string"}), seed, 8)
        for seed in range(20)
    ]
    assert any(is_short for _, is_short in ends)
    assert not written(grammars, small_tokenizer, json_grammar({"const": 1}), 0, 8)[1]


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        (regex_grammar("[0-9]{3}路"), r"\d\d\d路"),
        (choice_grammar(["yes", '不"']), '(yes|不")'),
        (lark_grammar('root ::= "a" [0-9] "b"'), r"a\db"),
        (lark_grammar('start: "长" /[ab]{2}/'), "长[ab]{2}"),
    ],
)
def test_other_grammars_hold_too(
    grammars: Grammars, small_tokenizer: Tokenizer, grammar: str, expected: str
) -> None:
    for seed in range(10):
        text, _ = written(grammars, small_tokenizer, grammar, seed, 30)
        assert re.fullmatch(expected, text), text


@pytest.mark.parametrize(
    "source",
    [
        json_grammar({"type": "strin"}),
        json_grammar({"$ref": "#/nope"}),
        json_grammar({"type": "array", "uniqueItems": True}),
        json_grammar({"type": "string", "minLength": 3, "maxLength": 2}),
        regex_grammar("(a"),
        lark_grammar("start: missing"),
        lark_grammar("nonsense"),
    ],
)
def test_a_grammar_with_an_error_is_refused_in_words(grammars: Grammars, source: str) -> None:
    with pytest.raises(InputError, match="the grammar cannot be used: ") as caught:
        grammars.state(source)
    assert "\n" not in caught.value.message


def test_a_grammar_that_takes_minutes_to_compile_is_refused_by_its_length(
    grammars: Grammars,
) -> None:
    with pytest.raises(InputError, match=r"characters; the most are 200,000"):
        grammars.state(choice_grammar(["ab" * 50_000] * 3))
    state = grammars.state(choice_grammar(["ab" * 200]))  # an end is found in a text that is forced
    assert state.tokens_to_end(512) == 400
    assert state.tokens_to_end(399) is None


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32), is_parallel=st.booleans())
def test_required_calls_always_have_arguments_by_the_schema(
    grammars: Grammars, small_tokenizer: Tokenizer, seed: int, is_parallel: bool
) -> None:
    tools = parse_tools([WEATHER, NOW])
    use = tool_use(tools, "required", names=None, is_parallel=is_parallel)
    grammar = use.grammar()
    assert grammar is not None
    text, _ = written(grammars, small_tokenizer, grammar, seed, 200)
    calls = calls_of(read(text))
    assert calls
    assert is_parallel or len(calls) == 1
    for name, arguments in calls:
        value = json.loads(arguments)
        assert name in ("weather", "now")
        if name == "weather":
            assert isinstance(value["city"], str)
            assert set(value) <= {"city", "days"}


def test_a_choice_of_one_function_allows_no_other(
    grammars: Grammars, small_tokenizer: Tokenizer
) -> None:
    use = tool_use(parse_tools([WEATHER, NOW]), "required", names=["now"], is_parallel=False)
    for seed in range(4):
        text, _ = written(grammars, small_tokenizer, use.grammar() or "", seed, 120)
        assert [name for name, _ in calls_of(read(text))] == ["now"]


TEXT = (
    'Let me look. 看\n<tool_call>\n{"name": "weather", "arguments": {"city": "a\\"}]\\\\"}}\n'
    '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {"deep": {"x": [1, {}]}}}\n'
    "</tool_call>"
)


@given(cuts=st.lists(st.integers(1, 30), max_size=30))
def test_calls_are_read_however_the_text_is_cut(cuts: list[int]) -> None:
    parts = read(TEXT, cuts)
    assert "".join(part.text for part in parts if part.kind == "text") == "Let me look. 看"
    assert calls_of(parts) == [
        ("weather", '{"city": "a\\"}]\\\\"}'),
        ("now", '{"deep": {"x": [1, {}]}}'),
    ]
    assert parts[-1].finish == "tool_calls"
    ids = [part.call_id for part in parts if part.kind == "call"]
    assert len(set(ids)) == 2


@given(text=st.text("<tool_cal>/ \n路x", max_size=40).filter(lambda t: "<tool_call>" not in t))
def test_text_without_calls_is_shown_whole(text: str) -> None:
    parts = read(text)
    assert "".join(part.text for part in parts if part.kind == "text") == text
    assert parts[-1].finish == "stop"


@pytest.mark.parametrize("kind", ["spaces", "bytes"])
def test_answers_of_tokenizers_of_other_makers_fit_their_schema(kind: str, tmp_path: Path) -> None:
    # Llama 2's kind writes a space before every text, also before what a grammar forces.
    _families().make_tokenizer(kind).save_pretrained(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    grammars = Grammars(tokenizer, (2,))
    for seed in range(4):
        text, _ = written(grammars, tokenizer, json_grammar(SCHEMA), seed, 80)
        value = json.loads(text)
        assert value.keys() <= SCHEMA["properties"].keys()  # type: ignore[attr-defined]
