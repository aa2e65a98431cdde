"""`--set section.key=value`: one key of a recipe, from the command line."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongwen.errors import RecipeError


@dataclass(frozen=True)
class Override:
    """One `--set`, or what an option of a command sets.

    Attributes:
        path: the key's parts, from the section down.
        value: as TOML reads it; a bare word is a string.
        text: the value as it was typed; empty when an option set it.
    """

    path: tuple[str, ...]
    value: Any
    text: str

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def table(self) -> dict[str, Any]:
        """The override as the values of a recipe."""
        table: Any = self.value
        for part in reversed(self.path):
            table = {part: table}
        assert isinstance(table, dict)
        return table


def parse_override(text: str) -> Override:
    """One `section.key=value`.

    Raises:
        RecipeError: it has another form, or no value.
    """
    key, equals, value = text.partition("=")
    value = value.strip()
    path = _parts(key)
    if not equals or path is None:
        is_full_width = "＝" in text
        raise RecipeError(
            f"--set {text}: not of the form section.key=value",
            hint="write = instead of the full-width ＝"
            if is_full_width
            else "for example --set pretrain.peak_learning_rate=1e-3",
        )
    if not value:
        raise RecipeError(
            f"--set {text}: there is no value after the =",
            hint=f"--set {key}='\"\"' sets an empty string, --set {key}=false leaves a key or "
            "section out",
        )
    return Override(path, _value(value, text), value)


def apply_override(values: dict[str, Any], override: Override) -> None:
    """Set one key; a number in its path is an entry of a list, counted from 0.

    Raises:
        RecipeError: a list has no such entry.
    """
    at: Any = values
    for number, part in enumerate(override.path):
        if isinstance(at, list):
            place: Any = _entry(at, part, override, ".".join(override.path[:number]))
        else:
            place = part
        if number == len(override.path) - 1:
            at[place] = override.value
            return
        child = at[place] if isinstance(at, list) else at.get(place)
        if not isinstance(child, dict | list):
            child = at[place] = {}
        at = child


def _entry(entries: list[Any], part: str, override: Override, name: str) -> int:
    if part.isdecimal() and int(part) < len(entries):
        return int(part)
    known = f"the entries 0 to {len(entries) - 1}" if entries else "no entry"
    raise RecipeError(
        f"--set {override.key}: `{name}` has {known}",
        hint=f"set the whole list: --set '{name}=[...]'",
    )


def _parts(key: str) -> tuple[str, ...] | None:
    """The parts of a dotted key, or None when it is none."""
    try:
        at: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return None
    parts: list[str] = []
    while isinstance(at, Mapping):
        if len(at) != 1:
            return None
        part, at = next(iter(at.items()))
        parts.append(part)
    return tuple(parts)


def _value(value: str, shown: str) -> Any:
    # TOML wants an inline table on one line; in a shell a long one is broken into several.
    for text in (value, " ".join(value.splitlines())):
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            continue
        if list(parsed) == ["value"]:
            return parsed["value"]
    is_list = value.startswith("[")
    if is_list or (value.startswith("{") and "=" in value):
        example = '["a", "b"]' if is_list else '{key = "value"}'
        raise RecipeError(
            f"--set {shown}: not a TOML {'list' if is_list else 'table'}",
            hint="strings in it have quotes, and the whole is quoted for the shell: --set "
            f"'{shown.partition('=')[0]}={example}'",
        )
    return value  # a bare word is a string: --set run.name=mine
