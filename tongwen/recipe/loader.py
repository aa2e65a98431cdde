"""Strict TOML into any dataclass: an unknown key, a wrong type or an impossible value is an error.

It knows no stage; the recipe of the whole road is `tongwen.road.recipe`.
"""

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tongwen.errors import RecipeError
from tongwen.recipe.lines import key_lines, line_of
from tongwen.settings import RELATIVE_TO_RECIPE

Table = TypeVar("Table")


@dataclasses.dataclass
class Origin:
    """Where the values of a TOML text come from, for messages.

    Attributes:
        name: of the file or preset.
        folder: relative paths are completed with it; None leaves them as they are.
        lines: `table.key` -> line number.
        overridden: keys that were given on the command line.
    """

    name: str
    folder: Path | None
    lines: Mapping[str, int]
    overridden: set[str] = dataclasses.field(default_factory=set)

    def is_overridden(self, key: str) -> bool:
        return any(key == item or key.startswith(item + ".") for item in self.overridden)

    def place(self, key: str) -> str:
        """Where a key's value was written."""
        if self.is_overridden(key):
            return f"--set {key}"
        line = line_of(key, self.lines)
        return f"{self.name}, line {line}" if line else self.name


def parse_toml(text: str, name: str, folder: Path | None = None) -> tuple[dict[str, Any], Origin]:
    """The values of a TOML text, and where they come from.

    Raises:
        RecipeError: not TOML.
    """
    try:
        return tomllib.loads(text), Origin(name, folder, key_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{name} is not valid TOML: {error}") from error


def read_toml(path: Path) -> tuple[dict[str, Any], Origin]:
    """The values of a TOML file; relative paths in it are relative to its folder.

    Raises:
        RecipeError: it cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {path}: {error}", hint="save it as UTF-8") from error
    return parse_toml(text, str(path), path.resolve().parent)


def load_table(kind: type[Table], text: str, name: str) -> Table:
    """A settings dataclass from the text of a TOML file of its own; `name` says where it is from.

    Raises:
        RecipeError: as in `from_toml`.
    """
    values, origin = parse_toml(text, name)
    return from_toml(kind, values, origin)


def load_section(kind: type[Table], path: Path, section: str) -> Table:
    """One section of a TOML file; the others are not looked at. Without the section, the defaults.

    Raises:
        RecipeError: the file cannot be read, or as in `from_toml`.
    """
    values, origin = read_toml(path)
    table = _build(kind, values.get(section, {}), section, origin)
    assert isinstance(table, kind)
    return table


def from_toml(kind: type[Table], values: Mapping[str, Any], origin: Origin) -> Table:
    """A dataclass from the values of a TOML text.

    Raises:
        RecipeError: unknown key, wrong type or impossible value; the message names the key, its
            line and the nearest valid name.
    """
    table = _build(kind, values, "", origin)
    assert isinstance(table, kind)
    return table


def to_toml(value: Any) -> Any:
    """A dataclass as TOML values, every one written out; `false` stands for an absent one."""
    if isinstance(value, tuple):
        return [to_toml(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    table: dict[str, Any] = {}
    for key, hint in get_type_hints(type(value)).items():
        item = getattr(value, key)
        if item is not None:
            table[key] = to_toml(item)
        elif bool not in get_args(hint):  # there `false` is a value of its own
            table[key] = False
    return table


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay `above` over `below`, table by table, key by key."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = value


def apply_override(values: dict[str, Any], override: str, origin: Origin) -> None:
    """Set one key from `section.key=value`, a TOML value or a bare word.

    Raises:
        RecipeError: it has another form.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError(
            f"--set {override}: not of the form section.key=value",
            hint="for example --set pretrain.peak_learning_rate=1e-3",
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: --set run.name=mine
    set_value(values, key, value, origin)


def set_value(values: dict[str, Any], key: str, value: Any, origin: Origin) -> None:
    """Set the dotted `key`; messages then say that the command line gave it."""
    table = values
    *parents, last = key.split(".")
    for parent in parents:
        child = table.get(parent)
        if not isinstance(child, dict):
            child = table[parent] = {}
        table = child
    table[last] = value
    origin.overridden.add(key)


def _build(kind: type, values: Any, prefix: str, origin: Origin) -> Any:
    """A dataclass from a TOML table."""
    if not isinstance(values, dict):
        raise RecipeError(f"`{prefix}` must be a table, got {values!r} ({origin.place(prefix)})")
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else key
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise RecipeError(
                f"unknown key `{name}` ({origin.place(name)})",
                hint=f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(fields)}",
            )
        arguments[key] = _convert(hints[key], value, name, origin)
    for key, field in fields.items():
        if key not in arguments and field.default is MISSING and field.default_factory is MISSING:
            name = f"{prefix}.{key}" if prefix else key
            is_table = dataclasses.is_dataclass(hints[key])
            raise RecipeError(
                f"`{name}` is missing ({origin.place(prefix)})",
                hint=f"add the table [{name}]" if is_table else f"add `{key} = ...`",
            )
    try:
        return kind(**arguments)
    except RecipeError as error:
        message = (
            error.message if error.message.startswith(prefix) else f"{prefix}: {error.message}"
        )
        raise RecipeError(f"{message} ({origin.place(prefix)})", hint=error.hint) from error


def _convert(expected: Any, value: Any, name: str, origin: Origin) -> Any:
    """A TOML value as the annotated type, or an error that says what was expected."""
    kind = get_origin(expected)
    if kind is Annotated:
        inner, *notes = get_args(expected)
        text = _convert(inner, value, name, origin)
        is_path = RELATIVE_TO_RECIPE in notes and not origin.is_overridden(name)
        return _complete_path(text, origin) if is_path else text
    if kind in (Union, types.UnionType):
        choices = [item for item in get_args(expected) if item is not type(None)]
        if value is False and bool not in choices:
            return None
        return _convert(choices[0], value, name, origin)
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return _build(expected, value, name, origin)
    if kind is Literal:
        if value in get_args(expected):
            return value
        options = [str(item) for item in get_args(expected)]
        near = difflib.get_close_matches(str(value), options, n=1)
        raise RecipeError(
            f"`{name}` is {value!r} ({origin.place(name)})",
            hint=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(options)}",
        )
    if kind is tuple:
        return _convert_tuple(expected, value, name, origin)
    if kind is dict or kind is Mapping:
        if not isinstance(value, dict):
            raise _wrong_type(name, "a table", value, origin)
        item = get_args(expected)[1]
        return {key: _convert(item, entry, f"{name}.{key}", origin) for key, entry in value.items()}
    return _convert_scalar(expected, value, name, origin)


def _convert_tuple(expected: Any, value: Any, name: str, origin: Origin) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong_type(name, "a list", value, origin)
    items = get_args(expected)
    if items[-1] is not Ellipsis and len(items) != len(value):
        raise _wrong_type(name, f"a list of {len(items)}", value, origin)
    kinds = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
    return tuple(
        _convert(kind, entry, f"{name}.{number}", origin)
        for number, (kind, entry) in enumerate(zip(kinds, value, strict=True))
    )


def _convert_scalar(expected: type, value: Any, name: str, origin: Origin) -> Any:
    accepted = (int, float) if expected is float else (expected,)
    if not isinstance(value, accepted) or isinstance(value, bool) is not (expected is bool):
        words = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
        raise _wrong_type(name, words.get(expected, str(expected)), value, origin)
    return float(value) if isinstance(value, int) and expected is float else value


def _wrong_type(name: str, expected: str, value: Any, origin: Origin) -> RecipeError:
    return RecipeError(f"`{name}` must be {expected}, got {value!r} ({origin.place(name)})")


def _complete_path(text: str, origin: Origin) -> str:
    if text.startswith("{") or origin.folder is None or Path(text).is_absolute():
        return text
    return str(origin.folder / text)
