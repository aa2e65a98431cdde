"""Strict TOML into any dataclass: an unknown key, a wrong type or an impossible value is an error.

It knows no stage; the recipe of the whole road is `tongwen.road.recipe`.
"""

import dataclasses
import difflib
import functools
import math
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tongwen.errors import RecipeError
from tongwen.recipe.lines import key_lines
from tongwen.recipe.origin import Origin, Source
from tongwen.recipe.syntax import number_hint, syntax_error
from tongwen.recipe.text import read_recipe_text
from tongwen.settings import RELATIVE_TO_RECIPE

Table = TypeVar("Table")

Tables = Mapping[str, "Tables"]
"""Which keys of a settings dataclass are tables of settings themselves, and the same of those."""

_EXACT = 2**53
"""Beyond it a floating point number no longer says which whole number was meant."""


def parse_toml(text: str, name: str, folder: Path | None = None) -> Source:
    """The values of a TOML text, and where they were written.

    Raises:
        RecipeError: not TOML; the message has the line and, where it can be guessed, the fix.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise syntax_error(text, name, error) from error
    return Source(name, folder, key_lines(text), values)


def read_toml(path: Path) -> Source:
    """The values of a TOML file; relative paths in it are relative to its folder.

    Raises:
        RecipeError: it cannot be read, is not UTF-8, or is not TOML.
    """
    return parse_toml(read_recipe_text(path), str(path), path.resolve().parent)


def load_table(kind: type[Table], text: str, name: str, folder: Path | None = None) -> Table:
    """A settings dataclass from the text of a TOML file of its own; `name` says where it is from.

    Relative paths in it are completed with `folder`, if there is one.

    Raises:
        RecipeError: as in `from_toml`.
    """
    source = parse_toml(text, name, folder)
    return from_toml(kind, source.values, Origin((source,)))


def load_section(kind: type[Table], path: Path, section: str) -> Table:
    """One section of a TOML file; the others are not looked at. Without the section, the defaults.

    Raises:
        RecipeError: the file cannot be read, or as in `from_toml`.
    """
    source = read_toml(path)
    table = Reader(Origin((source,))).table(kind, source.values.get(section, {}), section)
    assert isinstance(table, kind)
    return table


def from_toml(
    kind: type[Table],
    values: Mapping[str, Any],
    origin: Origin,
    homes: Mapping[str, Sequence[str]] = {},
    also: Sequence[str] = (),
) -> Table:
    """A dataclass from the values of a TOML text.

    Args:
        kind: a dataclass of settings.
        values: the text's values.
        origin: where they were written.
        homes: key -> names of the tables that have it, for a key in the wrong one.
        also: keys of the text that were dealt with before, for a misspelt one.

    Raises:
        RecipeError: unknown key, wrong type or impossible value; the message names the key, its
            line and the nearest valid name.
    """
    table = Reader(origin, homes, also).table(kind, dict(values), "")
    assert isinstance(table, kind)
    return table


def to_toml(value: Any) -> Any:
    """A dataclass as TOML values, every one written out; `false` stands for an absent one."""
    if isinstance(value, tuple):
        return [to_toml(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_toml(item) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    table: dict[str, Any] = {}
    kind: type = type(value)
    for key, hint in hints_of(kind).items():
        item = getattr(value, key)
        if item is not None:
            table[key] = to_toml(item)
        elif bool not in get_args(hint):  # there `false` is a value of its own
            table[key] = False
    return table


def tables_of(kind: type) -> dict[str, Tables]:
    """The keys of a dataclass that are settings dataclasses themselves."""
    hints = hints_of(kind)
    found = {field.name: table_kind(hints[field.name]) for field in dataclasses.fields(kind)}
    return {key: tables_of(inner) for key, inner in found.items() if inner is not None}


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """The annotations of a settings class, with their notes."""
    return get_type_hints(kind, include_extras=True)


def table_kind(hint: Any) -> type | None:
    """The settings dataclass that a type is, or is when it is given at all."""
    for choice in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        if isinstance(choice, type) and dataclasses.is_dataclass(choice):
            return choice
    return None


def merge(below: dict[str, Any], above: Mapping[str, Any], tables: Tables) -> None:
    """Lay `above` over `below`, key by key, and inside tables of settings likewise.

    Everything else is replaced as a whole: lists, and tables whose keys are the user's own, such
    as the shares of a mixture.
    """
    for key, value in above.items():
        if key in tables and isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value, tables[key])
        else:
            below[key] = value


_NAMES_SHOWN = 40  # of a hint: more would hide the error


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint: the nearest of the known names, or all of them where those are few."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"known keys: {', '.join(names[:_NAMES_SHOWN])}{more}"


@dataclasses.dataclass(frozen=True)
class Reader:
    """TOML values to typed settings.

    Attributes:
        origin: where the values were written.
        homes: key -> names of the tables that have it, for a key in the wrong one.
        also: keys at the top that were dealt with before.
    """

    origin: Origin
    homes: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    also: Sequence[str] = ()

    def table(self, kind: type, values: Any, prefix: str) -> Any:
        """A dataclass from a TOML table; `prefix` is the table's dotted name.

        Raises:
            RecipeError: as `from_toml`.
        """
        if not isinstance(values, dict):
            raise self._wrong_type(prefix, "a table", values)
        hints = hints_of(kind)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        arguments: dict[str, Any] = {}
        for key, value in values.items():
            name = f"{prefix}.{key}" if prefix else key
            if key not in fields:
                raise self.unknown(name, fields if prefix else [*fields, *self.also])
            arguments[key] = self.value(hints[key], value, name)
        for key, field in fields.items():
            is_required = field.default is MISSING and field.default_factory is MISSING
            if key not in arguments and is_required:
                name = f"{prefix}.{key}" if prefix else key
                is_table = dataclasses.is_dataclass(hints[key])
                raise RecipeError(
                    f"`{name}` is missing ({self.origin.place(prefix)})",
                    hint=f"add the table [{name}]" if is_table else f"add `{key} = ...`",
                )
        try:
            return kind(**arguments)
        except RecipeError as error:
            raise self._placed(error, prefix, arguments) from error

    def value(self, expected: Any, value: Any, name: str) -> Any:
        """A TOML value as the annotated type.

        Raises:
            RecipeError: it is of another type; the message says which was expected.
        """
        kind = get_origin(expected)
        if kind is Annotated:
            inner, *notes = get_args(expected)
            text = self.value(inner, value, name)
            return self._complete_path(text, name) if RELATIVE_TO_RECIPE in notes else text
        if kind in (Union, types.UnionType):
            choices = [item for item in get_args(expected) if item is not type(None)]
            if value is False and bool not in choices:
                return None
            return self.value(choices[0], value, name)
        if dataclasses.is_dataclass(expected) and isinstance(expected, type):
            return self.table(expected, value, name)
        if kind is Literal:
            return self._choice(get_args(expected), value, name)
        if kind is tuple:
            return self._tuple(get_args(expected), value, name)
        if kind is dict or kind is Mapping:
            if not isinstance(value, dict):
                raise self._wrong_type(name, "a table", value)
            item = get_args(expected)[1]
            return {key: self.value(item, entry, f"{name}.{key}") for key, entry in value.items()}
        return self._scalar(expected, value, name)

    def unknown(self, name: str, known: Iterable[str]) -> RecipeError:
        """The error for a key that its table does not have."""
        key = name.rpartition(".")[2]
        place = self.origin.place(name)
        homes = [f"[{home}]" for home in self.homes.get(key, ())]
        if not homes:
            return RecipeError(f"unknown key `{name}` ({place})", hint=nearest(key, known))
        return RecipeError(
            f"unknown key `{name}` ({place})", hint=f"`{key}` is a key of {', '.join(homes)}"
        )

    def _choice(self, options: tuple[Any, ...], value: Any, name: str) -> Any:
        if value in options:
            return value
        texts = [str(item) for item in options]
        near = difflib.get_close_matches(str(value), texts, n=1)
        raise RecipeError(
            f"`{name}` is {value!r} ({self.origin.place(name)})",
            hint=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(texts)}",
        )

    def _tuple(self, items: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self._wrong_type(name, "a list", value)
        if items[-1] is not Ellipsis and len(items) != len(value):
            raise self._wrong_type(name, f"a list of {len(items)}", value)
        kinds = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
        return tuple(
            self.value(kind, entry, f"{name}.{number}")
            for number, (kind, entry) in enumerate(zip(kinds, value, strict=True))
        )

    def _scalar(self, expected: type, value: Any, name: str) -> Any:
        if expected is str and not isinstance(value, str):
            # A shell takes quotes away: `--set run.name=2026` has a name of digits, not a number.
            value = self.origin.override_text(name) or value
        if expected is int and isinstance(value, float) and value.is_integer():
            if abs(value) > _EXACT:
                raise self._wrong_type(name, "a whole number written in digits", value)
            return int(value)
        accepted = (int, float) if expected is float else (expected,)
        is_accepted = isinstance(value, accepted) and isinstance(value, bool) is (expected is bool)
        if not is_accepted or (isinstance(value, float) and math.isnan(value)):
            words = {
                int: "a whole number", float: "a number", str: "a string", bool: "true or false"
            }  # fmt: skip
            raise self._wrong_type(name, words.get(expected, str(expected)), value)
        return float(value) if isinstance(value, int) and expected is float else value

    def _wrong_type(self, name: str, expected: str, value: Any) -> RecipeError:
        hint = None
        if isinstance(value, str) and "number" in expected:
            number = number_hint(value)
            hint = f"write {number}" if number else None
        elif isinstance(value, str) and expected == "true or false":
            hint = "write true or false, without quotes"
        elif isinstance(value, dict) and all(key.isdecimal() for key in value) and value:
            hint = f"it has no entry yet; set the whole list: --set '{name}=[...]'"
        elif isinstance(value, str) and self.origin.is_overridden(name):
            key = self.origin.written_key(name)
            if expected.startswith("a list"):
                hint = f"""with quotes for the shell around it: --set '{key}=["{value}"]'"""
            elif expected == "a table":
                hint = f"set its keys one by one: --set {key}.KEY=VALUE"
        return RecipeError(
            f"`{name}` must be {expected}, got {value!r} ({self.origin.place(name)})", hint=hint
        )

    def _placed(self, error: RecipeError, prefix: str, written: Mapping[str, Any]) -> RecipeError:
        """What a dataclass says of its values, with the keys' full names and places."""
        message = error.message
        head, rest = re.match(r"([\w.]*)(.*)", message, re.DOTALL).groups()  # type: ignore[union-attr]
        key = head.rpartition(".")[2]
        if prefix and head.startswith(f"{prefix}.") and key not in written:  # of a table below
            return RecipeError(f"{message} ({self.origin.place(head)})", hint=error.hint)
        name = f"{prefix}.{key}" if prefix else key
        if key in written and f".{name}".endswith(f".{head}"):
            message = name + rest
        elif not message.startswith(prefix):
            message = f"{prefix}: {message}"
        # One that is only a word of the sentence, as `name` or `every`, has no underscore.
        named = [
            word for word in dict.fromkeys([key, *re.findall(r"\w+_\w+", rest)]) if word in written
        ]
        places = {word: self.origin.place(f"{prefix}.{word}" if prefix else word) for word in named}
        if len(set(places.values())) > 1:
            shown = "; ".join(f"{word}: {place}" for word, place in places.items())
        else:
            shown = next(iter(places.values()), self.origin.place(prefix))
        return RecipeError(f"{message} ({shown})", hint=error.hint)

    def _complete_path(self, text: Any, name: str) -> Any:
        folder = self.origin.folder(name)
        is_complete = not isinstance(text, str) or text.startswith("{") or Path(text).is_absolute()
        return text if is_complete or folder is None else str(folder / text)
