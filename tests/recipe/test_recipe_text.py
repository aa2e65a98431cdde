"""Recipe files as editors save them and people type them: encodings and TOML errors."""

import codecs
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.recipe.loader import parse_toml
from tongwen.road.recipe import load_recipe

RECIPE = '# 我们的配方：中文和英文\n[run]\nname = "双语"\n'


def refusal(folder: Path, content: bytes | str) -> tuple[str, str]:
    path = folder / "r.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    return caught.value.message.replace(f"{path}", "r.toml"), str(caught.value.hint)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_line_ends_of_windows_change_nothing(
    tmp_path: Path, mark: bytes, end: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_bytes(mark + RECIPE.replace("\n", end).encode())
    assert load_recipe(str(path)).run.name == "双语"
    broken = RECIPE.replace("\n", end).encode() + b"x = 1"
    assert "line 4" in refusal(tmp_path, mark + broken)[0]


@pytest.mark.parametrize(
    ("codec", "named", "converted"),
    [
        ("utf-16", "UTF-16 text", "iconv -f UTF-16 "),
        ("utf-16-le", "UTF-16LE text", "iconv -f UTF-16LE "),
        ("utf-16-be", "UTF-16BE text", "iconv -f UTF-16BE "),
        ("utf-32", "UTF-32 text", "iconv -f UTF-32 "),
        ("gb18030", "GBK (GB18030) text", "iconv -f GB18030 "),
    ],
)
def test_another_encoding_is_named_with_the_command_that_converts(
    tmp_path: Path, codec: str, named: str, converted: str
) -> None:
    message, hint = refusal(tmp_path, RECIPE.encode(codec))
    assert named in message
    assert converted in hint


def test_western_letters_are_not_taken_for_chinese(tmp_path: Path) -> None:
    text = '# Reçette bilingue, très petite\n[run]\nname = "modèle-é"\n'
    assert "Windows-1252 text" in refusal(tmp_path, text.encode("cp1252"))[0]
    assert "line 1: byte 0xff is not UTF-8" in refusal(tmp_path, b"# \xff\xff\xff\n")[0]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("name = “mine”", 'name = "mine"'),
        ("name = ‘mine’", "name = 'mine'"),
        ("name ＝ “我的”", 'name = "我的"'),
        ("languages = [“en”，“zh-Hans”]", 'languages = ["en","zh-Hans"]'),
        ("seed = １８６２", "seed = 1862"),
        ("name = mine", 'name = "mine"'),
        ("name = 我的", 'name = "我的"'),
        ("path = ../data/*.warc.gz", 'path = "../data/*.warc.gz"'),
        ("path = data  # 数据", 'path = "data" # 数据'),
        ("separate_documents = True", "separate_documents = true"),
        ("separate_documents = FALSE  # off", "separate_documents = false # off"),
        ("base = None", "base = false"),
        ("sample = { keep = True }", "sample = { keep = true }"),
        ('name = "a",', 'name = "a"'),
        ('name = "a";', 'name = "a"'),
        ("max_tokens = 1,000,000", "max_tokens = 1_000_000"),
        ("max_tokens = 10M", "max_tokens = 10e6"),
        ('path = "C:\\data\\crawl"', "path = 'C:\\data\\crawl'"),
        ('name = "mine', 'name = "mine"'),
        ('name: "mine"', 'name = "mine"'),
        ("name: mine", 'name = "mine"'),
        ("dialogues = [a.jsonl, b.jsonl]", 'dialogues = ["a.jsonl", "b.jsonl"]'),
        ("[crawl", "[crawl]"),
        ("［crawl］", "[crawl]"),
        ("crawl:", "[crawl]"),
        ("// a comment", "# a comment"),
    ],
)
def test_a_toml_error_names_the_line_and_what_was_probably_meant(
    tmp_path: Path, line: str, meant: str
) -> None:
    message, hint = refusal(tmp_path, f"[run]\nseed_ = 1\n{line}\nother = 2\n")
    assert message == f"r.toml, line 3: not valid TOML: `{line}`"
    assert hint.endswith(f": {meant}")
    tomllib.loads(meant)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[run]\nname = "a"\nname = "b"\n', "line 3: `run.name` is already in line 2", "leave"),
        ("[run]\n[model]\n[run]\n", "line 3: [run] is already in line 1", "below line 1"),
        ("[tune]\ndialogues = [\n 'a',\nseed = 1\n", "line 2: the list that begins here", "]"),
        ('[run]\nname = """a\nseed = 1\n', "line 2: the text that begins here", '"""'),
        ("[run]\nname =\n", "line 2: not valid TOML", "write a value after the ="),
        ('[run]\nname = "a" seed = 1\n', "line 2: not valid TOML", "one key = value a line"),
        ("[run]\nname\n", "line 2: not valid TOML", "write key = value"),
        ('{"run": {"name": "a"}}', "line 1: not valid TOML", "this looks like JSON"),
    ],
)
def test_other_toml_errors_name_the_line_and_the_rule(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    said, advice = refusal(tmp_path, text)
    assert said.startswith(f"r.toml, {message}")
    assert hint in advice


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(RecipeError, match=r"^any, line \d+: "):
            parse_toml(text, "any")
    else:
        assert parse_toml(text, "any").values == expected
