"""`tongwen crawl`: list raw records, or write the sample web."""

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
    help="Format of the files. `auto` looks into each; `warc` also takes WET and ARC; "
    "`common-crawl` is a list of paths or an index of records.",
)
@click.option(
    "--text-field",
    default="text",
    show_default=True,
    help="Field with the text, in JSONL and Parquet.",
)
@click.option("--name", default="", help="Name of the source in documents and reports.")
@click.option("--license", default="", help="Licence to record for the texts.")
@click.option(
    "--first", type=click.IntRange(1), help="Take only this many lines from the start of a list."
)
@click.option("--every", type=click.IntRange(1), help="Take one line in this many of a list.")
@click.option("--cache", help="Folder for downloads, shared by runs.")
@click.option("--connections", type=click.IntRange(1, 10), help="Downloads at a time [default: 4].")
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
    with a scheme (https, s3, gs, hf, ...) is downloaded first, once; an interrupted
    download resumes. Keys are written as ${NAME}, an environment variable.

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
    options: dict[str, Any] = {}
    if sample:
        options["crawl.sample"] = {}
    if sources:
        shared = _given(
            format=source_format,
            text_field=text_field,
            name=name,
            license=license,
            select=_given(first=first, every=every),
        )
        options["crawl.sources"] = [
            {"url" if "://" in path else "path": path, **shared} for path in sources
        ]
    options |= {
        f"crawl.download.{key}": value
        for key, value in _given(cache=cache, connections=connections).items()
    }
    run_alone("crawl", inputs={}, out=out, recipe=recipe, overrides=overrides, options=options)
    click.echo(out / "inputs.jsonl")


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}
