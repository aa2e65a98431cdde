"""The measured tables on the page on quantization are what the benches recorded."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    """The module `tools/quantize_page.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        path = ROOT / "tools" / "quantize_page.py"
        spec = importlib.util.spec_from_file_location("quantize_page", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_tables_of_the_page_are_those_of_the_rows(tool: Any, language: str) -> None:
    page = (ROOT / "docs" / language / "quantize.md").read_text("utf-8")
    assert tool.filled(page, language) == page, "run: python tools/quantize_page.py"


def test_the_newest_row_about_a_thing_counts(tool: Any) -> None:
    common = {"model": "m", "weights": "int4", "threads": 1, "machine": "here"}
    rows = [
        common | {"rows": 1, "ours_to_llama_cpp": 0.5, "ours_per_cpu_s": 1.0, "of_roof": 0.4},
        common | {"rows": 4, "ours_to_llama_cpp": 2.25, "ours_per_cpu_s": 8.0},
        common | {"rows": 1, "ours_to_llama_cpp": 1.25, "ours_per_cpu_s": 3.0, "of_roof": 0.75},
    ]
    line = tool.speed(rows, tool.SAID["en"]).splitlines()[2]
    assert "**1.25, 2.25**" in line
    assert "75%" in line
    assert "0.5" not in line
