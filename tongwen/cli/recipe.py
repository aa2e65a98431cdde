"""`tongwen recipe`: check a recipe and print it with all its values, or say what a key means."""

import dataclasses
import json
import textwrap
from typing import TYPE_CHECKING

import click

from tongwen.cli.options import complete_recipe
from tongwen.errors import UsageError

if TYPE_CHECKING:
    from tongwen.recipe.meanings import Key


@click.command(name="recipe")
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key.")
@click.option(
    "--explain",
    "explained",
    metavar="KEY",
    help="Print type, default and meaning of a key or of a whole section.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    recipe: str | None, overrides: tuple[str, ...], explained: str | None, as_json: bool
) -> None:
    """Check RECIPE and print all its values; without RECIPE, list the presets.

    \b
    Examples:
      tongwen recipe
      tongwen recipe sample --set train.optimizer=adamw
      tongwen recipe --explain train.decay
      tongwen recipe --explain crawl.sources
    """  # fmt: skip
    from tongwen.road.recipe import (
        load_recipe,
        preset_line,
        preset_names,
        recipe_text,
        recipe_values,
    )

    if explained is not None:
        from tongwen.road.reference import explain

        if recipe is not None:
            raise UsageError(
                "--explain says what a key means in every recipe", hint="name no RECIPE"
            )
        keys = explain(explained)
        rows = [dataclasses.asdict(key) for key in keys]
        click.echo(_json(rows) if as_json else "\n\n".join(map(_explanation, keys)))
    elif recipe is not None:
        loaded = load_recipe(recipe, overrides)
        click.echo(_json(recipe_values(loaded)) if as_json else recipe_text(loaded).rstrip("\n"))
    elif overrides:
        raise UsageError(
            "--set changes a RECIPE, and none is named", hint="tongwen recipe sample ..."
        )
    else:
        presets = {name: preset_line(name) for name in preset_names()}
        if as_json:
            click.echo(_json([{"name": name, "is": line} for name, line in presets.items()]))
        else:
            width = max(map(len, presets))
            click.echo("\n".join(f"{name:<{width}}  {line}" for name, line in presets.items()))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _explanation(key: "Key") -> str:
    lines = [key.name]
    if key.type != "section":
        default = "none, it must be given" if key.default is None else key.default
        lines += [f"  type     {key.type}", f"  default  {default}"]
    if key.meaning:
        lines += textwrap.wrap(key.meaning, 96, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)
