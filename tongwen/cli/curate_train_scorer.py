"""`tongwen curate train-scorer`: train a scorer on the user's own text and measure it."""

import json
from pathlib import Path
from typing import Any

import click

from tongwen.curate.scorers.options import KINDS, TrainingOptions

_FILES: Any = {"type": click.Path(path_type=Path), "multiple": True, "metavar": "FILE"}


@click.command(name="train-scorer")
@click.argument("kind", metavar="KIND", type=click.Choice(KINDS))
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path), required=True,
    help="Folder of the scorer; an existing one is replaced.",
)  # fmt: skip
@click.option(
    "--reference", **_FILES,
    help="Text as it should be (safety: unsafe text; topic: the file's name is the label).",
)  # fmt: skip
@click.option("--against", **_FILES, help="Text as it should not be (safety: safe text).")
@click.option("--labelled", **_FILES, help="Rows with a label.")
@click.option(
    "--lexicon",
    **_FILES,
    help="A level, a category and a term on each line, separated by tabs (safety).",
)
@click.option("--text-field", metavar="NAME", default="text", show_default=True,
              help="Field of the rows that holds the text.")  # fmt: skip
@click.option("--label-field", metavar="NAME", show_default="label; for grades the rubric's",
              help="Field of the rows that holds the label.")  # fmt: skip
@click.option("--positive", metavar="LABEL", multiple=True, default=("1",), show_default=True,
              help="Label that means good (safety: unsafe); others the opposite.")  # fmt: skip
@click.option("--seed", type=int, default=TrainingOptions.seed, show_default=True,
              help="Seed; the same texts and seed give the same bytes.")  # fmt: skip
@click.option("--characters", type=int, default=TrainingOptions.characters, show_default=True,
              help="Characters taken of each label and language, at most.")  # fmt: skip
@click.option("--epochs", type=int, default=TrainingOptions.epochs, show_default=True,
              help="How often a classifier sees each text.")  # fmt: skip
@click.option("--clusters", type=int, default=TrainingOptions.clusters, show_default=True,
              help="Clusters for each language, at most a quarter of its texts.")  # fmt: skip
@click.option("--samples", type=int, default=TrainingOptions.cluster_samples, show_default=True,
              help="Samples of each cluster in clusters.jsonl.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def command(kind: str, out: Path, as_json: bool, **given: Any) -> None:
    """Train a scorer of KIND on your own text and measure it on held-out text.

    \b
    KIND is perplexity, quality, coherence, safety, topic, clusters,
    educational_grade or quality_grade (from the labels of `tongwen curate label`).
    Files are JSON Lines (plain, .gz or .zst), Parquet or text, or folders of them.

    \b
    Examples:
      tongwen curate train-scorer perplexity --out scorers/perplexity --reference books.jsonl
      tongwen curate train-scorer quality --out scorers/quality \\
          --reference wiki.jsonl.zst --against crawl.parquet
      tongwen curate train-scorer safety --out scorers/safety --labelled spam.jsonl
      tongwen curate train-scorer topic --out scorers/topic --reference topics/
      tongwen curate train-scorer educational_grade --out scorers/edu --labelled labels.jsonl
    """
    from tongwen.curate.scorers.training import TrainingFiles, train_scorer

    files = TrainingFiles(
        reference=given["reference"],
        against=given["against"],
        labelled=given["labelled"],
        lexicons=given["lexicon"],
        text_field=given["text_field"],
        label_field=given["label_field"],
        positive=given["positive"],
    )
    options = TrainingOptions(
        seed=given["seed"],
        characters=given["characters"],
        epochs=given["epochs"],
        clusters=given["clusters"],
        cluster_samples=given["samples"],
    )
    trained = train_scorer(kind, files, out, options)
    if as_json:
        click.echo(json.dumps(trained, ensure_ascii=False, indent=1, sort_keys=True))
        return
    counts = trained["trained_on"]["counts"]
    click.echo(
        f"{counts['texts']:,} texts, {counts['pieces']:,} pieces used; "
        + ", ".join(
            f"{number:,} {name.replace('_', ' ')}"
            for name, number in sorted(counts.items())
            if name not in ("texts", "pieces") and number
        ),
        err=True,
    )
    for language, values in trained["report"].items():
        for name, value in values.items():
            if isinstance(value, float | int | str):
                click.echo(f"{language}  {name}  {value}")
    click.echo(out)
