"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def stage_options(function: Function) -> Function:
    """Add `--out`, `--recipe` and `--set`, the options every stage command has."""
    options = (
        click.option("--out", "out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Folder of the results; the same command again continues."),
        click.option("--recipe", metavar="RECIPE", help="Preset or TOML file with the settings."),
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True,
                     help="Override a key of the recipe."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function
