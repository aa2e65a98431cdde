"""`tongwen curate label`: grades of a sample of documents, by any OpenAI-compatible server."""

import json
from pathlib import Path
from typing import Any

import click

from tongwen.cli.asking import Asking, ask_with_consent, asking_options, opened_server

_SHOWN = 5


@click.command(name="label")
@click.argument("documents", metavar="DOCUMENTS", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              required=True,
              help="JSON Lines of labels; FILE.journal keeps the answers.")  # fmt: skip
@click.option("--rubric", "rubrics", metavar="NAME|FILE", multiple=True,
              default=("educational", "quality"), show_default=True,
              help="A built-in rubric, or a TOML file of your own.")  # fmt: skip
@click.option("--sample", type=click.IntRange(1), default=1_000, show_default=True,
              help="Documents graded, half of them in each language.")  # fmt: skip
@click.option("--characters", type=click.IntRange(100), default=6_000, show_default=True,
              help="Characters of a document that the model is shown.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(8), default=400, show_default=True,
              help="Longest answer, in tokens; a reasoning model needs more.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1862, show_default=True,
              help="Seed of the sample.")  # fmt: skip
@click.option("--text-field", metavar="NAME", default="text", show_default=True,
              help="Field of the rows that holds the text.")  # fmt: skip
@asking_options
@click.option("--json", "as_json", is_flag=True, help="Print what was graded as JSON.")
def command(documents: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Grade a sample of DOCUMENTS from 0 to 5, for `train-scorer` to learn from.

    DOCUMENTS are runs, folders of `tongwen curate`, JSON Lines, Parquet or text files. The same
    command continues where it was interrupted and asks nothing twice.

    \b
    Examples:
      tongwen curate label runs/mine --server http://127.0.0.1:8000 --out labels.jsonl
      tongwen curate label pages.jsonl --server https://api.example.org/v1 --model large \\
          --key-variable EXAMPLE_KEY --price-in 0.5 --price-out 1.5 --out labels.jsonl
      tongwen curate train-scorer educational_grade --labelled labels.jsonl --out scorers/edu
    """
    from tongwen.curate.labels.label import choose_documents, label_questions, label_rows
    from tongwen.curate.labels.rubric import read_rubrics
    from tongwen.files import write_jsonl

    asking = Asking.take(given)
    rubrics = read_rubrics(given["rubrics"])
    chosen, counts = choose_documents(
        documents, sample=given["sample"], characters=given["characters"],
        seed=given["seed"], text_field=given["text_field"],
    )  # fmt: skip
    with opened_server(asking) as (server, model):
        questions = label_questions(chosen, rubrics, model=model, max_tokens=given["max_tokens"])
        click.echo(_drawn(len(chosen), counts), err=True)
        asked = list(questions.values())
        answers = ask_with_consent(server, asking, asked, out.with_name(f"{out.name}.journal"))
    if answers is None:
        return
    rows, summary = label_rows(chosen, questions, answers)
    write_jsonl(out, rows)
    if as_json:
        click.echo(json.dumps({**counts, **summary}, ensure_ascii=False, indent=1))
        return
    for name, grades in summary["graded"].items():
        click.echo(f"{name}  " + "  ".join(f"{grade}: {n:,}" for grade, n in grades.items()))
    _report(summary)
    click.echo(out)


def _drawn(number: int, counts: dict[str, int]) -> str:
    left_out = ", ".join(
        f"{counts[name]:,} {words}"
        for name, words in (
            ("too_short", "too short"),
            ("other_language", "in other languages"),
            ("duplicates", "duplicates"),
        )
        if counts.get(name)
    )
    return f"{number:,} of {counts['documents']:,} documents drawn" + (
        f"; not considered: {left_out}" if left_out else ""
    )


def _report(summary: dict[str, Any]) -> None:
    if summary["cut_documents"]:
        click.echo(
            f"{summary['cut_documents']:,} documents were graded by their beginning (--characters)",
            err=True,
        )
    unreadable = summary["unreadable"]
    if unreadable:
        click.echo(f"{len(unreadable):,} answers without a grade, null in the labels:", err=True)
    for item in unreadable[:_SHOWN]:
        click.echo(f"  {item['name']} ({item['rubric']}): {item['answer']}", err=True)
    if len(unreadable) > _SHOWN:
        click.echo("  ... all are in the field `unreadable` of the rows", err=True)
