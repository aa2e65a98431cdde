"""`tongwen run`: all stages of one recipe."""

from pathlib import Path

import click

from tongwen.cli.options import complete_recipe, complete_stage


@click.command(name="run")
@click.argument("recipe", shell_complete=complete_recipe)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key.")
@click.option("--runs", default="runs", show_default=True, help="Folder of the run directories.")
@click.option(
    "--until", metavar="STAGE", help="Stop after this stage.", shell_complete=complete_stage
)
@click.option("--dry-run", is_flag=True, help="Check the recipe and list the stages; run nothing.")
def command(
    recipe: str, overrides: tuple[str, ...], runs: str, until: str | None, dry_run: bool
) -> None:
    """Run all stages of RECIPE, the name of a preset or a TOML file.

    Run the same command again to continue a stopped run; what is up to date is not run again.

    \b
    Examples:
      tongwen run sample
      tongwen run sample --set run.name=mine --set pretrain.peak_learning_rate=2e-3
      tongwen run my-recipe.toml --until curate
    """
    from tongwen.errors import UsageError
    from tongwen.progress import Progress
    from tongwen.report.problems import build_problems, problems_text
    from tongwen.report.run_files import RunFiles
    from tongwen.road.check import check_road
    from tongwen.road.recipe import load_recipe
    from tongwen.road.run import run_road, stages_of, stages_until

    loaded = load_recipe(recipe, overrides)
    names = [stage.name for stage in stages_of(loaded)]
    if until is not None and until not in names:
        raise UsageError(
            f"--until {until}: no such stage in this recipe", hint=f"stages: {', '.join(names)}"
        )
    if dry_run:
        stages = stages_until(loaded, until)
        check_road(loaded, stages)
        click.echo("\n".join(stage.name for stage in stages))
        return
    run_dir = Path(runs) / loaded.run.name
    result = run_road(loaded, run_dir, Progress(), until=until)
    if result.report is not None:
        click.echo(f"report: {result.report}")
    problems = problems_text(build_problems(RunFiles(run_dir)))
    if problems:
        click.echo(f"problem: {problems}", err=True)
    if "export" in result.manifests:
        click.echo(f"chat:   tongwen serve {run_dir}")
