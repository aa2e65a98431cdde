"""The page of commands says what `--help` says, in both languages."""

import importlib
import sys
from types import ModuleType

import pytest
from pages import ROOT

from tongwen.cli.main import COMMANDS


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The module `tools/command_reference.py`."""
    sys.path.insert(0, str(ROOT / "tools"))
    return importlib.import_module("command_reference")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_of_commands_is_current(tool: ModuleType, language: str) -> None:
    page = tool.page(language).read_text("utf-8")
    assert page == tool.written(language), "run python tools/command_reference.py"
    for name in COMMANDS:
        assert f"\n## tongwen {name}\n" in page


def test_every_command_and_option_has_its_chinese(tool: ModuleType) -> None:
    assert tool.chinese.differences("commands", tool.texts()) == []


def test_every_option_says_what_it_does(tool: ModuleType) -> None:
    silent = [
        f"{path} {option.opts[0]}"
        for path, command in tool.every()
        for option in command.params
        if isinstance(option, tool.click.Option) and not option.help
    ]
    assert silent == []
