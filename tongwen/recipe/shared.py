"""A section with the keys that several others share: written once, overridden key by key."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import tomli_w

from tongwen.errors import RecipeError
from tongwen.recipe.loader import Reader, Tables, hints_of, table_kind, tables_of
from tongwen.recipe.origin import Origin


@dataclasses.dataclass(frozen=True)
class SharedSection:
    """The section `name`, whose values hold in the sections `kinds` that write none themselves.

    A key is shared when at least two of the sections have it. Where only two of three do, as
    with a setting that makes no sense for the third, it does not reach the third.

    Attributes:
        name: of the shared section.
        kinds: section -> its settings dataclass.
    """

    name: str
    kinds: Mapping[str, type]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Shared key -> its type, in the order of the first section that has it."""
        homes = self.homes
        hints: dict[str, Any] = {}
        for kind in self.kinds.values():
            known = hints_of(kind)
            hints = {**{key: hint for key, hint in known.items() if len(homes[key]) > 1}, **hints}
        return hints

    @cached_property
    def homes(self) -> dict[str, list[str]]:
        """Key -> the sections that have it."""
        homes: dict[str, list[str]] = {}
        for section, kind in self.kinds.items():
            for field in dataclasses.fields(kind):
                homes.setdefault(field.name, []).append(section)
        return homes

    @cached_property
    def tables(self) -> dict[str, Tables]:
        """As `tables_of`, of the shared section."""
        return {
            key: tables_of(kind)
            for key, hint in self.hints.items()
            if (kind := table_kind(hint)) is not None
        }

    def override(self, below: dict[str, Any], above: Mapping[str, Any]) -> None:
        """Take from the sections of `below` what the shared section of `above` says anew.

        So the recipe that is laid over another has the last word also where it speaks for all
        three sections and the other for one.
        """
        said = above.get(self.name)
        for section in self.kinds:
            table = below.get(section)
            if isinstance(said, dict) and isinstance(table, dict):
                _forget(table, said, self.tables)

    def spread(self, values: dict[str, Any], origin: Origin) -> None:
        """Move the values of the shared section into the sections that it holds for.

        Raises:
            RecipeError: it has a key that is not shared, or a value of the wrong type.
        """
        for section, kind in self.kinds.items():
            if isinstance(values.get(section), dict):
                self._drop_absent(values[section], kind)
        said = values.pop(self.name, None)
        if said is None:
            return
        self._check(said, origin)
        for section, kind in self.kinds.items():
            table = values.get(section)
            if isinstance(table, dict):
                names = {field.name for field in dataclasses.fields(kind)}
                own = {key: value for key, value in said.items() if key in names}
                _fill(table, own, self.tables, (section, self.name), origin)

    def gather(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The reverse of `spread`: what two sections or more have alike is written once.

        Args:
            values: of a whole recipe, every section complete.

        Returns:
            The same recipe with the shared section before the first of its sections.
        """
        sections = {
            section: dict(values[section])
            for section in self.kinds
            if isinstance(values.get(section), dict)
        }
        shared: dict[str, Any] = {}
        for key in self.hints:
            written = {name: table[key] for name, table in sections.items() if key in table}
            homes = [name for name in self.homes[key] if name in sections]
            if len(written) < len(homes) or not written:
                continue  # an absent value that TOML cannot write
            texts = {name: tomli_w.dumps({key: value}) for name, value in written.items()}
            (text, count), *_ = Counter(texts.values()).most_common(1)
            if count < 2:
                continue
            shared[key] = next(value for name, value in written.items() if texts[name] == text)
            for name in written:
                _forget_same(sections[name], key, shared[key], self.tables)
        result: dict[str, Any] = {}
        for key, value in values.items():
            if key in sections and shared and self.name not in result:
                result[self.name] = shared
            result[key] = sections.get(key, value)
        return result

    def _drop_absent(self, table: dict[str, Any], kind: type) -> None:
        """Pass over "there is none" of a shared key that this section does not have.

        Runs of version 0.1 wrote their recipe with every key in every section.
        """
        names = {field.name for field in dataclasses.fields(kind)}
        for key in [key for key in table if key in self.hints and key not in names]:
            if table[key] is False or table[key] == []:
                del table[key]

    def _check(self, said: Any, origin: Origin) -> None:
        """See that the shared section is well formed, also where no section takes its values."""
        reader = Reader(origin)
        if not isinstance(said, dict):
            raise RecipeError(
                f"`{self.name}` must be a table, got {said!r} ({origin.place(self.name)})"
            )
        for key, value in said.items():
            name = f"{self.name}.{key}"
            if key in self.hints:
                reader.value(self.hints[key], value, name)
            elif key in self.homes:
                home = self.homes[key][0]
                raise RecipeError(
                    f"`{key}` is a key of [{home}] alone, not of [{self.name}] "
                    f"({origin.place(name)})",
                    hint=f"move it to [{home}]",
                )
            else:
                raise reader.unknown(name, self.hints)


def _forget(table: dict[str, Any], said: Mapping[str, Any], tables: Tables) -> None:
    for key, value in said.items():
        if key in tables and isinstance(value, dict) and isinstance(table.get(key), dict):
            _forget(table[key], value, tables[key])
        else:
            table.pop(key, None)


def _fill(
    table: dict[str, Any],
    said: Mapping[str, Any],
    tables: Tables,
    names: tuple[str, str],
    origin: Origin,
) -> None:
    """Give `table` the values that it does not write; `names` are its own and the other's."""
    own, shared = names
    for key, value in said.items():
        if key not in table:
            table[key] = copy.deepcopy(value)
            origin.shared[f"{own}.{key}"] = f"{shared}.{key}"
        elif key in tables and isinstance(value, dict) and isinstance(table[key], dict):
            inner = (f"{own}.{key}", f"{shared}.{key}")
            _fill(table[key], value, tables[key], inner, origin)


def _forget_same(table: dict[str, Any], key: str, shared: Any, tables: Tables) -> None:
    """Drop `key` where it is what the shared section says, and inside tables likewise."""
    value = table[key]
    if tomli_w.dumps({key: value}) == tomli_w.dumps({key: shared}):
        del table[key]
    elif key in tables and isinstance(value, dict) and isinstance(shared, dict):
        table[key] = dict(value)
        for inner in shared:
            if inner in table[key]:
                _forget_same(table[key], inner, shared[inner], tables[key])
