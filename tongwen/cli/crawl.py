"""`tongwen crawl`: take stock of raw records, or write the sample web."""

import json
from pathlib import Path
from typing import Any, get_args

import click

from tongwen.cli.options import stage_options
from tongwen.crawl.settings import SourceFormat
from tongwen.errors import UsageError
from tongwen.road.alone import run_alone


@click.command(name="crawl")
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option(
    "--format",
    "source_format",
    type=click.Choice(get_args(SourceFormat)),
    default="auto",
    help="What the files are. `auto` looks into each; `warc` takes WET and ARC, too; "
    "`common-crawl` is a list of paths or an index of records.",
)
@click.option("--text-field", default="text", show_default=True, help="Field of JSONL and Parquet.")
@click.option("--name", default="", help="Name of the source in documents and reports.")
@click.option("--license", default="", help="Licence of the texts, as it is to be recorded.")
@click.option("--first", type=click.IntRange(1), help="Take only so many lines of a list.")
@click.option("--every", type=click.IntRange(1), help="Take each so many lines one of a list.")
@click.option("--cache", help="Folder for downloads, shared by runs.")
@click.option("--connections", type=click.IntRange(1, 10), help="Downloads at a time (4).")
@click.option("--sample", is_flag=True, help="Write the built-in sample web.")
@stage_options
def command(
    sources: tuple[str, ...],
    source_format: str,
    text_field: str,
    name: str,
    license: str,
    first: int | None,
    every: int | None,
    cache: str | None,
    connections: int | None,
    sample: bool,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """List files, folders or patterns (SOURCE) as inputs of `tongwen curate`.

    Local files are not copied: DIR/inputs.jsonl holds path, size and digest of every file. A SOURCE
    with a scheme (https, s3, gs, hf, ...) is downloaded first, once, and gone on with after a
    kill. Keys are written as ${NAME}, an environment variable.

    \b
    Examples:
      tongwen crawl my-documents/ --out crawled
      tongwen crawl CC-MAIN-*.warc.gz --format warc --out crawled
      tongwen crawl s3://bucket/texts/*.jsonl --format jsonl --out crawled
      tongwen crawl https://data.commoncrawl.org/crawl-data/CC-MAIN-2026-40/warc.paths.gz \\
        --format common-crawl --first 10 --cache ~/crawls --out crawled
      tongwen crawl --sample --set crawl.sample.pages=400 --out crawled
    """
    if not sources and not sample and recipe is None:
        raise UsageError("nothing to crawl", hint="name a SOURCE, or give --sample")
    ours: list[str] = []
    if sample:
        ours.append("crawl.sample={}")
    if sources:
        tables = ", ".join(
            _table(
                **{"url" if "://" in path else "path": path},
                format=source_format,
                text_field=text_field,
                name=name,
                license=license,
                select={"first": first, "every": every},
            )
            for path in sources
        )
        ours.append(f"crawl.sources=[{tables}]")
    if cache is not None:
        ours.append(f"crawl.download.cache={json.dumps(cache, ensure_ascii=False)}")
    if connections is not None:
        ours.append(f"crawl.download.connections={connections}")
    run_alone("crawl", inputs={}, out=out, recipe=recipe, overrides=(*ours, *overrides))
    click.echo(out / "inputs.jsonl")


def _table(**values: Any) -> str:
    """An inline TOML table without absent values."""
    items = (f"{key} = {_value(value)}" for key, value in values.items() if value is not None)
    return "{" + ", ".join(items) + "}"


def _value(value: Any) -> str:
    """JSON writes strings and numbers as TOML does."""
    return _table(**value) if isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
