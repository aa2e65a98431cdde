"""Rubrics: what a document is graded by, and the grade in an answer.

Grades from 0 to 5 by added criteria are those of FineWeb-Edu (Penedo et al. 2024, arXiv
2406.17557, section 4), there for English; the words here are ours, in both languages.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tongwen.errors import InputError, UsageError

LANGUAGES = ("en", "zh")
SHIPPED = ("educational", "quality")
GRADES = range(6)
_PLACE = "{text}"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TAKEN = ("text", "lang", "host", "name", "graded_characters", "unreadable")
_GRADE_LINE = re.compile(
    r"\**\s*(?:grade|score|评分|評分|得分|分数|分數)\s*\**\s*[:：]\s*\**\s*([0-5０-５])\s*(?:/\s*5|分)?\s*\**\s*[.。]?\s*\**",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rubric:
    """A question about a document.

    Attributes:
        name: of the field that its grades go into.
        wording: the question by language, with `{text}` where the document goes.
    """

    name: str
    wording: Mapping[str, str]

    def question(self, text: str, language: str) -> str:
        """The question about one text."""
        return self.wording[language].replace(_PLACE, text).strip()


def read_rubrics(names: Sequence[str]) -> list[Rubric]:
    """Rubrics by name, or all those of a TOML file.

    Raises:
        UsageError: there is no such rubric, or two have one name.
        InputError: a file is not a file of rubrics.
    """
    found = [rubric for name in names for rubric in _read(name)]
    for rubric in found:
        if [item.name for item in found].count(rubric.name) > 1:
            raise UsageError(f"two rubrics have the name {rubric.name!r}", hint="rename one")
    return found


def _read(name: str) -> list[Rubric]:
    if name in SHIPPED:
        text = (files("tongwen.curate.labels") / "rubrics.toml").read_text(encoding="utf-8")
        return [_rubric(name, tomllib.loads(text)[name], "the shipped rubrics")]
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f"there is no rubric and no file {name!r}",
            hint=f"shipped are {' and '.join(SHIPPED)}; a TOML file may hold your own",
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the rubrics {path}: {error}") from error
    if not table:
        raise InputError(f"{path} holds no rubric", hint='[NAME] with en = "..." and zh = "..."')
    return [_rubric(key, value, str(path)) for key, value in table.items()]


def _rubric(name: str, value: Any, where: str) -> Rubric:
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise InputError(
            f"{where} has a rubric {name!r}",
            hint=f"use small letters, digits and _, and none of {', '.join(_TAKEN)}",
        )
    if not isinstance(value, dict) or not value or set(value) - set(LANGUAGES):
        raise InputError(
            f"the rubric {name!r} of {where} is not a table of languages",
            hint='[NAME] with en = "..." and zh = "..."; one language alone grades only its texts',
        )
    for language, wording in value.items():
        if not isinstance(wording, str) or wording.count(_PLACE) != 1:
            raise InputError(
                f"{name}.{language} of {where} must have {_PLACE} once",
                hint="it is where the document goes",
            )
    return Rubric(name, value)


def grade_of(answer: str) -> int | None:
    """The grade that an answer ends with, None when its last line is not one.

    Markdown's asterisks, full-width digits, `/5` and a full stop are allowed; anything else is not
    guessed at.
    """
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    match = _GRADE_LINE.fullmatch(lines[-1]) if lines else None
    return int(match[1]) if match else None
