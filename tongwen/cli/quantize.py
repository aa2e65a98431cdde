"""`tongwen quantize`: weights to int8."""

from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


@click.command(name="quantize")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder with valid-en-*.shard and valid-zh-*.shard, to measure what is lost.",
)
@stage_options
def command(
    model: Path, shards: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]
) -> None:
    """Turn the weights of the model folder MODEL into int8, and measure what that costs.

    \b
    Example:
      tongwen quantize runs/sample/stages/tune/model --recipe sample \\
        --shards runs/sample/stages/encode --out int8
    """
    inputs = {"model": find_model_folder(model), "shards": shards}
    run_alone("quantize", inputs=inputs, out=out, recipe=recipe, overrides=overrides)
    click.echo(out / "model")
