"""`tongwen plan`: what a recipe's training needs, without training."""

import json
from pathlib import Path

import click


@click.command(name="plan")
@click.argument("recipe")
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    help="Folder of token shards, for epochs and the vocabulary's size.",
)
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe."
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(recipe: str, shards: Path | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print what the training stages of RECIPE need; refuse what does not fit this machine.

    Parameters, FLOPs, memory, disk, and the time and price that a few real steps foretell.

    RECIPE is a preset or a TOML file. Nothing is written.

    \b
    Examples:
      tongwen plan yi-34b
      tongwen plan sample --set plan.price_per_hour=2.5
    """
    from tongwen.plan.plan import add_times, check_fit, make_plan
    from tongwen.plan.text import plan_lines
    from tongwen.road.recipe import load_recipe
    from tongwen.road.stages import planned_run

    planned = planned_run(load_recipe(recipe, overrides))
    plan = make_plan(planned, shards, Path())
    try:
        check_fit(plan)
        add_times(plan, planned)
    finally:
        if as_json:
            click.echo(json.dumps(plan, ensure_ascii=False, indent=1, sort_keys=True))
        else:
            for line in plan_lines(plan):
                click.echo(line)
