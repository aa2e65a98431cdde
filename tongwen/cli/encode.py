"""`tongwen encode`: documents to token shards."""

from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone


@click.command(name="encode")
@click.argument("documents", type=click.Path(path_type=Path))
@click.argument("tokenizer", type=click.Path(path_type=Path))
@stage_options
def command(
    documents: Path, tokenizer: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]
) -> None:
    """Encode the Parquet files of DOCUMENTS with the tokenizer in the folder TOKENIZER.

    \b
    Example:
      tongwen encode curated tokenizer --out shards --set encode.validation_share=0.01
    """
    run_alone(
        "encode",
        inputs={"documents": documents, "tokenizer": tokenizer},
        out=out,
        recipe=recipe,
        overrides=overrides,
    )
    click.echo(out)
