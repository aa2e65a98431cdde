"""Rules without Python: a task of counting a pattern or words, described by a TOML file."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from tongwen.errors import InputError, RecipeError
from tongwen.recipe.loader import load_table

_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")
_THOUSAND = 1_000


@dataclass(frozen=True, kw_only=True)
class PatternRule:
    """A value that counts where a regular expression or one of some words occurs in a text."""

    description: str = ""
    languages: tuple[str, ...] = ()
    """Documents that are measured: en, zh-Hans, zh-Hant, code; all when empty."""
    measure: Literal["matching_line_share", "matching_character_share", "matches_per_thousand"]
    """Share of the lines that match, share of the characters inside matches, or matches per 1,000
    words, where a Chinese character counts as a word. Empty lines do not count."""
    pattern: str = ""
    """Python regular expression."""
    words: tuple[str, ...] = ()
    """Instead of `pattern`: whole words, or Chinese words wherever they occur."""
    ignore_case: bool = True

    def __post_init__(self) -> None:
        if bool(self.pattern) == bool(self.words):
            raise RecipeError("a rule needs either `pattern` or `words`")
        if not all(self.words):
            raise RecipeError("`words` has an empty word", hint="remove it")
        try:
            is_empty = self._regex.match("") is not None
        except re.error as error:
            raise RecipeError(
                f"`pattern` is {self.pattern!r}, no regular expression: {error}"
            ) from error
        if is_empty:
            raise RecipeError(
                f"`pattern` {self.pattern!r} matches the empty text", hint="use + in place of *"
            )

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        flags = re.IGNORECASE if self.ignore_case else 0
        if self.pattern:
            return re.compile(self.pattern, flags | re.MULTILINE)
        # The longest first: the alternatives of an expression are tried in their order.
        words = sorted({*self.words}, key=lambda word: (-len(word), word))
        return re.compile("|".join(map(_whole_word, words)), flags)

    def value(self, text: str) -> float | None:
        """The value of a text; None for one without words."""
        return _MEASURES[self.measure](self._regex, text)


def read_pattern_rule(path: Path) -> PatternRule:
    """The rule that a TOML file describes.

    Raises:
        InputError: the file cannot be read.
        RecipeError: an unknown key, a wrong type or an impossible value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the rule {path}: {error}") from error
    return load_table(PatternRule, text, str(path))


def _whole_word(word: str) -> str:
    """Not inside a longer word; beside a Chinese character a word may begin and end."""
    escaped = re.escape(word)
    inside = rf"[^\W{_HAN}]"
    before = rf"(?<!{inside})" if re.match(inside, word) else ""
    after = rf"(?!{inside})" if re.search(rf"{inside}\Z", word) else ""
    return f"{before}{escaped}{after}"


def _matching_line_share(regex: re.Pattern[str], text: str) -> float | None:
    lines = [line for line in text.splitlines() if line.strip()]
    return sum(bool(regex.search(line)) for line in lines) / len(lines) if lines else None


def _matching_character_share(regex: re.Pattern[str], text: str) -> float | None:
    inside = sum(found.end() - found.start() for found in regex.finditer(text))
    return inside / len(text) if text.strip() else None


def _matches_per_thousand(regex: re.Pattern[str], text: str) -> float | None:
    words = sum(1 for _ in _UNIT.finditer(text))
    return _THOUSAND * sum(1 for _ in regex.finditer(text)) / words if words else None


_MEASURES: dict[str, Callable[[re.Pattern[str], str], float | None]] = {
    "matching_line_share": _matching_line_share,
    "matching_character_share": _matching_character_share,
    "matches_per_thousand": _matches_per_thousand,
}
