"""`tongwen curate train-extractor`: the trees that choose the main content of a page."""

from pathlib import Path
from typing import Any

import click

_PATH: Any = click.Path(path_type=Path, dir_okay=False)


@click.command(name="train-extractor")
@click.argument("gold", metavar="GOLD...", nargs=-1, required=True,
                type=click.Path(path_type=Path, dir_okay=False, exists=True))  # fmt: skip
@click.option("--out", metavar="WEIGHTS", type=_PATH, required=True,
              help="File to write; an existing one is replaced.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True,
              help="Seed; the same pages and seed give the same bytes.")  # fmt: skip
def command(gold: tuple[Path, ...], out: Path, seed: int) -> None:
    """Train the extraction of main content on pages whose main text is known.

    \b
    GOLD are JSON Lines (plain, .gz or .zst): html, url and text (or main_content),
    or lists of snippets that must be kept (with) and dropped (without).

    \b
    Example:
      tongwen curate train-extractor gold.jsonl.zst --out extractor.weights
    """
    from tongwen.curate.html.features import FEATURES, SECONDS
    from tongwen.curate.html.forest import write_forests
    from tongwen.curate.html.training import draw, read_gold, train_extractor

    trained = train_extractor(draw(read_gold(gold), seed), seed)
    write_forests(out, trained.forests, FEATURES + SECONDS)
    click.echo(
        f"{trained.pages:,} pages of {trained.hosts:,} hosts, {trained.blocks:,} blocks; "
        f"{trained.kept_share:.0%} of their words are main text",
        err=True,
    )
    click.echo(f"{out}  {out.stat().st_size:,} bytes")
