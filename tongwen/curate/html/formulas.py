"""Formulas of a page as TeX between dollar signs, before its tags are read.

Pages hold TeX in scripts for MathJax (`<script type="math/tex">`), in annotations of MathML that
KaTeX and others write, in MathML's `alttext`, as Wikipedia does, or in the `alt` of a picture of
the formula. MathML that has none of these is written as TeX.
"""

import re
from collections.abc import Callable
from html import escape

from tongwen.curate.html.marks import FORMULAS
from tongwen.curate.html.mathml import tex_of_mathml

_MARKERS = tuple(mark.decode() for mark in FORMULAS)
_MOST_CHARACTERS = 20_000
"""Of one formula with its markup; a longer one is none. Searches end there, so that a page of
beginnings without ends takes linear time."""

_SCRIPT = re.compile(r"<script\b[^>]{0,300}\bmath/tex([^>]{0,100})>", re.IGNORECASE)
_MATH = re.compile(r"<math\b", re.IGNORECASE)
_ANNOTATION = re.compile(
    r"<annotation\b[^>]{0,200}application/x-tex[^>]{0,200}>([^<]+)</annotation", re.IGNORECASE
)
_ALTERNATIVE = re.compile(r"\balttext\s*=\s*(?:\"([^\"]+)\"|'([^']+)')", re.IGNORECASE)
_DISPLAY = re.compile(r"\bdisplay\s*=\s*[\"']?block", re.IGNORECASE)
_PICTURE = re.compile(
    r"<img\b(?=[^<>]{0,600}\b(?:class\s*=\s*[\"'][^\"'>]{0,100}(?:\b(?:latex|tex|math|formula|equation)\b"
    r"|math-fallback)|src\s*=\s*[\"'][^\"'>]{0,200}(?:latex\.(?:php|codecogs)|equation\?tex=|"
    r"/svg\.latex|/(?:gif|png)\.latex|mathtex\.cgi|mimetex)))[^>]{0,3000}>",
    re.IGNORECASE,
)
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]+)\"|'([^']+)')", re.IGNORECASE)
_DELIMITED = re.compile(r"^(?:\$\$?|\\\(|\\\[)\s*(.*?)\s*(?:\$\$?|\\\)|\\\])$", re.DOTALL)
_STYLE = re.compile(r"^\{\\(?:displaystyle|textstyle)\s?(.*)\}$", re.DOTALL)


def formulas_as_text(page: str) -> str:
    """The HTML of a page with its formulas as text; the same string when it has none.

    `$...$` is part of a line, `$$...$$` is a formula on its own.
    """
    if not any(marker in page for marker in _MARKERS):
        return page
    page = _replaced(page, _SCRIPT, "</script", _of_script)
    has_mathml = "<math" in page
    page = _replaced(page, _MATH, "</math", _of_mathml)
    return _PICTURE.sub(lambda found: _of_picture(found[0], has_mathml), page)


def _of_picture(image: str, has_mathml: bool) -> str:
    """The alternative text of a picture of a formula; Wikipedia's is a copy of its MathML."""
    if has_mathml and "math-fallback" in image:
        return ""
    found = _ALT.search(image)
    tex = (found[1] or found[2]).strip() if found else ""
    delimited = _DELIMITED.match(tex)
    return _dollars(_without_style(delimited[1] if delimited else tex), "display" in image) or image


def _replaced(
    page: str, start: re.Pattern[str], end: str, read: Callable[[re.Match[str], str], str]
) -> str:
    """Elements replaced by what `read` makes of their start and their inside; "" leaves them."""
    parts: list[str] = []
    copied = checked = 0
    for found in start.finditer(page):
        if found.start() < checked:
            continue  # inside the one before
        last = page.find(end, found.end(), found.end() + _MOST_CHARACTERS)
        close = page.find(">", last, last + 20) if last >= 0 else -1
        if close < 0:
            continue
        checked = close + 1
        formula = read(found, page[found.end() : last])
        if formula:
            parts += [page[copied : found.start()], formula]
            copied = checked
    return "".join([*parts, page[copied:]])


def _of_script(found: re.Match[str], inside: str) -> str:
    return _dollars(escape(inside.strip(), quote=False), "display" in found[1].lower())


def _of_mathml(found: re.Match[str], inside: str) -> str:
    attributes, _, content = inside.partition(">")  # `found` is the bare name
    return _dollars(_tex_of(attributes, content), _DISPLAY.search(attributes) is not None)


def _tex_of(attributes: str, inside: str) -> str:
    """TeX, its entities as they stand in the page."""
    found = _ANNOTATION.search(inside)
    if found:
        return found[1].strip()
    alternative = _ALTERNATIVE.search(attributes)
    if alternative is None:
        return escape(tex_of_mathml(inside), quote=False)
    return _without_style((alternative[1] or alternative[2]).strip())


def _without_style(tex: str) -> str:
    style = _STYLE.match(tex)
    return style[1].strip() if style else tex


def _dollars(tex: str, is_display: bool) -> str:
    sign = "$$" if is_display else "$"
    return f" {sign}{tex}{sign} " if tex else ""
