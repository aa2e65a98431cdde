"""The commands and recipes that the documents show are those that the program takes.

Every command of every page goes through the real command line's parser, with the recipe that it
names. Those of `sh` blocks also run.
"""

import importlib
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest
from click.testing import CliRunner
from pages import ROOT, Block, Command, block_commands, blocks, pages, span_commands

from tongwen.cli.main import COMMANDS, cli
from tongwen.errors import TongwenError
from tongwen.road.recipe import load_recipe, preset_names
from tongwen.road.reference import sections

OWN_NAMES = {"my.toml", "my-recipe.toml", "recipe.toml", "RECIPE", "mine.toml"}
"""Recipes that a page's reader has written."""
RUNS = [
    block
    for page in pages()
    for block in blocks(page)
    if block.kind == "sh" and page.name != "tutorial.md" and "zh" not in page.parts
]
"""Chinese pages have the same commands; the tutorial's have a test of their own."""


def commands(page: Path) -> list[Command]:
    return [command for block in blocks(page) for command in block_commands(block)]


def below(group: click.Group, words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that the words mean within a group, and the words after it."""
    context = click.Context(group)
    named = group.get_command(context, words[0]) if words else None
    if named is not None or group is cli:
        return named, words[1:]
    usual = group.get_command(context, "run") or group.get_command(context, "recipe")
    return usual, words


def parsed(words: list[str]) -> tuple[click.Command, dict[str, Any]]:
    """The command of a line, and its values by parameter."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        if command is cli and words and words[0].startswith("-"):
            return command, command.make_context("tongwen", [*words, "run"]).params
        inner, words = below(command, words)
        assert inner is not None, f"{command.name} has no command {words[:1]}"
        command = inner
    return command, command.make_context(str(command.name), list(words)).params


def check_recipe(values: dict[str, Any]) -> None:
    """The recipe that a line names exists, and its `--set` fit into it."""
    name = values.get("recipe")
    overrides = values.get("overrides") or ()
    if name is None and not overrides:
        return
    file = ROOT / str(name)
    known = name in preset_names() or file.is_file()
    assert name is None or known or Path(name).name in OWN_NAMES, f"no recipe {name}"
    base = str(file) if file.is_file() else name if name in preset_names() else "sample"
    load_recipe(base, tuple(overrides))


def check_tongwen(words: list[str]) -> None:
    if "..." not in words:
        _, values = parsed(words)
        check_recipe(values)


def check_script(words: list[str]) -> None:
    """A script of the checkout: it is there and has the options, as its source writes them."""
    script = ROOT / words[0]
    assert script.is_file(), words[0]
    options = {word.partition("=")[0] for word in words if word.startswith("--") and word != "--"}
    if "--" in words:
        options = {word for word in words[: words.index("--")] if word.startswith("--")}
    source = script.read_text("utf-8")
    missing = {option for option in options if f'"{option}"' not in source}
    imported = re.findall(r"^from (\w+) import|^import (\w+)$", source, re.MULTILINE)
    for name in {first or second for first, second in imported}:
        beside = script.with_name(f"{name}.py")
        if beside.is_file():
            missing -= {o for o in missing if f'"{o}"' in beside.read_text("utf-8")}
    assert missing == set(), f"{words[0]} has no {missing}"


def check(command: Command) -> None:
    program, *words = command.words
    if program == "tongwen":
        check_tongwen(words)
    elif program == "torchrun":
        check_tongwen(words[words.index("tongwen") + 1 :])
    elif program == "python" and words[:2] == ["-m", "tongwen"]:
        check_tongwen(words[2:])
    elif program == "python" and words and words[0].endswith(".py"):
        check_script(words)
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(targets)
    elif program in ("pip", "uv", "pipx"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for group in re.findall(r"(?:tongwen|\.)\[([\w,]+)\]", " ".join(words)):
            assert set(group.split(",")) <= set(extras["optional-dependencies"]), group


def problems(found: list[Command]) -> list[str]:
    """What is wrong with each of the commands."""
    wrong = []
    for command in found:
        try:
            with patch.object(click.Path, "convert", lambda _, value, *_rest: value):
                check(command)  # the reader's files need not be here
        except click.exceptions.Exit:
            pass  # `--list-tasks` prints and ends
        except (click.ClickException, TongwenError, AssertionError) as error:
            said = error.format_message() if isinstance(error, click.ClickException) else error
            wrong.append(f"{command.place}: {' '.join(command.words)}: {said}")
    return wrong


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_are_accepted(page: Path) -> None:
    assert problems(commands(page)) == []


def test_the_commands_within_sentences_exist_with_their_options() -> None:
    wrong = []
    for page in pages():
        if page.name == "CHANGELOG.md":
            continue
        for command in span_commands(page):
            words = list(command.words[1:])
            inner: click.Command | None = cli
            while words and isinstance(inner, click.Group):
                inner, words = below(inner, words)
            options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            known = {"--help", "-h"}
            for parameter in inner.params if inner else ():
                known |= {*parameter.opts, *parameter.secondary_opts}
            is_form = {"...", "STAGE", "[OPTIONS]"} & set(command.words)
            is_form = is_form or command.words[1].startswith("-")
            if not is_form and (inner is None or not options <= known):
                wrong.append(f"{command.place}: {' '.join(command.words)}")
    assert wrong == []


def test_both_languages_show_the_same_commands() -> None:
    for page in sorted((ROOT / "docs" / "en").rglob("*.md")):
        chinese = ROOT / "docs" / "zh" / page.relative_to(ROOT / "docs" / "en")
        english = [command.words for command in commands(page)]
        other = [command.words for command in commands(chinese)]
        assert [drop_texts(words) for words in english] == [drop_texts(words) for words in other], (
            chinese
        )


def drop_texts(words: tuple[str, ...]) -> tuple[str, ...]:
    """Without words of the language itself, such as a question."""
    return tuple(word for word in words if word.isascii() and " " not in word)


def toml_blocks() -> Iterator[Block]:
    for page in pages():
        yield from (block for block in blocks(page) if block.kind == "toml")


def test_the_recipes_in_the_pages_have_keys_that_exist() -> None:
    names = {key.name.replace("[]", "") for section in sections() for key in section.keys}
    kinds = {section.name for section in sections()}
    free = {key.name.replace("[]", "") for s in sections() for key in s.keys
            if key.type.startswith("table of")}  # fmt: skip
    found = 0
    for block in toml_blocks():
        table = tomllib.loads(block.text)
        for section in set(table) & kinds:
            found += 1
            for key in written(table[section], section, free):
                assert key in names, f"{block.page}:{block.line}: {key}"
    assert found > 30


def written(value: Any, name: str, free: set[str]) -> Iterator[str]:
    """Dotted names of the keys in a table; names that are the reader's own are passed over."""
    if isinstance(value, list):
        for entry in value:
            yield from written(entry, name, free)
    elif isinstance(value, dict):
        for key, inner in value.items():
            below = name if name in free else f"{name}.{key}"
            if name not in free:
                yield below
            yield from written(inner, below, free - {below} if name in free else free)


@pytest.mark.parametrize("block", RUNS, ids=lambda block: f"{block.page}:{block.line}")
def test_the_quick_commands_run(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docs", "recipes", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in block_commands(block):
        assert command.words[0] == "tongwen"
        result = CliRunner().invoke(cli, list(command.words[1:]), catch_exceptions=False)
        assert result.exit_code == 0, result.output


def test_every_command_is_shown_on_a_page() -> None:
    shown = {command.words[1] for page in pages() for command in commands(page)
             if command.words[0] == "tongwen" and len(command.words) > 1}  # fmt: skip
    assert set(COMMANDS) <= shown
    assert importlib.import_module("tongwen.cli.run").command.name in COMMANDS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tongwen run nowhere.toml", "no recipe nowhere.toml"),
        ("tongwen run sample --set curate.englsh.x=1", "unknown key `curate.englsh`"),
        ("tongwen evaluate model --suite yi --lmit 3 --out scores", "No such option '--lmit'"),
        ("tongwen crawl texts --format wrc --out crawled", "Invalid value for '--format'"),
        ("tongwen quantize model", "Missing option '--out'"),
        ("torchrun --nproc-per-node 2 -m tongwen pretrain shards --out x", "Missing argument"),
        ("python bench/train.py --shaps 25m", "has no {'--shaps'}"),
        ("pip install 'tongwen[everything]'", "everything"),
        ("make everything", ""),
    ],
)
def test_a_mistake_in_a_page_is_found(line: str, said: str) -> None:
    block = Block("page.md", 1, "console", f"$ {line}\n")
    (problem,) = problems(list(block_commands(block)))
    assert problem.startswith("page.md:1: ")
    assert said in problem
