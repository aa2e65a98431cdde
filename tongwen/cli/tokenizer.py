"""`tongwen tokenizer`: train, verify and compare tokenizers."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.road.alone import run_alone


@click.group(name="tokenizer")
def command() -> None:
    """Train a bilingual tokenizer, verify one, or compare several."""


@command.command(name="train")
@click.argument("documents", type=click.Path(path_type=Path))
@stage_options
def train(documents: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Train on the Parquet files of DOCUMENTS, the folder of a curate stage or your own.

    \b
    Example:
      tongwen tokenizer train curated --out tokenizer --set tokenizer.vocabulary_size=32000
    """
    run_alone(
        "tokenizer", inputs={"documents": documents}, out=out, recipe=recipe, overrides=overrides
    )
    click.echo(out)


@command.command(name="verify")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(folder: Path, as_json: bool) -> None:
    """Run the acceptance suite on the tokenizer or model folder DIR.

    Exits with 1 when a check fails.
    """
    from tongwen.tokenizer.verify import verify_folder

    checks = verify_folder(folder)
    if as_json:
        click.echo(json.dumps([asdict(item) for item in checks], ensure_ascii=False, indent=1))
    else:
        words = {True: "pass", False: "FAIL", None: "n/a "}
        for item in checks:
            detail = f": {item.detail}" if item.detail else ""
            click.echo(f"{words[item.passed]}  {item.name}{detail}")
    if any(item.passed is False for item in checks):
        sys.exit(1)


@command.command(name="compare")
@click.argument("texts", type=click.Path(path_type=Path))
@click.argument(
    "folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--bytes",
    "measured_bytes",
    type=click.IntRange(min=1),
    default=8 << 20,
    show_default=True,
    help="UTF-8 bytes of each language to measure.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def compare(texts: Path, folders: tuple[Path, ...], measured_bytes: int, as_json: bool) -> None:
    """Measure the tokenizers or models in the folders DIR on TEXTS, side by side.

    TEXTS is the folder of a curate stage, or text and JSON Lines files, each counted under its
    name. Digits are the numbers in them. A star marks the best of a row.

    \b
    Example:
      tongwen tokenizer compare curated tokenizer ~/models/other
    """
    from tongwen.tokenizer.compare import compare_folders, table

    found = compare_folders(texts, folders, measured_bytes=measured_bytes)
    click.echo(json.dumps(found, ensure_ascii=False, indent=1) if as_json else table(found))


@command.command(name="grow")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The new model folder.")  # fmt: skip
@click.option("--piece", "pieces", multiple=True, metavar="TEXT", help="A special piece to add.")
@click.option("--chatml/--no-chatml", default=True, show_default=True,
              help="Add <|im_start|> and <|im_end|> where they are missing, and ChatML as the "
              "chat template.")  # fmt: skip
def grow(model: Path, out: Path, pieces: tuple[str, ...], chatml: bool) -> None:
    """Add special pieces to the tokenizer and the embedding of the model folder MODEL.

    For base models without dialogue markers, before tuning. The new rows are the mean of all
    others; ids of other pieces stay.

    \b
    Example:
      tongwen tokenizer grow Llama-3.2-1B --out llama-chatml
    """
    from tongwen.model.grow import grow_model
    from tongwen.stages import find_model_folder

    for piece, number in grow_model(
        find_model_folder(model), out, pieces, writes_chatml=chatml
    ).items():
        click.echo(f"{number}  {piece}")
    click.echo(out)
