"""The planner's pages show what the planner answers."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_figures_of_the_page_are_those_of_the_code(language: str) -> None:
    spec = importlib.util.spec_from_file_location("plan_page", ROOT / "tools" / "plan_page.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = (ROOT / "docs" / language / "plan.md").read_text("utf-8")
    assert tool.filled(page, language) == page, "run: python tools/plan_page.py"
