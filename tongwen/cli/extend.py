"""`tongwen extend`: continue on longer sequences."""

from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


@click.command(name="extend")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("shards", type=click.Path(path_type=Path))
@stage_options
def command(
    model: Path, shards: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]
) -> None:
    """Train MODEL on, with a longer window, on the token shards in SHARDS.

    \b
    Example:
      tongwen extend base/model shards --out long --recipe sample
    """
    folder = find_model_folder(model)
    run_alone(
        "extend",
        inputs={"model": folder, "shards": shards, "tokenizer": folder},
        out=out,
        recipe=recipe,
        overrides=overrides,
    )
    click.echo(out / "model")
