"""`tongwen quantize`: weights to int8 or int4."""

from pathlib import Path
from typing import Any

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


@click.command(name="quantize")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--bits",
    type=click.Choice(["4", "8"]),
    help="Bits of the weights in the layers (quantize.weights) [default: 8].",
)
@click.option(
    "--shards",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with valid-en-*.shard and valid-zh-*.shard, to calibrate on and to measure the "
    "loss; for a run, its own.",
)
@click.option(
    "--text",
    "texts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    multiple=True,
    help="Plain UTF-8 text instead of shards; best a file for each language.",
)
@stage_options
def command(
    model: Path,
    bits: str | None,
    shards: Path | None,
    texts: tuple[Path, ...],
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Turn the weights of the model folder MODEL into int8 or int4, and measure what that costs.

    \b
    Examples:
      tongwen quantize runs/sample --bits 4 --out int4
      tongwen quantize FOLDER --bits 4 --text english.txt --text chinese.txt --out int4
    """
    inputs = {"model": find_model_folder(model)}
    of_run = model / "stages" / "encode"
    if shards is not None or of_run.is_dir():
        inputs["shards"] = shards if shards is not None else of_run
    options: dict[str, Any] = {}
    if bits is not None or recipe is None:
        options["quantize.weights"] = f"int{bits or 8}"
    if texts:
        options["quantize.texts"] = [str(path.absolute()) for path in texts]
    run_alone(
        "quantize", inputs=inputs, out=out, recipe=recipe, overrides=overrides, options=options
    )
    click.echo(out / "model")
