"""The data files that come with the package: names, wordings, prose."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any, Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@cache
def packaged(name: str) -> dict[str, Any]:
    """The tables of `data/NAME.toml`."""
    file = resources.files("tongwen.sample") / "data" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))
