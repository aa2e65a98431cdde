"""`tongwen report`: one offline page about a run."""

import json
from pathlib import Path

import click


@click.command(name="report")
@click.argument("run_dir", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("others", metavar="[OTHER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write nothing; print the figures as JSON.")
def command(run_dir: Path, others: tuple[Path, ...], as_json: bool) -> None:
    """Write report.html, report.md and report.zh.md into RUN, also while it is still running.

    RUN is a run directory or the folder of one training stage. The training curves of every OTHER
    are drawn over its own.

    \b
    Examples:
      tongwen report runs/sample
      tongwen report runs/sample runs/sample-muon
      tongwen report runs/sample --json
    """
    from tongwen.report.build import build_report, report_content
    from tongwen.report.summary import report_summary

    if as_json:
        summary = report_summary(report_content(run_dir, others))
        click.echo(json.dumps(summary, ensure_ascii=False, indent=1))
    else:
        click.echo(build_report(run_dir, others))
