"""Run every stage of a recipe that is not up to date."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.files import disk_errors, read_json, write_text
from tongwen.flow.manifest import Manifest
from tongwen.flow.stage import Stage, locked, run_stage
from tongwen.progress import Progress
from tongwen.road.check import check_road
from tongwen.road.recipe import Recipe, recipe_text
from tongwen.road.stages import ROAD, stage_call


@dataclass(frozen=True)
class RoadResult:
    """What a run left behind.

    Attributes:
        manifests: stage name -> manifest, for the stages of this recipe.
        changed: names of the stages that were run; the others were up to date.
        report: the report page, or None when there is none.
    """

    manifests: Mapping[str, Manifest]
    changed: tuple[str, ...]
    report: Path | None


def stages_of(recipe: Recipe) -> list[Stage]:
    """The stages that the recipe asks for, in order.

    A stage whose section is None is left out, and with it every stage none of whose
    candidates for a role is in the recipe.
    """
    chosen: list[Stage] = []
    names: set[str] = set()
    for stage in ROAD:
        is_wanted = getattr(recipe, stage.name, True) is not None
        is_fed = all(
            role in stage.optional or names.intersection(candidates)
            for role, candidates in stage.reads.items()
        )
        if is_wanted and is_fed:
            chosen.append(stage)
            names.add(stage.name)
    return chosen


def stages_until(recipe: Recipe, until: str | None) -> list[Stage]:
    """`stages_of` as far as the stage `until`, or all of them."""
    stages = stages_of(recipe)
    names = [stage.name for stage in stages]
    return stages[: names.index(until) + 1] if until in names else stages


def stage_inputs(stage: Stage, names: set[str], stages_dir: Path) -> dict[str, Path]:
    """Role -> folder of the stage that plays it."""
    inputs = {}
    for role, candidates in stage.reads.items():
        player = next((name for name in candidates if name in names), None)
        if player is not None:
            inputs[role] = stages_dir / player
    return inputs


def run_road(
    recipe: Recipe, run_dir: Path, progress: Progress, *, until: str | None = None
) -> RoadResult:
    """Run the stages of `recipe` in `run_dir`; the same call again continues or does nothing.

    Raises:
        RecipeError: the stages do not fit together; nothing has been run.
        TongwenError: what a stage raised; finished stages are kept.
    """
    check_road(recipe, stages_until(recipe, until))
    with locked(run_dir):
        write_text(run_dir / "recipe.toml", recipe_text(recipe))
        manifests: dict[str, Manifest] = {}
        changed: list[str] = []
        for stage in stages_until(recipe, until):
            out = run_dir / "stages" / stage.name
            inputs = stage_inputs(stage, set(manifests), run_dir / "stages")
            manifest, ran = run_stage(stage_call(stage, recipe), inputs, out, run_dir, progress)
            manifests[stage.name] = manifest
            if ran:
                changed.append(stage.name)
        if "export" in manifests:
            _link(run_dir / "model", Path("stages/export/model"))
        if "evaluate" in changed:
            _say_scores(run_dir / "stages" / "evaluate", progress)
        report = _report(run_dir, progress, is_fresh=not changed)
        return RoadResult(manifests, tuple(changed), report)


def _link(path: Path, target: Path) -> None:
    """Make `path` a relative link to `target`, replacing an older one in one move."""
    if path.is_symlink() and path.readlink() == target:
        return
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path):
        partial.unlink(missing_ok=True)
        partial.symlink_to(target, target_is_directory=True)
        partial.replace(path)


def _say_scores(out: Path, progress: Progress) -> None:
    from tongwen.evaluate.results import table

    for line in table(read_json(out / "results.json")["results"]).splitlines():
        progress.say(f"  {line}")


def _report(run_dir: Path, progress: Progress, *, is_fresh: bool) -> Path:
    report = run_dir / "report.html"
    if not (is_fresh and report.is_file()):
        from tongwen.report.build import build_report

        progress.say("report: written")
        build_report(run_dir)
    return report
