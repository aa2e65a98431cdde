"""Where the values of a recipe were written: file and line, base or `--set`, for messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.recipe.lines import line_of


@dataclass(frozen=True)
class Source:
    """One TOML text.

    Attributes:
        name: of the file or preset.
        folder: relative paths are completed with it; None leaves them as they are.
        lines: `table.key` -> line number.
        values: what was read.
    """

    name: str
    folder: Path | None
    lines: Mapping[str, int]
    values: dict[str, Any]

    def place(self, key: str) -> str:
        line = line_of(key, self.lines)
        return f"{self.name}, line {line}" if line else self.name

    def depth(self, key: str) -> int:
        """How many parts of the dotted `key` this text writes."""
        at: Any = self.values
        for depth, part in enumerate(key.split(".")):
            if isinstance(at, Mapping) and part in at:
                at = at[part]
            elif isinstance(at, list) and part.isdecimal() and int(part) < len(at):
                at = at[int(part)]
            else:
                return depth
        return key.count(".") + 1


@dataclass
class Origin:
    """Where each value comes from.

    Attributes:
        sources: TOML texts, each laid over the ones after it.
        overrides: key -> its text on the command line, which goes over all of them.
        shared: key -> key of the shared section that it was taken from, as
            `pretrain.decay` -> `train.decay`.
    """

    sources: tuple[Source, ...]
    overrides: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    def written_key(self, key: str) -> str:
        """The key under which the value of `key` was written."""
        for prefix in _prefixes(key):
            if prefix in self.shared:
                return self.shared[prefix] + key[len(prefix) :]
        return key

    def is_overridden(self, key: str) -> bool:
        return any(prefix in self.overrides for prefix in _prefixes(self.written_key(key)))

    def override_text(self, key: str) -> str | None:
        """What the command line says for exactly this key."""
        return self.overrides.get(self.written_key(key))

    def folder(self, key: str) -> Path | None:
        """The folder that a relative path, the value of `key`, is relative to; None for ours."""
        return None if self.is_overridden(key) else self._source(self.written_key(key)).folder

    def place(self, key: str) -> str:
        """Where the value of `key` was written, or the nearest table around it."""
        written = self.written_key(key)
        if self.is_overridden(key):
            return f"--set {written}"
        place = self._source(written).place(written)
        return place if written == key else f"{place}, in [{written.partition('.')[0]}]"

    def _source(self, key: str) -> Source:
        return max(self.sources, key=lambda source: source.depth(key))  # of equals the first


def _prefixes(key: str) -> list[str]:
    """`a.b.c`, `a.b`, `a`."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
