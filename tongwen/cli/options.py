"""Options that several commands have."""

from collections.abc import Callable
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tongwen.errors import UsageError
from tongwen.stages import STAGES

Function = TypeVar("Function", bound=Callable[..., Any])


def complete_recipe(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Presets that begin so, then files."""
    folder = resources.files("tongwen.road") / "presets"
    names = sorted(item.name.removesuffix(".toml") for item in folder.iterdir())
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type="file")]


def complete_stage(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Stages that begin so."""
    return [CompletionItem(name) for name in STAGES if name.startswith(incomplete)]


def stage_options(function: Function) -> Function:
    """Add `--out`, `--recipe` and `--set`, the options every stage command has."""
    options = (
        click.option("--out", "out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Folder of the results; the same command again continues."),
        click.option("--recipe", metavar="RECIPE", help="Preset or TOML file with the settings.",
                     shell_complete=complete_recipe),
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True,
                     help="Override a key of the recipe."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


class RunByDefault(click.Group):
    """`tongwen curate FOLDER` is `tongwen curate run FOLDER`: a stage needs no second word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            near = get_close_matches(args[0], self.commands, n=1)
            if near and not Path(args[0]).exists():
                raise UsageError(
                    f"there is no folder and no command `{args[0]}`",
                    hint=f"did you mean `{ctx.command_path} {near[0]}`?",
                )
            args = ["run", *args]
        return super().parse_args(ctx, args)
