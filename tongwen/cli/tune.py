"""`tongwen tune`: base model and dialogues to a chat model."""

from pathlib import Path

import click

from tongwen.cli.options import RunByDefault, stage_options
from tongwen.cli.tune_make_dialogues import command as make_dialogues
from tongwen.road.alone import run_alone
from tongwen.stages import find_model_folder


@click.group(name="tune", cls=RunByDefault)
def command() -> None:
    """Base model and dialogues to a chat model; or documents to dialogues.

    \b
    Examples:
      tongwen tune base/model dialogues.jsonl --out chat --recipe sample
      tongwen tune make-dialogues runs/mine --server http://127.0.0.1:8000 --out dialogues.jsonl
    """


@command.command(name="run")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("dialogues", nargs=-1, type=click.Path(path_type=Path))
@stage_options
def run(
    model: Path,
    dialogues: tuple[Path, ...],
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Tune MODEL on the files DIALOGUES; the loss counts the answers only.

    Without DIALOGUES, on those that the recipe names in tune.dialogues, pairs, documents and
    conversations.

    \b
    JSON Lines (also .gz, .zst), JSON arrays, CSV, TSV or Parquet, with rows such as
      {"messages": [{"role": "user", "content": "..."},
                    {"role": "assistant", "content": "..."}]}
      {"conversations": [{"from": "human", "value": "..."}, ...]}
      {"instruction": "...", "input": "...", "output": "..."}
      {"prompt": "...", "completion": "..."}
      {"question": "...", "answer": "..."}

    \b
    Example:
      tongwen tune base/model dialogues.jsonl --out chat --recipe sample
    """
    names = [str(path.resolve()) for path in dialogues]
    run_alone(
        "tune",
        inputs=dict.fromkeys(("model", "tokenizer"), find_model_folder(model)),
        out=out,
        recipe=recipe,
        overrides=overrides,
        options={"tune.dialogues": names} if names else {},
    )
    click.echo(out / "model")


command.add_command(make_dialogues)
