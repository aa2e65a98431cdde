"""`tongwen report`: one offline page about a run."""

from pathlib import Path

import click


@click.command(name="report")
@click.argument("run_dir", type=click.Path(path_type=Path))
def command(run_dir: Path) -> None:
    """Write RUN_DIR/report.html from the files of the run, also of one still at work.

    \b
    Example:
      tongwen report runs/sample
    """
    from tongwen.report.build import build_report

    click.echo(build_report(run_dir))
