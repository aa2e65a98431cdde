"""`tongwen export`: a Hugging Face folder with its model card."""

from pathlib import Path

import click

from tongwen.cli.options import stage_options
from tongwen.files import disk_errors, remove_tree, sync_directory
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


@click.command(name="export")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the tokenizer; the model's own when absent.",
)
@click.option(
    "--evaluate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with results.json, for the model card.",
)
@click.option(
    "--curate",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with funnel.json, for the model card.",
)
@stage_options
def command(
    model: Path,
    tokenizer: Path | None,
    evaluate: Path | None,
    curate: Path | None,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Export the model folder MODEL for transformers and every engine that reads its architecture.

    DIR gets the model's own files and nothing else; files of another name that it has stay.

    \b
    Example:
      tongwen export runs/sample/stages/tune/model --out exported \
        --evaluate runs/sample/stages/evaluate
    """
    optional = {"evaluate": evaluate, "curate": curate}
    folder = find_model_folder(model)
    inputs = {"model": folder, "tokenizer": tokenizer or folder}
    inputs |= {role: path for role, path in optional.items() if path is not None}
    # The stage's records are kept out of the folder that is given away.
    stage = out.absolute().with_name(f".{out.name}.export")
    try:
        run_alone("export", inputs=inputs, out=stage, recipe=recipe, overrides=overrides)
        with disk_errors(out):
            out.mkdir(parents=True, exist_ok=True)
            for file in sorted((stage / "model").iterdir()):
                file.replace(out / file.name)
            sync_directory(out)
    finally:
        remove_tree(stage)
    click.echo(out)
