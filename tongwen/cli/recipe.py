"""`tongwen recipe`: check a recipe and print it with all its values."""

import click


@click.command(name="recipe")
@click.argument("recipe", required=False)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key.")
def command(recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Check RECIPE and print every value it stands for; without RECIPE, list the presets."""
    from tongwen.road.recipe import load_recipe, preset_names, recipe_text

    if recipe is None:
        click.echo("\n".join(preset_names()))
    else:
        click.echo(recipe_text(load_recipe(recipe, overrides)), nl=False)
