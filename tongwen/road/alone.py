"""One stage alone, on the user's own files, with manifests, resume and messages as in a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongwen.errors import UsageError
from tongwen.flow.manifest import Manifest

if TYPE_CHECKING:
    from tongwen.flow.runner import Runner
    from tongwen.progress import Progress
    from tongwen.road.recipe import Recipe


def run_alone(
    name: str,
    *,
    inputs: Mapping[str, Path],
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
    options: Mapping[str, Any] = {},
    runner: "Runner | None" = None,
) -> Manifest | None:
    """Run the stage `name` with the given input folders into `out`.

    Under torchrun every process calls this; the first returns the manifest.

    Args:
        name: of the stage.
        inputs: role -> folder, as the stage's `reads` names the roles.
        out: the stage's folder; it also holds the lock and the log.
        recipe: preset or file; without one the defaults hold.
        overrides: `section.key=value`.
        options: `section.key` -> value, of the command's own options; `overrides` go over them.
        runner: what runs the tasks; the recipe decides when None.

    Raises:
        TongwenError: the recipe leaves the stage out, an input is missing, or the stage failed.
    """
    from tongwen.road.recipe import load_recipe

    loaded = load_recipe(recipe or "defaults", overrides, options)
    if getattr(loaded, name, True) is None:
        raise UsageError(
            f"the recipe {recipe or 'defaults'} has no [{name}] section",
            hint=f"name a recipe that has one: --recipe sample, or --set {name}.KEY=VALUE",
        )
    return run_loaded(name, loaded, inputs=inputs, out=out, runner=runner)


def run_loaded(
    name: str,
    recipe: "Recipe",
    *,
    inputs: Mapping[str, Path],
    out: Path,
    runner: "Runner | None" = None,
    progress: "Progress | None" = None,
) -> Manifest | None:
    """As `run_alone`, with a recipe that is loaded already.

    Raises:
        TongwenError: the recipe leaves the stage out, an input is missing, or the stage failed.
    """
    from tongwen.flow.group import is_first_process, world_size
    from tongwen.flow.stage import follow_stage, locked, run_stage
    from tongwen.progress import Progress
    from tongwen.road.needed import check_packages
    from tongwen.road.stages import ROAD, stage_call

    stage = next(stage for stage in ROAD if stage.name == name)
    if getattr(recipe, name, True) is None:
        raise UsageError(f"the recipe has no [{name}] section", hint="take one that has")
    missing = [role for role in stage.reads if role not in {*inputs, *stage.optional}]
    if missing:
        raise UsageError(f"{name} needs its input `{missing[0]}`", hint=f"tongwen {name} --help")
    if world_size() > 1 and not stage.is_grouped:
        raise UsageError(
            f"{name} runs in one process, torchrun started {world_size()}",
            hint=f"call `tongwen {name}` without torchrun",
        )
    check_packages(recipe, [name])
    call = stage_call(stage, recipe)
    if not is_first_process():
        return follow_stage(call, inputs, out)
    with locked(out):
        manifest, _ = run_stage(call, inputs, out, out, progress or Progress(), runner)
        return manifest
