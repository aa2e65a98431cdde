"""The architecture pages say what is in the tree, in both languages."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / language / "architecture.md" for language in ("en", "zh")]
_LISTING = re.compile(r"```text\n(tongwen/\S*)\n(.*?)```", re.DOTALL)
_PLACE = re.compile(r"`(tongwen/[\w/]+\.py)(?::(\w+))?`")


def members(folder: Path) -> set[str]:
    """Names of the Python modules and packages in a folder, packages with a slash."""
    found = {path.name for path in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
    return found | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


def defined(path: Path) -> set[str]:
    """Names of the functions and classes at the top of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {
        node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, kinds)
    }


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_the_listings_name_every_room_once(page: Path) -> None:
    listings = dict(_LISTING.findall(page.read_text("utf-8")))
    assert set(listings) == {"tongwen/", "tongwen/curate/"}
    for folder, lines in listings.items():
        names = [line.split()[0] for line in lines.splitlines()]
        assert len(names) == len(set(names))
        assert set(names) == members(ROOT / folder)


@pytest.mark.parametrize("page", PAGES, ids=["en", "zh"])
def test_every_place_on_the_way_exists(page: Path) -> None:
    places = _PLACE.findall(page.read_text("utf-8"))
    assert len(places) > 15
    for path, name in places:
        assert (ROOT / path).is_file(), path
        assert not name or name in defined(ROOT / path), f"{path}:{name}"


def test_both_languages_name_the_same_places() -> None:
    english, chinese = (_PLACE.findall(page.read_text("utf-8")) for page in PAGES)
    assert sorted(set(english)) == sorted(set(chinese))
