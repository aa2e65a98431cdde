"""`tongwen prune`: remove checkpoints that are no longer needed."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tongwen.errors import UsageError

if TYPE_CHECKING:
    from tongwen.train.retention import Pruned


@click.command(name="prune")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--others", is_flag=True, help="Also all of runs with other settings.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also what finished runs keep for good: nothing can branch from them then.",
)
@click.option(
    "--weights-only",
    is_flag=True,
    help="Turn what is kept of finished runs into model folders, without optimizer states.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be removed.")
def command(run: Path, others: bool, everything: bool, weights_only: bool, dry_run: bool) -> None:
    """Remove checkpoints below RUN, a run directory or a stage's folder, that are no longer needed.

    Of finished runs their milestones (keep_every_steps) and the last checkpoint before a decay
    stay; unfinished runs are left alone. Models and metrics are never touched. With --weights-only
    `step-00001000` becomes the model folder `model-00001000`, a third of its size, which
    can be evaluated and served; no other run can branch from it then.

    \b
    Examples:
      tongwen prune runs/yi-6b --dry-run
      tongwen prune runs/yi-6b --others
      tongwen prune runs/yi-6b --weights-only
    """
    if everything and weights_only:
        raise UsageError("--all leaves nothing for --weights-only", hint="leave out one of the two")
    from tongwen.flow.stage import locked
    from tongwen.train.retention import CHECKPOINTS, prune

    folders = sorted(path for path in run.rglob(CHECKPOINTS) if path.is_dir())
    if not folders:
        raise UsageError(
            f"no checkpoints below {run}", hint="name a run directory, such as runs/yi-6b"
        )
    total = 0
    for folder in folders:
        with contextlib.ExitStack() as held:
            for place in {folder.parent, *([run] if (run / ".lock").exists() else [])}:
                held.enter_context(locked(place))
            found = prune(folder, others=others, everything=everything, is_trial=dry_run)
            if weights_only:
                found += _weights_only(folder, dry_run=dry_run)
        for item in found:
            kept = ", ".join(path.name for path in item.kept) or "nothing"
            removed = ", ".join(path.name for path in item.removed) or "nothing"
            click.echo(f"{item.folder} ({item.why}): {removed} removed, {kept} kept")
            total += item.bytes
    click.echo(f"{total:,} bytes ({total / 2**20:,.1f} MiB) {'would be ' * dry_run}removed")


def _weights_only(folder: Path, *, dry_run: bool) -> "list[Pruned]":
    from tongwen.train.milestones import keep_weights_only

    turned = keep_weights_only(folder, is_trial=dry_run)
    return [] if turned is None else [turned]
