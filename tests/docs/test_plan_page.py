"""The planner's pages show what the planner answers."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The module `tools/plan_page.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))  # it imports another tool
        spec = importlib.util.spec_from_file_location("plan_page", ROOT / "tools" / "plan_page.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_figures_of_the_page_are_those_of_the_code(tool: Any, language: str) -> None:
    page = (ROOT / "docs" / language / "plan.md").read_text("utf-8")
    assert tool.filled(page, language) == page, "run: python tools/plan_page.py"


def test_the_closed_form_of_memory_is_within_a_tenth_of_what_was_measured(tool: Any) -> None:
    for _, form, measured, _ in tool.memory_rows():
        assert abs(float(form) / float(measured) - 1) < 0.1
