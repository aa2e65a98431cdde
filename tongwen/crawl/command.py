"""`tongwen crawl`: take stock of raw records, or write the sample web."""

import json
from pathlib import Path
from typing import get_args

import click

from tongwen.alone import run_alone, stage_options
from tongwen.crawl.settings import SourceFormat
from tongwen.errors import UsageError


@click.command(name="crawl")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option(
    "--format",
    "source_format",
    type=click.Choice(get_args(SourceFormat)),
    help="What the files are; WET files are `warc`.",
)
@click.option("--text-field", default="text", show_default=True, help="Field of JSONL and Parquet.")
@click.option("--name", default="", help="Name of the source in documents and reports.")
@click.option("--license", default="", help="Licence of the texts, as it is to be recorded.")
@click.option("--sample", is_flag=True, help="Write the built-in sample web.")
@stage_options
def command(
    sources: tuple[str, ...],
    source_format: str | None,
    text_field: str,
    name: str,
    license: str,
    sample: bool,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """List files, folders or patterns (SOURCE) as inputs of `tongwen curate`.

    Nothing is copied: DIR/inputs.jsonl holds path, size and digest of every file.

    \b
    Examples:
      tongwen crawl CC-MAIN-*.warc.gz --format warc --out crawled
      tongwen crawl --sample --set crawl.sample.pages=400 --out crawled
    """
    if sources and source_format is None:
        raise UsageError("the format of the sources is missing", hint="add --format warc")
    if not sources and not sample and recipe is None:
        raise UsageError("nothing to crawl", hint="name a SOURCE with --format, or give --sample")
    ours: list[str] = []
    if sample:
        ours.append("crawl.sample={}")
    if sources:
        tables = ", ".join(
            _table(
                path=path, format=source_format, text_field=text_field, name=name, license=license
            )
            for path in sources
        )
        ours.append(f"crawl.sources=[{tables}]")
    run_alone("crawl", inputs={}, out=out, recipe=recipe, overrides=(*ours, *overrides))
    click.echo(out / "inputs.jsonl")


def _table(**values: str | None) -> str:
    """An inline TOML table of strings; JSON writes strings as TOML does."""
    items = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "{" + ", ".join(items) + "}"
