"""Documents in passages of whole paragraphs, with the headings above them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(r"(#{1,6})\s+(.+?)\s*#*")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[^\d\s][.!?])\s+")


@dataclass(frozen=True)
class Block:
    """A paragraph, list, table or piece of code, under its headings.

    Attributes:
        headings: from the title down, without `#`.
        text: of it, lines joined as they were.
        is_code: whether it is fenced.
    """

    headings: tuple[str, ...]
    text: str
    is_code: bool = False


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a text; what is between fences is one, whatever lines are in it."""
    headings: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""

    def block(*, is_code: bool = False) -> Iterator[Block]:
        if any(line.strip() for line in lines):
            joined = "\n".join(lines).strip("\n")
            yield Block(tuple(name for _, name in headings), joined, is_code)
        lines.clear()

    for line in text.splitlines():
        mark = _FENCE.match(line)
        if fence:
            lines.append(line)
            if mark and mark[1] == fence:
                fence = ""
                yield from block(is_code=True)
            continue
        if mark:
            yield from block()
            fence = mark[1]
            lines.append(line)
            continue
        heading = _HEADING.fullmatch(line.strip())
        if heading:
            yield from block()
            level = len(heading[1])
            headings = [item for item in headings if item[0] < level]
            headings.append((level, heading[2]))
        elif line.strip():
            lines.append(line)
        else:
            yield from block()
    yield from block(is_code=bool(fence))


def passages(text: str, characters: int) -> Iterator[str]:
    """A text in passages of at most `characters`, headings included, of whole blocks; a block that
    is longer is cut at the ends of sentences, or of lines, and nowhere else if it has none.
    """
    pending: list[str] = []
    length = 0
    above: tuple[str, ...] = ()
    for block in blocks(text):
        shown = [] if block.headings == above else [_headings_text(block.headings)]
        for part in _parts(block, characters):
            if pending and length + len(part) + sum(map(len, shown)) > characters:
                yield "\n\n".join(pending)
                pending, length = [], 0
                shown = [_headings_text(block.headings)] if block.headings else []
            pending += [*(item for item in shown if item), part]
            length = sum(map(len, pending))
            shown = []
        above = block.headings
    if pending:
        yield "\n\n".join(pending)


def _headings_text(headings: tuple[str, ...]) -> str:
    return "\n".join(f"{'#' * level} {name}" for level, name in enumerate(headings, start=1))


def _parts(block: Block, characters: int) -> Iterator[str]:
    if len(block.text) <= characters:
        yield block.text
        return
    separator = "\n" if block.is_code or "\n" in block.text else ""
    pieces = block.text.split("\n") if separator else sentences(block.text)
    part = ""
    for piece in pieces:
        if part and len(part) + len(piece) > characters:
            yield part
            part = ""
        joined = separator if separator else "" if part.endswith(("。", "！", "？")) else " "
        part = f"{part}{joined}{piece}" if part else piece
    if part:
        yield part


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, without the space between them."""
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]
