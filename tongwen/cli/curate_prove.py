"""`tongwen curate prove`: whether a score, a rule or a source lowers a loss."""

import sys
from pathlib import Path

import click


@click.command(name="prove")
@click.argument("curated", metavar="CURATED", type=click.Path(path_type=Path))
@click.option(
    "--tokenizer", type=click.Path(path_type=Path), required=True, metavar="DIR",
    help="Folder of the tokenizer.",
)  # fmt: skip
@click.option("--score", metavar="COLUMN", help="A score column; -COLUMN where low means good.")
@click.option(
    "--rule", metavar="NAME=VALUE", help="A rule and its threshold, such as minimum_entropy_bits=5."
)
@click.option(
    "--source", metavar="NAME", help="A source, file or host; trains with and without it."
)
@click.option("--buckets", type=click.IntRange(2, 20), default=5, show_default=True,
              help="Number of quantiles.")  # fmt: skip
@click.option("--held-out", multiple=True, metavar="LANGUAGE=FILE",
              help="Held-out texts (JSON Lines); by default, part of the documents.")  # fmt: skip
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path),
              help="Folder for the result; `proofs` of the run by default.")  # fmt: skip
@click.option("--tokens", type=click.IntRange(1), default=500_000, show_default=True,
              help="Training tokens of each proxy.")  # fmt: skip
@click.option("--hidden-size", type=click.IntRange(32), default=64, show_default=True,
              help="Hidden size of a proxy, a multiple of 32.")  # fmt: skip
@click.option(
    "--layers", type=click.IntRange(1), default=2, show_default=True, help="Layers of a proxy."
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True,
              help="Seeds, and so proxies, of each group.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(0, min_open=True),
              help="Stop after this time; run the command again to continue.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    curated: Path,
    tokenizer: Path,
    score: str | None,
    rule: str | None,
    source: str | None,
    buckets: int,
    held_out: tuple[str, ...],
    out: Path | None,
    tokens: int,
    hidden_size: int,
    layers: int,
    seeds: int,
    minutes: float | None,
    as_json: bool,
) -> None:
    """Train equal small models on groups of the documents of CURATED, and compare their losses.

    A score's groups are its quantiles, a rule's the documents that it would drop and keep, a
    source's the documents without it and with it. CURATED is a run or the folder of a curate stage;
    a rule needs one that ran without it, for dropped documents are not there any more. Writes
    proof.md and proof.json; the report of a run links the proofs of its documents.

    \b
    Examples:
      tongwen curate prove runs/web --tokenizer tok --score quality
      tongwen curate prove runs/web --tokenizer tok --score=-perplexity_percentile --buckets 4
      tongwen curate prove runs/web --tokenizer tok --rule minimum_entropy_bits=5
      tongwen curate prove runs/web --tokenizer tok --source example.org --minutes 10
    """
    from tongwen.errors import UsageError
    from tongwen.prove.groups import Question, read_rule
    from tongwen.prove.prove import Inquiry, prove
    from tongwen.prove.proxies import Proxy

    given = [name for name, value in
             (("score", score), ("rule", rule), ("source", source)) if value]  # fmt: skip
    if len(given) != 1:
        raise UsageError(
            f"{' and '.join(f'--{name}' for name in given) or 'nothing'} is to be proved",
            hint="name one of --score, --rule and --source",
        )
    if rule is not None:
        question = Question("rule", *read_rule(rule))
    else:
        question = Question(given[0], score or source or "", buckets=buckets)
    inquiry = Inquiry(
        question=question,
        curated=curated,
        tokenizer=tokenizer,
        held_out=held_out,
        out=out,
        proxy=Proxy(hidden_size=hidden_size, layers=layers, tokens=tokens, seeds=seeds),
        command=" ".join(["tongwen", *sys.argv[1:]]),
    )
    page = prove(inquiry, minutes)
    if page is None:
        return
    click.echo((page.parent / "proof.json" if as_json else page).read_text("utf-8"), nl=False)
