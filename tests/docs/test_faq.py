"""The troubles page quotes messages that the program has."""

import ast
import re
from functools import cache

import pytest
from pages import ROOT

_MESSAGE = re.compile(r"^### .*?(`{1,2})(.+?)\1\s*$", re.MULTILINE)


@cache
def messages() -> str:
    """Every text in the source, each value in it as `…`."""
    found = []
    for file in sorted((ROOT / "tongwen").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…"
                         for part in node.values)  # fmt: skip
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def quoted(language: str) -> list[str]:
    page = (ROOT / "docs" / language / "faq.md").read_text("utf-8")
    return [text.strip().strip("… ") for _, text in _MESSAGE.findall(page)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_messages_of_the_page_are_the_programs(language: str) -> None:
    assert len(quoted(language)) >= 16
    assert [text for text in quoted(language) if text not in messages()] == []


def test_both_languages_explain_the_same_messages() -> None:
    assert quoted("en") == quoted("zh")
