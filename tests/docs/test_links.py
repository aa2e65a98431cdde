"""Every link of the documents leads somewhere in the checkout."""

import re
from pathlib import Path

import pytest
from pages import ROOT, headings, pages

_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
_PATH = re.compile(r"docs/[\w/.-]+\.md(?:#[\w-]+)?")
_CODE = re.compile(r"^\s*```.*?^\s*```|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def dead(target: str, page: Path) -> str:
    """What is wrong with a link, nothing if it leads to a file and a heading of it."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{target}: no such file"
    if ROOT not in (file, *file.parents):
        return f"{target}: outside of the checkout"
    if anchor and file.suffix == ".md" and anchor.lower() not in headings(file):
        return f"{target}: no such heading"
    return ""


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    text = _CODE.sub("", page.read_text("utf-8"))
    targets = [link or image for link, image in _LINK.findall(text)]
    inside = [target for target in targets if not re.match(r"[a-z]+:", target)]
    wrong = list(filter(None, (dead(target, page) for target in inside)))
    assert wrong == []


def test_code_and_recipes_name_pages_that_exist() -> None:
    wrong = []
    for folder in ("tongwen", "bench", "tools", "recipes", "examples"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".py", ".toml") and "vendor" not in file.parts:
                for target in _PATH.findall(file.read_text("utf-8")):
                    problem = dead(target, ROOT / "README.md")
                    wrong += [f"{file.relative_to(ROOT)}: {problem}"] if problem else []
    assert wrong == []


def test_both_languages_have_the_same_pages() -> None:
    english, chinese = (
        {
            page.relative_to(ROOT / "docs" / language)
            for page in (ROOT / "docs" / language).rglob("*.md")
        }
        for language in ("en", "zh")
    )
    assert english == chinese
