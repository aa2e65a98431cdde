"""`tongwen plan`: what a recipe's training needs, or what a budget buys."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tongwen.cli.options import complete_recipe
from tongwen.cli.plan_ladder import command as ladder
from tongwen.errors import UsageError

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def _amount(text: str) -> float:
    """A number with an optional unit: 3.1T, 100B, 7e9."""
    match = re.fullmatch(r"([0-9_,.]+(?:e[+-]?\d+)?)\s*([kmbt]?)", text.strip().lower())
    try:
        return float(re.sub("[,_]", "", match[1])) * _UNITS[match[2]]  # type: ignore[index]
    except (TypeError, ValueError) as error:
        raise click.BadParameter(f"{text!r} is not a number such as 100B, 3.1T or 1e21") from error


_amount.__name__ = "number"
_BUDGET = (
    click.option("--gpu", metavar="NAME",
                 help="Card to plan for, such as h800; `this` is this machine."),
    click.option("--gpus", type=click.IntRange(1), help="Number of cards."),
    click.option("--days", type=_amount, help="Days of wall-clock time."),
    click.option("--money", type=_amount, help="Budget for GPU hours."),
    click.option("--flops", type=_amount, help="Budget in training FLOPs."),
    click.option("--tokens", type=_amount, help="Tokens to train on."),
    click.option("--target-bits-per-byte", type=_amount, help="Loss to reach at the lowest cost."),
    click.option("--target-language", metavar="LANGUAGE",
                 help="Language of that loss; English when absent."),
    click.option("--parameters", type=_amount, help="A fixed size, in place of a recipe's."),
    click.option("--objective", type=click.Choice(["best-loss", "cheapest-to-serve"]),
                 help="What makes a run the best; best-loss when absent."),
    click.option("--serve-tokens", type=_amount,
                 help="Tokens the model will read and write while in service."),
    click.option("--method", type=click.Choice(["full", "lora", "qlora"]),
                 help="Train all weights, or adapters on one card."),
    click.option("--rank", type=click.IntRange(1), help="Rank of the adapters; 16 when absent."),
    click.option("--stage", type=click.Choice(["pretrain", "extend", "tune"]),
                 help="Stage of RECIPE; pretrain when absent."),
    click.option("--continued", is_flag=True, help="Pretraining starts from trained weights."),
    click.option("--sequence-tokens", type=click.IntRange(1),
                 help="Tokens of a sequence, in place of the recipe's."),
    click.option("--vocabulary-size", type=click.IntRange(1),
                 help="Pieces of the vocabulary, in place of the recipe's."),
    click.option("--mfu", type=_amount, help="Share of peak speed that you measured."),
    click.option("--price-per-hour", type=_amount, help="Price of one card for an hour."),
    click.option("--failure-gpu-hours", type=_amount,
                 help="Hours between failures of one card, on average."),
    click.option("--devices", type=click.Path(path_type=Path),
                 help="TOML file that adds or replaces devices."),
    click.option("--law", type=click.Path(path_type=Path), help="File of your own loss laws."),
    click.option("--seal", type=click.Path(path_type=Path), metavar="DIR",
                 help="Write the forecast into DIR, a stage's folder, before its first step."),
    click.option("--fits", is_flag=True, help="List what fits on one card, for every preset."),
)  # fmt: skip
_NEITHER_LIMIT_NOR_SHAPE = (
    "gpu", "fits", "devices", "law", "stage", "continued", "parameters", "seal",
)  # fmt: skip


_OF_FITS = ("gpu", "fits", "devices", "sequence_tokens", "rank")


def _budget_options(function: Any) -> Any:
    for option in reversed(_BUDGET):
        function = option(function)
    return function


class _RecipeByDefault(click.Group):
    """`tongwen plan RECIPE` needs no second word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands or Path(args[0]).is_file():
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


_DEFAULT = "recipe"


@click.group(name="plan", cls=_RecipeByDefault)
def command() -> None:
    """Print what training needs, or what a budget buys; `ladder` finds the laws for it."""


command.add_command(ladder)


