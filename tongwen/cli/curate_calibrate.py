"""`tongwen curate calibrate`: thresholds of the rules from texts that are known to be good."""

import json
from pathlib import Path

import click


@click.command(name="calibrate")
@click.argument(
    "references", metavar="REFERENCE...", nargs=-1, required=True,
    type=click.Path(path_type=Path, exists=True),
)  # fmt: skip
@click.option("--recipe", metavar="RECIPE", help="Preset or TOML file with the current thresholds.")
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the recipe."
)
@click.option(
    "--keep-share", metavar="SHARE", type=float, default=0.99, show_default=True,
    help="Share of the reference that each rule keeps; 0.9 cuts at the 10th and 90th percentile.",
)  # fmt: skip
@click.option("--text-field", metavar="NAME", default="text", show_default=True,
              help="Field or column with the text.")  # fmt: skip
@click.option(
    "--run", "run_dir", metavar="DIR", type=click.Path(path_type=Path, exists=True),
    help="Run directory or folder of a curate stage: also count what the rules would drop there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def calibrate_rules(
    references: tuple[Path, ...],
    recipe: str | None,
    overrides: tuple[str, ...],
    keep_share: float,
    text_field: str,
    run_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure all rule values on texts you trust and print thresholds that keep them.

    REFERENCE is a JSONL, Parquet or text file, a folder of them, or the folder of a finished curate
    stage. The output can be pasted into a recipe.

    \b
    Examples:
      tongwen curate calibrate encyclopedia.jsonl.zst books/ --keep-share 0.95
      tongwen curate calibrate good.parquet --run runs/first > thresholds.toml
    """
    from tongwen.curate.names import LANGUAGES
    from tongwen.curate.records.folders import curate_folder
    from tongwen.curate.rules.calibrate import (
        calibrate,
        calibration_toml,
        reference_values,
        run_values,
    )
    from tongwen.road.recipe import load_recipe

    settings = load_recipe(recipe or "defaults", overrides).curate
    reference, languages = reference_values(references, text_field)
    for language, number in languages.most_common():
        if language not in LANGUAGES:
            click.echo(f"left out: {number:,} texts in {language or 'no language'}", err=True)
    run = run_values(curate_folder(run_dir)) if run_dir is not None else None
    found = calibrate(reference, settings, keep_share, run)
    if as_json:
        click.echo(json.dumps([item.to_json() for item in found], ensure_ascii=False, indent=1))
    else:
        click.echo(calibration_toml(found, keep_share))
