"""What a module's code is and depends on: digests of syntax trees, comments and docstrings aside.

Two things rest on it: results that know which code made them (`tongwen.flow`), and compiled kernels
that are stale as soon as anything they were made from has changed (`tongwen.kernels`).
"""

import ast
import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tongwen.files import cache_folder, read_json, value_digest, write_json

_PACKAGE = "tongwen"
_KNOWN = "sources-2.json"
"""Raise the number when `tree_digest` changes."""


@dataclass(frozen=True)
class _Source:
    """A module's digest, and the modules of this package that it names in its imports."""

    digest: str
    imports: tuple[str, ...]


def source_digest(modules: Iterable[str], without: Collection[str] = ()) -> str:
    """Digest of the code of some modules and of all modules of this package that they import.

    Names of modules are part of it only through the imports that name them. Imports inside
    functions count like those at the top.

    Args:
        modules: full names; they may lie outside of this package.
        without: modules, or packages with all that is in them, that are passed over.
    """
    return value_digest([source.digest for source in _closure(modules, without).values()])


def closure(modules: Iterable[str], without: Collection[str] = ()) -> tuple[str, ...]:
    """The modules that `source_digest` looks at, in alphabetical order."""
    return tuple(_closure(modules, without))


def _closure(modules: Iterable[str], without: Collection[str]) -> dict[str, "_Source"]:
    found: dict[str, _Source] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in found or _is_among(name, without):
            continue
        source = _source(name)
        if source is not None:
            found[name] = source
            waiting += source.imports
    _save_known()
    return dict(sorted(found.items()))


def _is_among(name: str, packages: Collection[str]) -> bool:
    return any(name == item or name.startswith(item + ".") for item in packages)


@cache
def _source(name: str) -> _Source | None:
    path = _file(name)
    if path is None:
        return None
    content = path.read_bytes()
    key = hashlib.sha256(content).hexdigest()[:32]
    known = _known()
    if key not in known:
        tree = ast.parse(content)
        known[key] = {"digest": tree_digest(tree), "imports": sorted(_imports(tree))}
        known["is_changed"] = True
    return _Source(known[key]["digest"], tuple(known[key]["imports"]))


def _file(name: str) -> Path | None:
    """The Python file of a module; None for a package without one, and for names that are none."""
    if name.startswith(f"{_PACKAGE}."):
        base = Path(__file__).parent.joinpath(*name.split(".")[1:])
        candidates = (base.with_suffix(".py"), base / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    origin = getattr(module, "__file__", None) or (spec.origin if spec is not None else None)
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _imports(tree: ast.Module) -> Iterator[str]:
    """Names of this package that may be modules, in all imports of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.startswith(f"{_PACKAGE}."))


def tree_digest(tree: ast.Module) -> str:
    """Digest of a syntax tree without docstrings, the same under every version of Python.

    `ast.dump` will not do: each version has fields of its own (3.12 `type_params`), and some leave
    empty ones out.
    """
    words: list[str] = []
    _write(tree, words)
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:32]


def _write(node: object, words: list[str]) -> None:
    """Append a node, depth first, as words."""
    if isinstance(node, list):
        words.append("[")
        for item in node:
            if not _is_documentation(item):
                _write(item, words)
        words.append("]")
    elif isinstance(node, ast.AST):
        words.append(type(node).__name__)
        for name, value in ast.iter_fields(node):
            if value is not None and value != [] and name != "kind":
                words.append(name)
                _write(value, words)
        words.append(")")
    else:
        words.append(repr(node))


def _is_documentation(node: object) -> bool:
    """Whether a statement is only a text: a docstring, or what a field means."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _known() -> dict[str, Any]:
    """What earlier processes have found, by digest of a file: parsing all takes half a second."""
    folder = cache_folder()
    try:
        return dict(read_json(folder / _KNOWN)) if folder is not None else {}
    except (OSError, ValueError):
        return {}


def _save_known() -> None:
    if _known().pop("is_changed", False) and (folder := cache_folder()) is not None:
        with contextlib.suppress(OSError):
            write_json(folder / _KNOWN, _known())
