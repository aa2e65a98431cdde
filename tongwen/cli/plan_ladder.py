"""`tongwen plan ladder`: small runs from which the loss of large ones is forecast."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tongwen.cli.options import complete_recipe


def _numbers(kind: Any) -> Any:
    """A parser of `1,2,4`."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.strip().replace("_", "")) for part in text.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a list such as 1,2,4") from error

    read.__name__ = "numbers"
    return read


@click.command(name="ladder")
@click.argument("recipe", shell_complete=complete_recipe)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of token shards, some of them for validation.",
)
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the tokenizer that made them.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder of the ladder; the same command continues it.",
)
@click.option(
    "--widths",
    type=_numbers(int),
    help="Hidden sizes; from 1/16 to 1/4 of the recipe's when absent.",
)
@click.option(
    "--tokens-per-parameter",
    type=_numbers(float),
    default="5,10,20,40",
    show_default=True,
    help="Training tokens for each parameter: the budgets of each size.",
)
@click.option("--rates", type=_numbers(float), help="Peak rates to sweep at the smallest size.")
@click.option(
    "--batches", type=_numbers(int), help="Tokens of a batch to sweep at the smallest size."
)
@click.option(
    "--hold-out",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="Number of the largest runs that are forecast before they start.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Stop after so many minutes; the same command continues.",
)
@click.option("--dry-run", is_flag=True, help="Only list the runs with their cost.")
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")  # fmt: skip
def command(
    recipe: str,
    shards: Path,
    tokenizer: Path,
    out: Path,
    widths: tuple[int, ...] | None,
    tokens_per_parameter: tuple[float, ...],
    rates: tuple[float, ...] | None,
    batches: tuple[int, ...] | None,
    hold_out: int,
    minutes: float | None,
    dry_run: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train small models of RECIPE's family, fit the laws of their loss, forecast the largest.

    The result, law.json in DIR, is what `tongwen plan --law` and the setting plan.law take.

    \b
    Examples:
      tongwen plan ladder yi-6b --shards shards --tokenizer tok --out ladder --dry-run
      tongwen plan ladder yi-6b --shards shards --tokenizer tok --out ladder --minutes 30
      tongwen plan --gpu h800 --gpus 64 --days 30 --law ladder/law.json
    """
    from tongwen.errors import UsageError
    from tongwen.flow.stage import locked
    from tongwen.plan.climb import Ascent, Ground
    from tongwen.plan.ladder import Climb, default_widths
    from tongwen.plan.ladder_text import dry_run_lines, result, result_lines
    from tongwen.progress import Progress
    from tongwen.road.recipe import load_recipe
    from tongwen.tokenizer.text import Tokenizer

    loaded = load_recipe(recipe, overrides)
    if loaded.pretrain is None:
        raise UsageError(f"the recipe {recipe} has no [pretrain] section", hint="take one that has")
    climb = Climb(
        model=loaded.model,
        settings=loaded.pretrain,
        vocabulary_size=Tokenizer.load(tokenizer).vocabulary_size,
        widths=default_widths(loaded.model) if widths is None else widths,
        tokens_per_parameter=tokens_per_parameter,
        rates=rates or (),
        batches=batches or (),
        held_out=hold_out,
    )
    ascent = Ascent(climb, Ground(shards, tokenizer, out, Progress()))
    if dry_run:
        _print(dry_run_lines(ascent))
        return
    with locked(out):
        is_done = ascent.run(minutes)
    if is_done and as_json:
        import json

        click.echo(json.dumps(result(ascent), ensure_ascii=False, indent=2))
    elif is_done:
        _print(result_lines(ascent))
    else:
        _print([f"{len(ascent.left())} runs are left"])


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