@command.command(name=_DEFAULT)
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    help="Folder of token shards, for epochs and the vocabulary's size.",
)
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe."
)
@_budget_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_recipe(
    recipe: str | None,
    shards: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    **budget: Any,
) -> None:
    """Print what training needs, without training.

    With RECIPE alone: parameters, FLOPs, memory, disk of its training stages, and the time and
    price estimated from a few real steps; what does not fit this machine is refused. RECIPE is a
    preset or a TOML file.

    With --gpu NAME and a budget: the best run that it buys on that machine, with size, tokens,
    rate, batch, layout, time, energy, price and expected loss. RECIPE then fixes the size.

    \b
    Examples:
      tongwen plan yi-34b
      tongwen plan sample --set plan.price_per_hour=2.5
      tongwen plan --gpu h800 --gpus 64 --days 30
      tongwen plan --gpu h100 --money 100000
      tongwen plan yi-34b --gpu h800 --gpus 1200
      tongwen plan yi-34b-200k --stage extend --gpu h800 --gpus 64
      tongwen plan yi-6b --gpu rtx-4090 --method qlora
      tongwen plan --gpu this --fits

    `tongwen plan ladder RECIPE` fits the laws of your own data on small runs.
    """
    given = {
        name: value for name, value in budget.items() if value is not None and value is not False
    }
    if budget["fits"]:
        _what_fits(budget, as_json)
    elif given:
        _answer(recipe, shards, overrides, given, as_json)
    elif recipe is None:
        raise UsageError(
            "plan what?", hint="name a recipe, or a budget: --gpu h800 --gpus 64 --days 30"
        )
    else:
        _plan_recipe(recipe, shards, overrides, as_json)


def _plan_recipe(
    recipe: str, shards: Path | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    from tongwen.plan.plan import add_times, check_fit, make_plan
    from tongwen.plan.text import plan_lines
    from tongwen.road.recipe import load_recipe
    from tongwen.road.stages import planned_run

    planned = planned_run(load_recipe(recipe, overrides))
    plan = make_plan(planned, shards, Path())
    try:
        check_fit(plan, planned)
        add_times(plan, planned)
    finally:
        _print(plan, plan_lines(plan), as_json)


def _answer(
    recipe: str | None,
    shards: Path | None,
    overrides: tuple[str, ...],
    given: dict[str, Any],
    as_json: bool,
) -> None:
    from tongwen.plan.ask import Asked, answered, lines_of, question, seal
    from tongwen.road.recipe import load_recipe
    from tongwen.road.stages import planned_run

    if "gpu" not in given:
        raise UsageError("for which machine?", hint="add --gpu NAME, or --gpu this")
    if recipe is None and (overrides or "stage" in given or "continued" in given):
        named = "--set" if overrides else "--stage" if "stage" in given else "--continued"
        raise UsageError(f"{named} is of a recipe, and none is named", hint="name a preset")
    if shards is not None:
        raise UsageError("--shards changes nothing in the answer to a budget", hint="leave it out")
    asked = question(
        Asked(
            gpu=given["gpu"],
            planned=None if recipe is None else planned_run(load_recipe(recipe, overrides)),
            stage=given.get("stage", "pretrain"),
            parameters=given.get("parameters"),
            is_continued="continued" in given,
            devices=given.get("devices"),
            law=given.get("law"),
            values={
                name: value for name, value in given.items() if name not in _NEITHER_LIMIT_NOR_SHAPE
            },
        )
    )
    found = answered(asked)
    if "seal" in given:
        seal(found, given.get("stage", "pretrain"), given["seal"])
    _print(found, lines_of(asked, found), as_json)


def _what_fits(budget: dict[str, Any], as_json: bool) -> None:
    from tongwen.model.config import ModelConfig
    from tongwen.plan.ask import what_fits
    from tongwen.road.recipe import load_recipe, preset_names

    idle = [
        name
        for name, value in budget.items()
        if name not in _OF_FITS and value is not None and value is not False
    ]
    if idle:
        raise UsageError(
            f"--{idle[0].replace('_', '-')} changes nothing with --fits", hint="leave out one"
        )
    if not budget["gpu"]:
        raise UsageError("fits on what?", hint="add --gpu NAME, or --gpu this")
    shapes: dict[str, ModelConfig] = {}
    for name in sorted(set(preset_names()) - {"defaults"}):
        loaded = load_recipe(name)
        config = ModelConfig.from_settings(loaded.model, loaded.tokenizer.vocabulary_size)
        if config not in shapes.values():
            shapes[name] = config
    rows, lines = what_fits(
        shapes,
        budget["gpu"],
        budget["devices"],
        sequence_tokens=budget["sequence_tokens"] or 2_048,
        rank=budget["rank"] or 16,
    )
    _print(rows, lines, as_json)


def _print(values: Any, lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False, indent=1, sort_keys=True))
    else:
        for line in lines:
            click.echo(line)
