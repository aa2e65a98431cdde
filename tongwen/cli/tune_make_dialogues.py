"""`tongwen tune make-dialogues`: the user's documents to questions and answers."""

import json
from pathlib import Path
from typing import Any

import click

from tongwen.cli.asking import Asking, ask_with_consent, asking_options, opened_server


@click.command(name="make-dialogues")
@click.argument("documents", metavar="DOCUMENTS", nargs=-1, required=True,
                type=click.Path(path_type=Path))  # fmt: skip
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              required=True,
              help="JSON Lines of dialogues; FILE.journal keeps the answers.")  # fmt: skip
@click.option("--headings", is_flag=True,
              help="Without a server, by a rule: each paragraph answers its heading.")  # fmt: skip
@click.option("--conversations", is_flag=True,
              help="Add general dialogues: greetings, refusals, lists.")  # fmt: skip
@click.option("--languages", type=click.Choice(["same", "other", "both"]), default="same",
              show_default=True,
              help="Language of the questions: the document's, the other, or both.")  # fmt: skip
@click.option("--pairs", type=click.IntRange(1, 50), default=5, show_default=True,
              help="Questions about one passage, at most.")  # fmt: skip
@click.option("--characters", type=click.IntRange(200), default=3_000, show_default=True,
              help="Characters of a passage, at most.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(16), default=1_500, show_default=True,
              help="Longest answer, in tokens; a reasoning model needs more.")  # fmt: skip
@click.option("--text-field", metavar="NAME", default="text", show_default=True,
              help="Field of the rows that holds the text.")  # fmt: skip
@asking_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(documents: tuple[Path, ...], out: Path, as_json: bool, **given: Any) -> None:
    """Make questions and answers of DOCUMENTS, each checked against the text it is from.

    DOCUMENTS are runs, folders of `tongwen curate`, JSON Lines, Parquet or text files; other
    files go through `tongwen crawl` and `tongwen curate` first. A quotation must prove each
    answer; what is not proven is dropped and named in FILE.dropped. The same command continues
    where it was interrupted and asks nothing twice.

    \b
    Examples:
      tongwen tune make-dialogues runs/mine --server http://127.0.0.1:8000 --out dialogues.jsonl
      tongwen tune make-dialogues docs --headings --conversations --out dialogues.jsonl
    """
    from tongwen.files import write_jsonl
    from tongwen.tune.documents.conversations import conversations
    from tongwen.tune.documents.headings import heading_dialogues, heading_files

    if given.pop("headings"):
        rows = heading_dialogues(heading_files([str(path) for path in documents]))
        counts = {"dialogues": len(rows)}
    else:
        made = _asked(documents, out, given)
        if made is None:
            return
        rows, counts = made
    if given["conversations"]:
        general = conversations()
        counts["conversations"] = len(general)
        rows += general
    write_jsonl(out, rows)
    if as_json:
        click.echo(json.dumps(counts, ensure_ascii=False, indent=1))
        return
    for name, number in counts.items():
        click.echo(f"{name.replace('_', ' ')}  {number:,}")
    click.echo(out)


def _asked(
    documents: tuple[Path, ...], out: Path, given: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, int]] | None:
    """Dialogues of a server's answers, and the counts; None after a dry run."""
    from tongwen.files import write_jsonl
    from tongwen.tune.documents.made import checked_dialogues, passage_questions, read_passages

    asking = Asking.take(given)
    found, counts = read_passages(documents, given["characters"], given["text_field"])
    click.echo(
        f"{len(found):,} passages; " + ", ".join(
            f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items() if number
        ),
        err=True,
    )  # fmt: skip
    with opened_server(asking) as (server, model):
        asked = passage_questions(
            found, model=model, languages=given["languages"], pairs=given["pairs"],
            max_tokens=given["max_tokens"],
        )  # fmt: skip
        questions = [question for _, _, question in asked]
        answers = ask_with_consent(server, asking, questions, out.with_name(f"{out.name}.journal"))
    if answers is None:
        return None
    rows, dropped, results = checked_dialogues(asked, answers)
    write_jsonl(out.with_name(f"{out.name}.dropped"), dropped)
    if dropped:
        click.echo(f"dropped questions, with reasons: {out}.dropped", err=True)
    return rows, counts | results
