"""Prose: a text without code, tables and the signs of headings; running text: without formulas,
rows of tables and lines of logs too.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE_END = re.compile(r" *```[ \t]*")
_HEADING = re.compile(r"^#{1,6} ")
_LEAST_PROSE_CHARACTERS = 20  # of less nothing can be measured; a text of code alone is taken whole

_FORMULA = re.compile(
    r"\$\$[^$]{1,2000}\$\$"
    # No second opening inside: then a text of nothing but openings is read once, not many times.
    r"|\\\[(?:[^\\]|\\(?!\[)){1,2000}?\\\]|\\\((?:[^\\]|\\(?!\()){1,1000}?\\\)"
    r"|\\begin\{([a-z]{2,12}\*?)\}(?:[^\\]|\\(?!begin\{\1)){1,4000}?\\end\{\1\}"
    # As in Pandoc's Markdown: no space inside, and prices and shell variables are none.
    r"|(?<![\w\\$])\$(?![\s$])[^$\n]{1,400}(?<![\s\\])\$(?![0-9A-Za-z$])",
    re.DOTALL,
)
_FORMULA_SIGN = re.compile(r"\$[^$]|\\[(\[b]")
_INLINE_CODE = re.compile(r"`[^`\n]{1,200}`")
_TIME = re.compile(r"\d\d:\d\d:\d\d|\n[ \t]+at [\w.$]+\(")
_LOG_LINE = re.compile(
    r"\s{0,8}\W{0,2}(?:\d{4}[-/]\d\d[-/]\d\d[T ,]{1,2}|[A-Z][a-z]{2} {1,2}\d{1,2} )?"
    r"\d\d:\d\d:\d\d\b"
    r"|\s{1,8}at [\w.$]{3,200}\("
)


class Running(NamedTuple):
    """The part of a text that rules about prose are measured on.

    Attributes:
        text: without code, formulas, rows of tables and lines of logs; with the cells of its
            tables where it is mostly a table, and whole where hardly anything else is left.
        is_little: whether it is less than half of the whole, so that how its lines end and how
            long they are tells nothing: captions of listings, names of columns.
    """

    text: str
    is_little: bool


def prose(text: str) -> str:
    """The text without fenced code, the frames of tables and the signs of headings, which no rule
    about prose fits; the whole text when hardly anything else is left.
    """
    if "```" not in text and "|" not in text and "#" not in text:
        return text
    rest = "\n".join(line for line, _ in _prose_lines(text))
    return rest if len(rest.strip()) >= _LEAST_PROSE_CHARACTERS else text


def running_text(text: str) -> Running:
    """The running text of a text that is not code itself."""
    has_logs = ":" in text and _TIME.search(text) is not None
    if "```" in text or "|" in text or "#" in text or has_logs:
        kept: list[str] = []
        rows = 0
        for line, is_row in _prose_lines(text):
            if is_row:
                rows += len(line)
            elif not (has_logs and _LOG_LINE.match(line)):
                kept.append(line)
        rest = "\n".join(kept)
        if rows > len(rest):
            return Running(_without_signs(prose(text)), is_little=True)
    else:
        rest = text
    rest = _without_signs(rest).strip("\n")
    is_enough = len(rest.strip()) >= _LEAST_PROSE_CHARACTERS
    return Running(rest if is_enough else prose(text), is_little=2 * len(rest) < len(text))


def _without_signs(text: str) -> str:
    """Without formulas and code inside sentences."""
    if "`" in text:
        text = _INLINE_CODE.sub(" ", text)
    return _FORMULA.sub(" ", text) if _FORMULA_SIGN.search(text) else text


def _prose_lines(text: str) -> Iterator[tuple[str, bool]]:
    """The lines without code, frames and heading signs, and whether each is a row of a table."""
    is_code = False
    for line in text.split("\n"):
        if is_code:
            is_code = not _FENCE_END.fullmatch(line)
        elif line.lstrip(" ").startswith("```"):
            is_code = True
            yield "", False
            yield "", False
        else:
            bare = _without_frame(line) if "|" in line else line
            yield _HEADING.sub("", bare) if bare.startswith("#") else bare, _is_row(line)


def _is_row(line: str) -> bool:
    bare = line.strip(" \t")
    return len(bare) > 1 and bare[0] == bare[-1] == "|"


def _without_frame(line: str) -> str:
    """A row of a table without the bars that part its cells; a space for a row of bars alone."""
    bare = line.strip(" \t")
    if _is_row(line) and not bare.strip(" \t:|-"):
        return " "
    head = tail = ""
    if bare[0] == "|":
        head, line = " ", line[line.index("|") + 1 :]
    bare = line.rstrip(" \t")
    if bare.endswith("|"):
        line, tail = bare[:-1], " "
    # Twice: neighbouring bars share the space between them.
    return head + line.replace(" | ", "   ").replace(" | ", "   ") + tail
