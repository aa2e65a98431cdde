"""What each key of a settings dataclass means: the string below its field in the source.

Python keeps no docstrings of fields, so they are read from the source with `ast`. They are what
`tongwen recipe --explain` and the reference page print.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tongwen.recipe.loader import hints_of, table_kind, to_toml
from tongwen.settings import RELATIVE_TO_RECIPE


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a recipe.

    Attributes:
        name: dotted, from the section down; `[]` follows the name of a list of tables.
        type: in words that the author of a recipe knows.
        default: as TOML writes it; None when the key must be given.
        meaning: what it does, with its unit; empty where the name says it all.
    """

    name: str
    type: str
    default: str | None
    meaning: str


def keys_of(kind: type, prefix: str) -> Iterator[Key]:
    """The keys of a settings dataclass and of the tables in it, in the order of the source."""
    hints = hints_of(kind)
    meanings = field_meanings(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}.{field.name}" if prefix else field.name
        hint = hints[field.name]
        inner = table_kind(_plain(hint))
        entry = None if inner else entry_kind(hint)
        table = inner or entry
        meaning = meanings.get(field.name) or (section_meaning(table) if table else "")
        yield Key(name, type_words(hint), default_text(field), meaning)
        if inner is not None:
            yield from keys_of(inner, name)
        elif entry is not None:
            yield from keys_of(entry, f"{name}[]")


@functools.cache
def field_meanings(kind: type) -> Mapping[str, str]:
    """Field -> the string below it, of a dataclass and the ones it inherits from."""
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            body = _classes(base.__module__)[base.__name__].body
            meanings |= dict(_field_strings(body))
    return meanings


def section_meaning(kind: type) -> str:
    """The first paragraph of a settings class's docstring, on one line."""
    return " ".join(inspect.getdoc(kind).split("\n\n")[0].split())  # type: ignore[union-attr]


def entry_kind(hint: Any) -> type | None:
    """The settings dataclass that a list or a free table holds, if it holds one."""
    plain = _plain(hint)
    if get_origin(plain) in (tuple, Mapping, dict):
        return next((kind for item in get_args(plain) if (kind := table_kind(item))), None)
    return None


def type_words(hint: Any) -> str:
    """A field's type as a recipe's author thinks of it."""
    plain = _plain(hint)
    kind = get_origin(plain)
    if kind is Annotated:
        return (
            "path" if RELATIVE_TO_RECIPE in get_args(plain)[1:] else type_words(get_args(plain)[0])
        )
    if kind is Literal:
        *first, last = (f'"{item}"' for item in get_args(plain))
        return f"{', '.join(first)} or {last}" if first else last
    if kind is tuple:
        items = get_args(plain)
        if items[-1] is Ellipsis:
            return f"list of {_plural(type_words(items[0]))}"
        return f"list of {len(items)} {_plural(type_words(items[0]))}"
    if kind in (Mapping, dict):
        return f"table of {_plural(type_words(get_args(plain)[1]))}"
    if table_kind(plain) is not None:
        return "table"
    return {int: "whole number", float: "number", str: "string", bool: "true or false"}[plain]


def default_text(field: Any) -> str | None:
    """The default as TOML; `false` for none, and None when the key must be given."""
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is MISSING:
        return None
    if dataclasses.is_dataclass(value):
        return "{}"  # a table that is left empty has the defaults of its keys
    return "false" if value is None else _toml(to_toml(value))


def _toml(value: Any) -> str:
    if value == {}:
        return "{}"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{int(value):_}.0" if value.is_integer() and abs(value) >= 10_000 else repr(value)
    return f'"{value}"'


def _plural(words: str) -> str:
    return words if '"' in words or words == "true or false" else f"{words}s"


def _plain(hint: Any) -> Any:
    """A type without `| None`."""
    if type(None) not in get_args(hint) or get_origin(hint) is Annotated:
        return hint
    return Union[tuple(item for item in get_args(hint) if item is not type(None))]  # noqa: UP007


@functools.cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _field_strings(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, below in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield statement.target.id, " ".join(below.value.value.split())
