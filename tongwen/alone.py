"""One stage alone, on the user's own files, with the road's manifests, resume and messages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tongwen.errors import UsageError
from tongwen.flow.manifest import Manifest

if TYPE_CHECKING:
    from tongwen.flow.local import LocalRunner

Function = TypeVar("Function", bound=Callable[..., Any])


def stage_options(function: Function) -> Function:
    """Add `--out`, `--recipe` and `--set`, the options every stage command has."""
    options = (
        click.option("--out", "out", type=click.Path(path_type=Path), required=True, metavar="DIR",
                     help="Folder of the results; the same command again continues."),
        click.option("--recipe", metavar="RECIPE", help="Preset or TOML file with the settings."),
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True,
                     help="Override a key of the recipe."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def run_alone(
    name: str,
    *,
    inputs: Mapping[str, Path],
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
    runner: "LocalRunner | None" = None,
) -> Manifest | None:
    """Run the stage `name` with the given input folders into `out`.

    Under torchrun every process calls this; the first gives the manifest.

    Args:
        name: of the stage.
        inputs: role -> folder, as the stage's `reads` names the roles.
        out: the stage's folder; it also holds the lock and the log.
        recipe: preset or file; without one the defaults hold.
        overrides: `section.key=value`.
        runner: what runs the tasks; the recipe decides when None.

    Raises:
        TongwenError: the recipe leaves the stage out, an input is missing, or the stage failed.
    """
    from tongwen.flow.group import is_first_process, world_size
    from tongwen.flow.stage import follow_stage, locked, run_stage
    from tongwen.progress import Progress
    from tongwen.recipe.loader import load_recipe
    from tongwen.road.stages import ROAD

    stage = next(stage for stage in ROAD if stage.name == name)
    loaded = load_recipe(recipe or "defaults", overrides)
    if getattr(loaded, name, True) is None:
        raise UsageError(
            f"the recipe {recipe or 'defaults'} has no [{name}] section",
            hint=f"name a recipe that has one: --recipe sample, or --set {name}.KEY=VALUE",
        )
    missing = [role for role in stage.reads if role not in {*inputs, *stage.optional}]
    if missing:
        raise UsageError(f"{name} needs its input `{missing[0]}`", hint=f"tongwen {name} --help")
    if world_size() > 1 and not stage.is_grouped:
        raise UsageError(
            f"{name} runs in one process, torchrun started {world_size()}",
            hint=f"call `tongwen {name}` without torchrun",
        )
    if not is_first_process():
        return follow_stage(stage, loaded, inputs, out)
    with locked(out):
        manifest, _ = run_stage(stage, loaded, inputs, out, out, Progress(), runner)
        return manifest
