"""`tongwen export`: a Hugging Face folder with its model card."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tongwen.cli.options import stage_options
from tongwen.errors import UsageError
from tongwen.files import disk_errors, remove_tree, sync_directory
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder

if TYPE_CHECKING:
    from tongwen.export.gguf import GgufType


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
@click.option(
    "--format",
    "kind",
    type=click.Choice(["huggingface", "gguf", "compressed-tensors"]),
    default="huggingface",
    show_default=True,
    help="Format to write.",
)
@click.option(
    "--type",
    "gguf_type",
    type=click.Choice(["auto", "f32", "bf16", "f16", "q8_0", "q4_0"]),
    help="Type of the weights in GGUF; `auto` keeps them as they are.",
)
@stage_options
def command(
    model: Path,
    tokenizer: Path | None,
    evaluate: Path | None,
    curate: Path | None,
    kind: str,
    gguf_type: "GgufType | None",
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Export the model folder MODEL for transformers and every engine that reads its architecture.

    DIR gets the model's own files and nothing else; files of another name that it has stay.
    With --format gguf it is one file, model-TYPE.gguf, for llama.cpp; with compressed-tensors a
    folder with int4 weights for vLLM and SGLang, in place of what was there.

    \b
    Examples:
      tongwen export runs/sample --format gguf --type q8_0 --out exported
      tongwen export runs/sample/stages/tune/model --out exported \
        --evaluate runs/sample/stages/evaluate
    """
    optional = {"evaluate": evaluate, "curate": curate}
    folder = find_model_folder(model)
    if gguf_type is not None and kind != "gguf":
        raise UsageError(f"--type {gguf_type} is for --format gguf, not for {kind}")
    if kind != "huggingface":
        given: dict[str, object] = {
            "--tokenizer": tokenizer,
            "--evaluate": evaluate,
            "--curate": curate,
        }
        given |= {"--recipe": recipe, "--set": overrides or None}
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} has no meaning with --format {kind}")
        click.echo(_write_other(folder, out, kind, gguf_type or "auto"))
        return
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


def _write_other(folder: Path, out: Path, kind: str, gguf_type: "GgufType") -> Path:
    """Write what other engines read; returns the file or folder."""
    if kind == "gguf":
        from tongwen.export.gguf import write_gguf

        file = out / ("model.gguf" if gguf_type == "auto" else f"model-{gguf_type}.gguf")
        write_gguf(folder, file, gguf_type)
        return file
    from tongwen.export.compressed import write_compressed

    write_compressed(folder, out)
    return out
