"""Which code a step or stage runs: a version raised by hand, checked against the sources.

`versions.json` records for each name a version and the digest of the sources it belongs to (see
`tools/step_versions.py`). While the sources are the recorded ones, the version alone is part of
the digest of a result: a refactoring that was recorded as "same bytes" repeats nothing. Sources
that differ, because somebody edited them or installed half an upgrade, are part of it too, so
edited code always runs again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tongwen.files import file_digest, read_json, value_digest
from tongwen.sources import closure, source_digest

TABLE = Path(__file__).with_name("versions.json")

CANNOT_CHANGE_BYTES = (
    "tongwen.errors",
    "tongwen.flow",  # where and when a task runs: tests hold the bytes equal for every runner
    "tongwen.kernels",  # how kernels are compiled; what they compute is in their own files
    "tongwen.progress",
    "tongwen.recipe",  # how settings are read; their values are in every digest as parameters
    "tongwen.settings",
    "tongwen.sources",
)
"""Modules that are left out of the sources of a step, so that work on them repeats nothing."""


@dataclass(frozen=True)
class Recorded:
    """One row of the table.

    Attributes:
        version: raised by hand when the output changes for the same inputs.
        source: of the code that this version belongs to.
        steps: of a stage, the steps it runs.
    """

    version: int
    source: str
    steps: tuple[str, ...] = ()


@cache
def recorded() -> Mapping[str, Recorded]:
    """The table: name of a step or stage -> what is recorded about it."""
    table: Mapping[str, Mapping[str, Any]] = read_json(TABLE)
    return {
        name: Recorded(row["version"], row["source"], tuple(row.get("steps", ())))
        for name, row in table.items()
    }


@cache
def source_of(module: str) -> str:
    """Digest of the code behind a step or stage that `module` defines, and of the data files in
    the packages of that code, such as word lists.
    """
    modules = closure([module], CANNOT_CHANGE_BYTES)
    return value_digest([source_digest(modules, CANNOT_CHANGE_BYTES), *_data_digests(modules)])


def _data_digests(modules: Iterable[str]) -> list[str]:
    package = Path(__file__).parents[1]
    names = [name.split(".") for name in modules if name.startswith("tongwen.")]
    folders = {package.joinpath(*parts[1:-1]) for parts in names if len(parts) > 2}
    paths = {path for folder in folders for path in _data_files(folder)}
    return [file_digest(path) for path in sorted(paths)]


def _data_files(folder: Path) -> Iterable[Path]:
    """Files of a package that are not Python, including those in subfolders."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__" and not (path / "__init__.py").exists():
            yield from _data_files(path)
        elif path.is_file() and path.suffix not in (".py", ".pyc") and path.name[0] != ".":
            yield path


def code_of(name: str, module: str) -> str:
    """The version of a step or stage, such as `3`; `3+1f0c9a2b7d5e` where its code was edited.

    Code that the table does not have, a user's own, is named by its sources alone.
    """
    row = recorded().get(name)
    source = source_of(module)
    if row is not None and row.source == source:
        return str(row.version)
    return f"{row.version if row is not None else ''}+{source[:12]}"


def stage_code(name: str, module: str) -> dict[str, str]:
    """The version of a stage and of every step it runs, by name."""
    row = recorded().get(name)
    steps = row.steps if row is not None else ()
    table = recorded()
    return {name: code_of(name, module), **{step: str(table[step].version) for step in steps}}


def code_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What changed between two versions of some code, each in a few words."""
    if not before:
        return ["it does not say which code made it"]
    changes = []
    for name in sorted({*before, *now}):
        old, new = before.get(name, "none"), now.get(name, "none")
        if "+" in new and old != new:
            changes.append(f"the code of {name} was edited")
        elif old != new:
            changes.append(f"the code of {name} has changed (version {old} -> {new})")
    return changes
