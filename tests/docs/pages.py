"""The pages of a checkout, and the commands, tables and headings in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(\s*)```(\S*)\s*$")
_SPAN = re.compile(r"`([^`\n]+)`")
_PROGRAMS = ("tongwen", "torchrun", "python", "pip", "make", "uv", "pipx", "docker")


def pages() -> list[Path]:
    """Every Markdown page: README, docs and what lies at the root."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: relative to the checkout.
        line: of its fence, from 1.
        kind: word after the fence; `sh` runs as a test, `console` is only read.
    """

    page: str
    line: int
    kind: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line of a shell, in words; `place` is its page and line."""

    place: str
    words: tuple[str, ...]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, without their indentation."""
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    name = page.relative_to(ROOT).as_posix()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            lines.append(line.removeprefix(opened[1]) if opened else line)
        elif opened is None:
            opened, lines = (number, fence[1], fence[2]), []
        else:
            yield Block(name, opened[0], opened[2], "\n".join(lines) + "\n")
            opened = None
    assert opened is None, f"{name}:{opened}: a fence is not closed"


def block_commands(block: Block) -> Iterator[Command]:
    """Each command of a block, parts of a pipe apart, without redirections."""
    if block.kind not in ("", "sh", "console"):
        return
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        plain = line.removeprefix("$ ")
        if plain.split(" ")[0] in (*_PROGRAMS, "echo"):
            yield from _commands(f"{block.page}:{block.line}", plain)


def span_commands(page: Path) -> Iterator[Command]:
    """Each `tongwen ...` within a paragraph, outside of blocks."""
    text = re.sub(r"^\s*```.*?^\s*```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for span in _SPAN.findall(text):
        if span.startswith("tongwen "):
            yield from _commands(page.relative_to(ROOT).as_posix(), span.replace("\\|", "/"))


def _commands(place: str, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "|"]:
        if set(word) <= set("|<>;&"):
            if words and words[0] in _PROGRAMS:
                yield Command(place, tuple(words))
            words = []
        else:
            words.append(word)


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^\s*```.*?^\s*```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: dict[str, int] = {}
    anchors = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for title in re.findall(r"^#{1,6} (.+?)\s*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        again = found.get(slug, -1) + 1
        found[slug] = again
        anchors.add(f"{slug}-{again}" if again else slug)
    return anchors
