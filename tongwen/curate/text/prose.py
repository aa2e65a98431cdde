"""Prose: a text without code, tables and the signs of headings."""

import re

_FENCE_END = re.compile(r" *```[ \t]*")
_HEADING = re.compile(r"^#{1,6} ")
_LEAST_PROSE_CHARACTERS = 20


def prose(text: str) -> str:
    """The text without fenced code, the frames of tables and the signs of headings, which no rule
    about prose fits; the whole text when hardly anything else is left.
    """
    if "```" not in text and "|" not in text and "#" not in text:
        return text
    kept: list[str] = []
    is_code = False
    for line in text.split("\n"):
        if is_code:
            is_code = not _FENCE_END.fullmatch(line)
        elif line.lstrip(" ").startswith("```"):
            is_code = True
            kept += ("", "")
        else:
            bare = _without_frame(line) if "|" in line else line
            kept.append(_HEADING.sub("", bare) if bare.startswith("#") else bare)
    rest = "\n".join(kept)
    return rest if len(rest.strip()) >= _LEAST_PROSE_CHARACTERS else text


def _without_frame(line: str) -> str:
    """A row of a table without the bars that part its cells; a space for a row of bars alone."""
    bare = line.strip(" \t")
    if len(bare) > 1 and bare[0] == bare[-1] == "|" and not bare.strip(" \t:|-"):
        return " "
    head = tail = ""
    if bare[0] == "|":
        head, line = " ", line[line.index("|") + 1 :]
    bare = line.rstrip(" \t")
    if bare.endswith("|"):
        line, tail = bare[:-1], " "
    # Twice: neighbouring bars share the space between them.
    return head + line.replace(" | ", "   ").replace(" | ", "   ") + tail
