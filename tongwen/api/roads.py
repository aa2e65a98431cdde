"""Recipes, runs of all stages, and single stages."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tongwen.errors import UsageError
from tongwen.flow.manifest import Manifest
from tongwen.progress import Progress
from tongwen.road import recipe as recipes
from tongwen.road import run
from tongwen.road.alone import run_loaded
from tongwen.road.recipe import Recipe
from tongwen.road.run import RoadResult
from tongwen.road.stages import ROAD


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a preset (`smallest`, `sample`, ...) or of a TOML file: frozen dataclasses.

    Args:
        name: preset or path of a file.
        overrides: `section.key=value`, as `--set` takes them.

    Raises:
        RecipeError: not found, not TOML, an unknown key, a wrong type or an impossible value.

    Example:
        >>> tongwen.load_recipe("smallest", ["run.workers=1"]).run.workers
        1
    """
    return recipes.load_recipe(os.fspath(name), overrides)


def run_road(
    recipe: Recipe | str | Path,
    folder: str | Path | None = None,
    *,
    until: str | None = None,
    quiet: bool = False,
) -> RoadResult:
    """Run every stage of a recipe that is not up to date; the same call again continues.

    Stages start worker processes, so a script calls this below `if __name__ == "__main__":`.

    Args:
        recipe: loaded, or the name of a preset, or a file.
        folder: the run directory; `runs/NAME` with the recipe's `run.name` when None.
        until: name of the last stage to run; all when None.
        quiet: print nothing to stderr.

    Raises:
        TongwenError: what a stage raised; finished stages are kept.
        UsageError: there is no stage `until`, or another process uses the folder.
    """
    names = [stage.name for stage in ROAD]
    if until is not None and until not in names:
        raise UsageError(f"there is no stage {until!r}", hint=f"stages: {', '.join(names)}")
    recipe = _loaded(recipe)
    run_dir = Path(folder) if folder is not None else Path("runs") / recipe.run.name
    with _progress(quiet) as progress:
        return run.run_road(recipe, run_dir, progress, until=until)


def run_stage(
    name: str,
    recipe: Recipe | str | Path = "defaults",
    *,
    inputs: Mapping[str, str | Path] | None = None,
    out: str | Path,
    quiet: bool = False,
) -> Manifest | None:
    """Run one stage on folders of your own, unless it is up to date.

    Args:
        name: crawl, curate, tokenizer, encode, plan, pretrain, extend, tune, evaluate, quantize or
            export.
        recipe: loaded, or the name of a preset, or a file.
        inputs: role -> folder: `crawl` for curate, `documents` for tokenizer, and so on.
        out: the stage's folder.
        quiet: print nothing to stderr.

    Returns:
        The stage's manifest: its outputs, counts and cost. None in all but the first process of
        torchrun when the stage was run.

    Raises:
        TongwenError: the recipe leaves the stage out, an input is missing, or the stage failed.
    """
    names = [stage.name for stage in ROAD]
    if name not in names:
        raise UsageError(f"there is no stage {name!r}", hint=f"stages: {', '.join(names)}")
    folders = {role: Path(folder) for role, folder in (inputs or {}).items()}
    with _progress(quiet) as progress:
        return run_loaded(name, _loaded(recipe), inputs=folders, out=Path(out), progress=progress)


def _loaded(recipe: Recipe | str | Path) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    with Path(os.devnull).open("w", encoding="utf-8") as silence:
        yield Progress(silence) if quiet else Progress()
