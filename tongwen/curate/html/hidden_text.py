"""Text that a page holds where no reader of markup looks: templates and metadata.

Scripts put it on the screen. It is looked at only when the markup itself says next to nothing.
"""

import json
import re
from html import escape
from typing import Any

_TEMPLATE = re.compile(
    r"<script\b[^>]{0,300}\btype\s*=\s*[\"']?(?:text/(?:x-)?(?:template|html|handlebars\w*|handlebars-"
    r"template|mustache|jsx?-template|ng-template|tmpl)|text/x-tmpl\S{0,20})[\"']?[^>]{0,300}>",
    re.IGNORECASE,
)
_SCRIPT_END = re.compile(r"</script\s*>", re.IGNORECASE)
_SHELL = re.compile(r"<(/?)(?:noscript|template|textarea|xmp)\b[^>]{0,300}>", re.IGNORECASE)
_DATA = re.compile(
    r"<script\b[^>]{0,300}(?:application/(?:ld\+)?json|id\s*=\s*[\"']?__NEXT_DATA__)[^>]{0,300}>",
    re.IGNORECASE,
)
_BODIES = ("articlebody", "reviewbody", "recipeinstructions", "acceptedanswer", "suggestedanswer")
_FIELDS = frozenset(
    ("content", "body", "html", "text", "contenthtml", "bodyhtml", "richtext", "markdown")
)
_MARKUP = re.compile(r"<(?:p|div|br|h\d|ul|ol|li|section|article|table)\b", re.IGNORECASE)
_LEAST_CHARACTERS = 80  # of a script's field: shorter ones are labels
_MOST_DEPTH = 60  # below Python's limit of recursion; articles are not so deep


def templates_as_markup(page: str) -> str:
    """The page with script templates and what is for readers without scripts as plain markup.

    Where a page has its text in both, the templates count. Empty when it has neither.
    """
    parts: list[str] = []
    copied = 0
    for found in _TEMPLATE.finditer(page):
        if found.start() < copied:
            continue
        end = _SCRIPT_END.search(page, found.end())
        if end is None:
            break
        parts += [page[copied : found.start()], "<div>", page[found.end() : end.start()], "</div>"]
        copied = end.end()
    if parts:
        return "".join([*parts, page[copied:]])
    opened = _SHELL.sub(lambda found: f"<{found[1]}div>", page)
    return opened if opened != page else ""


def article_of_metadata(page: str) -> str:
    """Markup of the article in JSON for search engines (schema.org) or for a script; else empty."""
    found: dict[str, None] = {}  # a text is in several places as a rule
    title = ""
    for start in _DATA.finditer(page):
        end = _SCRIPT_END.search(page, start.end())
        if end is None:
            break
        try:
            data = json.loads(page[start.end() : end.start()], strict=False)
        except (ValueError, RecursionError):
            continue
        is_script = "ld+json" not in start[0].lower()
        for name, text in _texts(data, is_script, 0):
            if name in ("headline", "question"):
                title = title or text
            else:
                found.setdefault(text)
    if not found:
        return ""
    bodies = "".join(f"<div>{_as_markup(text)}</div>" for text in found)
    return f"<html><body><article><h1>{escape(title)}</h1>{bodies}</article></body></html>"


def _texts(data: Any, is_script: bool, depth: int) -> list[tuple[str, str]]:
    """Names and texts of the fields that hold an article, in the order of the page."""
    if depth > _MOST_DEPTH:
        return []
    if isinstance(data, list):
        return [item for value in data for item in _texts(value, is_script, depth + 1)]
    if not isinstance(data, dict):
        return []
    texts: list[tuple[str, str]] = []
    kind = str(data.get("@type", "")).lower()
    for name, value in data.items():
        key = str(name).lower().replace("_", "")
        if isinstance(value, str):
            is_long = len(value) >= _LEAST_CHARACTERS
            if key == "headline":
                texts.append(("headline", value))
            elif (
                (key in _BODIES and value.strip())
                or (kind in ("answer", "howtostep", "comment") and key == "text" and value.strip())
                or (kind == "question" and key in ("name", "text") and value.strip())
                or (is_script and key in _FIELDS and is_long and _MARKUP.search(value))
            ):
                texts.append((key, value))
        else:
            texts += _texts(value, is_script, depth + 1)
    return texts


def _as_markup(text: str) -> str:
    """Markup stays; plain text gets a paragraph for each of its own."""
    if _MARKUP.search(text):
        return text
    return "".join(
        f"<p>{escape(part)}</p>" for part in re.split(r"\n\s*\n|\r\n|\n", text) if part.strip()
    )
