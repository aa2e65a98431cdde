"""The expression language: what it says, and what it refuses."""

import contextlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.mix.expressions import column_kinds, parse
from tongwen.errors import RecipeError

KINDS = {"quality": "number", "words": "number", "is_text": "number", "source": "text",
         "url": "text"}  # fmt: skip
COLUMNS = {
    "quality": np.array([0.9, 0.2, np.nan, 0.5]),
    "words": np.array([100.0, 50.0, 70.0, 0.0]),
    "is_text": np.array([1.0, 0.0, 0.0, 1.0]),
    "source": np.array(["wiki", "web", None, "books"], object),
    "url": np.array(["https://a.cn/新闻/1", "https://b.cn/", "", "file:x"], object),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quality > 0.4", [1, 0, 0, 1]),
        ("not quality > 0.4", [0, 1, 1, 0]),
        ("0.1 < quality <= 0.5", [0, 1, 0, 1]),
        ("quality != 0.2", [1, 0, 0, 1]),
        ("quality is None", [0, 0, 1, 0]),
        ("quality is not None and words >= 50", [1, 1, 0, 0]),
        ('source in ("wiki", "books")', [1, 0, 0, 1]),
        ('source not in ["wiki", "books"]', [0, 1, 0, 0]),
        ('source == "web" or words < 1', [0, 1, 0, 1]),
        ('"新闻" in url', [1, 0, 0, 0]),
        ('"/" not in url', [0, 0, 1, 1]),
        ("words in (50, 70.0)", [0, 1, 1, 0]),
        ("is_text and not words == 0", [1, 0, 0, 0]),
        ("words > -1", [1, 1, 1, 1]),
        ("True", [1, 1, 1, 1]),
        ("words > quality", [1, 1, 0, 0]),
    ],
)
def test_an_expression_chooses_rows(text: str, expected: list[int]) -> None:
    assert parse(text, KINDS, "keep_if").mask(COLUMNS).astype(int).tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qualty > 0.5", "`qualty` is no column"),
        ('quality > "0.5"', "compares a text with a number"),
        ("source", "is a text, not true or false"),
        ("quality", None),
        ("quality + 1 > 2", "is not allowed here"),
        ('__import__("os").system("true")', "is no condition"),
        ("len(source) > 2", "is not allowed here"),
        ("source.x == 'a'", "is not allowed here"),
        ("source[0] == 'a'", "is not allowed here"),
        ("(lambda: 1)", "is no condition"),
        ("quality >", "which is no expression"),
        ("quality > 1 if words else 2", "is no condition"),
        ('source in ("wiki", 3)', "mixes texts and numbers"),
        ("quality is 3", "`is` goes with|is not allowed"),
        ("quality in words", "is not allowed"),
        ("f'{source}' == 'a'", "is not allowed here"),
        ("words := 3", "which is no expression"),
        ("3", "is no condition"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_whatever_else_python_can_do_is_refused(text: str, message: str | None) -> None:
    if message is None:
        parse(text, KINDS, "keep_if")
        return
    with pytest.raises(RecipeError, match=message) as raised:
        parse(text, KINDS, "curate.mix.keep_if")
    assert "curate.mix.keep_if" in raised.value.message
    assert raised.value.hint or "no expression" in raised.value.message


def test_a_misspelt_column_gets_the_nearest_names() -> None:
    with pytest.raises(RecipeError) as raised:
        parse("qualty > 0.5", KINDS, "keep_if")
    assert raised.value.hint == "did you mean quality?"


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_a_recipe_error(text: str) -> None:
    with contextlib.suppress(RecipeError):
        parse(text, KINDS, "keep_if")


def test_kinds_of_columns_come_from_the_schema() -> None:
    schema = pa.schema(
        [("a", pa.string()), ("b", pa.int32()), ("c", pa.float64()), ("d", pa.bool_()),
         ("e", pa.list_(pa.int8()))]
    )  # fmt: skip
    assert column_kinds(schema) == {"a": "text", "b": "number", "c": "number", "d": "number"}
