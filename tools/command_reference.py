"""Write every command with its options into docs/en/commands.md and docs/zh/commands.md.

    python tools/command_reference.py            # write
    python tools/command_reference.py --check    # fail when a page is not current

All of it is what `--help` says; the Chinese is in tools/chinese.toml. What is between
`<!-- commands: begin -->` and `<!-- commands: end -->` in the pages is replaced.
"""

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import chinese
import click

from tongwen.cli.main import cli

DOCS = Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- commands: begin -->", "<!-- commands: end -->"
HEADS = {
    "en": ("option", "value", "default", "meaning"),
    "zh": ("选项", "取值", "默认值", "含义"),
}
REQUIRED = {"en": "required", "zh": "必填"}
MANY = {"en": "may be repeated", "zh": "可重复"}
_EXAMPLES = re.compile(r"Examples?:\n")


def page(language: str) -> Path:
    return DOCS / language / "commands.md"


def written(language: str) -> str:
    """The page with the current commands."""
    parts = "\n\n".join(section(path, command, language) for path, command in every())
    text = page(language).read_text(encoding="utf-8")
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{parts}\n{END}", text)


def every() -> Iterator[tuple[str, click.Command]]:
    """Each command by its whole name, a group before its own."""
    yield from _below("tongwen", cli)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from _below(f"{path} {name}", inner)


def section(path: str, command: click.Command, language: str) -> str:
    """Heading, usage, text, examples and options of one command."""
    usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=path)))
    parts = [f"## {path}", f"`{path} {usage}`"]
    for paragraph in paragraphs(command):
        if _EXAMPLES.match(paragraph):
            examples = textwrap.dedent(paragraph.partition("\n")[2])
            parts.append(f"```console\n{examples.rstrip()}\n```")
        else:
            said = said_in(paragraph, language)
            parts.append(f"```text\n{said}\n```" if "\n" in said else said)
    options = [item for item in command.params if isinstance(item, click.Option) and item.help]
    if options:
        lines = [chinese.table_row(HEADS[language]), chinese.table_row(("---",) * 4, space="")]
        parts.append("\n".join([*lines, *(option_row(option, language) for option in options)]))
    return "\n\n".join(parts)


def paragraphs(command: click.Command) -> list[str]:
    r"""The help's paragraphs: text on one line, what follows `\b` as it is."""
    found = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            found.append(paragraph.removeprefix("\b\n"))
        elif paragraph.strip():
            found.append(" ".join(paragraph.split()))
    return found


def option_row(option: click.Option, language: str) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.required:
        default = REQUIRED[language]
    elif isinstance(option.show_default, str):
        default = said_in(option.show_default, language)
    else:
        default = default_of(option)
    meaning = said_in(str(option.help), language)
    if option.multiple and MANY["en"] not in meaning and "可重复" not in meaning:
        meaning += f" ({MANY['en']})" if language == "en" else f"（{MANY['zh']}）"
    return chinese.table_row((names, value_of(option), default, meaning))


def value_of(option: click.Option) -> str:
    if option.is_flag:
        return ""
    kind = option.type
    if isinstance(kind, click.Choice):
        return ", ".join(f"`{choice}`" for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        low = "" if kind.min is None else f"{kind.min:g} ≤ "
        high = "" if kind.max is None else f" ≤ {kind.max:g}"
        return f"{low}{'N' if isinstance(kind, click.IntRange) else 'X'}{high}"
    return f"`{option.metavar or kind.name.upper()}`"


def default_of(option: click.Option) -> str:
    value = option.default
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    is_shown = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    return f"`{value}`" if is_shown else ""


def said_in(text: str, language: str) -> str:
    return text if language == "en" else chinese.table("commands").get(text, text)


def texts() -> list[str]:
    """Every English text of the pages, in order."""
    found: dict[str, None] = {}
    for _, command in every():
        found |= {text: None for text in paragraphs(command) if not _EXAMPLES.match(text)}
        for option in command.params:
            if isinstance(option, click.Option) and option.help:
                found[option.help] = None
                if isinstance(option.show_default, str):
                    found[option.show_default] = None
    return list(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when not current")
    arguments = parser.parse_args()
    missing = chinese.differences("commands", texts())
    print("\n".join(missing), end="\n" if missing else "", file=sys.stderr)
    stale = [name for name in HEADS if written(name) != page(name).read_text(encoding="utf-8")]
    for name in stale:
        if arguments.check:
            print(
                f"{page(name)} is not current: python tools/command_reference.py", file=sys.stderr
            )
        else:
            page(name).write_text(written(name), encoding="utf-8")
    return 1 if missing or (stale and arguments.check) else 0


if __name__ == "__main__":
    sys.exit(main())
