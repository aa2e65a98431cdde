"""`tongwen curate`: raw records to clean documents, and why any page was kept or dropped."""

import json
from pathlib import Path

import click

from tongwen.cli.curate_calibrate import calibrate_rules
from tongwen.cli.curate_label import command as label
from tongwen.cli.curate_prove import command as prove
from tongwen.cli.curate_train_extractor import command as train_extractor
from tongwen.cli.curate_train_scorer import command as train_scorer
from tongwen.cli.options import RunByDefault, stage_options
from tongwen.road.alone import run_alone


@click.group(name="curate", cls=RunByDefault)
def command() -> None:
    """Turn raw records into clean documents, with a reason for every one dropped.

    \b
    Examples:
      tongwen curate crawled --out curated
      tongwen curate explain https://example.org/page --run runs/sample
      tongwen curate replay runs/sample --set curate.english.minimum_words=80
      tongwen curate calibrate good.jsonl
      tongwen curate prove runs/sample --tokenizer tok --score quality
      tongwen curate label runs/sample --server http://127.0.0.1:8000 --out labels.jsonl
      tongwen curate train-scorer quality --out scorers/quality --reference good.jsonl --against raw
    """


@command.command(name="run")
@click.argument("crawl", metavar="CRAWL", type=click.Path(path_type=Path))
@stage_options
def run(crawl: Path, out: Path, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Curate the folder CRAWL of `tongwen crawl`, or any folder of WARC files.

    \b
    Example:
      tongwen curate run crawled --out curated --set curate.english.minimum_words=30
    """
    run_alone("curate", inputs={"crawl": crawl}, out=out, recipe=recipe, overrides=overrides)
    click.echo(out)


@command.command(name="explain")
@click.argument("page", metavar="URL|DOC_ID")
@click.option(
    "--run", "run_dir", metavar="DIR", type=click.Path(path_type=Path), required=True,
    help="Run directory, or the folder of a curate stage.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON.")
def explain_page(page: str, run_dir: Path, as_json: bool) -> None:
    """Print every value measured on a page, every threshold, and the decision with its reason."""
    from tongwen.curate.outcome.explain import explain, explanation_text
    from tongwen.curate.records.folders import curate_folder

    found = explain(curate_folder(run_dir), page)
    if as_json:
        click.echo(json.dumps([item.to_json() for item in found], ensure_ascii=False, indent=1))
    else:
        click.echo("\n\n".join(map(explanation_text, found)))


@command.command(name="replay")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, required=True,
    help="A threshold, or another setting of decisions, duplicates or the mix.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path),
    help="Folder of the result; by default `curate-replay` next to the stage's.",
)  # fmt: skip
@click.option(
    "--crawl", metavar="DIR", type=click.Path(path_type=Path),
    help="The crawl folder, when RUN is the folder of a curate stage that ran alone.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
def replay_run(
    run_dir: Path, overrides: tuple[str, ...], out: Path | None, crawl: Path | None, as_json: bool
) -> None:
    """Decide again with other thresholds; no text is read from the crawl or measured again.

    The first run stays as it is. Prints what is kept and every reason that changed.

    \b
    Example:
      tongwen curate replay runs/sample --set curate.english.minimum_words=80
    """
    from tongwen.curate.outcome.replay import changes, changes_text, replay

    before, after = replay(run_dir, overrides, run_alone, out, crawl)
    rows = changes(before, after)
    if as_json:
        click.echo(json.dumps([vars(row) for row in rows], ensure_ascii=False, indent=1))
    else:
        click.echo(changes_text(rows))


command.add_command(calibrate_rules)
command.add_command(label)
command.add_command(prove)
command.add_command(train_extractor)
command.add_command(train_scorer)
