"""`tongwen pretrain`: token shards to a model."""

from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone


@click.command(name="pretrain")
@click.argument("shards", type=click.Path(path_type=Path))
@click.argument("tokenizer", type=click.Path(path_type=Path))
@stage_options
def command(
    shards: Path, tokenizer: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]
) -> None:
    """Train a model on the token shards in SHARDS, made with the tokenizer in TOKENIZER.

    The same command continues a run that was stopped.

    \b
    Example:
      tongwen pretrain shards tokenizer --out base --recipe sample
    """
    run_alone(
        "pretrain",
        inputs={"shards": shards, "tokenizer": tokenizer},
        out=out,
        recipe=recipe,
        overrides=overrides,
    )
    click.echo(out / "model")
