"""Which checkpoints of a run are kept, while it goes on and after its end."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tongwen.files import read_json, remove_tree, write_json
from tongwen.train.optim.schedule import last_constant_step
from tongwen.train.settings import TrainSettings

CHECKPOINTS = "checkpoints"
CURRENT = "_CURRENT"
"""Below `checkpoints/`, names the run whose metrics and model are in the stage's folder."""
FINISHED = "_FINISHED"
_RETENTION = "retention.json"


@dataclass(frozen=True)
class Retention:
    """What a run's settings ask to keep.

    Attributes:
        newest: so many, while the run goes on.
        every: for good, those whose step is a multiple of it.
        branch_point: for good, the last one at the peak rate; None where there is none.
        averaged: so many regular ones, until their mean is written.
        regular: a checkpoint is regular when its step is a multiple of this.
        last: step at which the run ends.
    """

    newest: int
    every: int | None
    branch_point: int | None
    averaged: int
    regular: int
    last: int

    @classmethod
    def of(cls, settings: TrainSettings) -> Self:
        return cls(
            newest=settings.keep_checkpoints,
            every=settings.keep_every_steps,
            branch_point=last_constant_step(settings),
            averaged=settings.average_last or 0,
            regular=settings.checkpoint_every_steps,
            last=settings.steps,
        )

    def is_kept_for_good(self, step: int) -> bool:
        """Whether the checkpoint is kept after the run's end."""
        return step == self.branch_point or (self.every is not None and step % self.every == 0)

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint must be written here, however long the others are apart."""
        return self.is_kept_for_good(step) or (self.averaged > 0 and step % self.regular == 0)

    def averaged_steps(self, steps: Collection[int]) -> list[int]:
        """Of the checkpoints at `steps` those whose weights are averaged, ascending.

        Where a run was stopped does not count, so a resumed run averages what another would.
        """
        regular = sorted(step for step in steps if step % self.regular == 0 or step == self.last)
        return regular[-self.averaged :] if self.averaged else []

    def superfluous(self, steps: Collection[int], *, is_finished: bool) -> list[int]:
        """Of the checkpoints at `steps` those to remove, ascending."""
        kept = {step for step in steps if self.is_kept_for_good(step)}
        if not is_finished:
            kept |= {*sorted(steps)[-self.newest :], *self.averaged_steps(steps)}
        return sorted({*steps} - kept)

    def write(self, folder: Path) -> None:
        """Leave it in a run's folder of checkpoints, for `prune`."""
        write_json(folder / _RETENTION, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """As `write` left it; None for runs of older releases."""
        try:
            return cls(**read_json(folder / _RETENTION))
        except (OSError, ValueError, TypeError):
            return None


def step_folder(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def by_step(folder: Path) -> list[Path]:
    """All checkpoint folders of a run, oldest first, whole or not."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of all files below some folders."""
    return sum(file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file())


@dataclass(frozen=True)
class Pruned:
    """What was removed of one run.

    Attributes:
        folder: its checkpoints.
        removed: step folders that are gone.
        kept: those that stay.
        bytes: of what was removed.
        why: which state the run is in.
    """

    folder: Path
    removed: tuple[Path, ...]
    kept: tuple[Path, ...]
    bytes: int
    why: str


def prune(
    checkpoints: Path, *, others: bool = False, everything: bool = False, is_trial: bool = False
) -> list[Pruned]:
    """Remove the checkpoints that nothing asks for, of every run below `checkpoints`.

    Of a finished run what its settings keep for good stays; an unfinished one is left alone.

    Args:
        checkpoints: folder of all runs of a stage.
        others: also remove all of runs with other settings than the current one, finished or not.
        everything: also what finished runs keep for good: no other run can branch from them then.
        is_trial: remove nothing.
    """
    current = checkpoints / CURRENT
    name = current.read_text("utf-8").strip() if current.exists() else None
    found = []
    for folder in sorted(path for path in checkpoints.iterdir() if path.is_dir()):
        steps = by_step(folder)
        retention = Retention.read(folder)
        is_other = name is not None and folder.name != name
        if others and is_other:
            removed, why = steps, "other settings"
        elif not (folder / FINISHED).exists():
            removed, why = [], "unfinished"
        elif everything or retention is None:
            removed, why = steps, "finished"
        else:
            numbers = retention.superfluous([step_of(path) for path in steps], is_finished=True)
            removed, why = [path for path in steps if step_of(path) in numbers], "finished"
        leftovers = [*folder.glob(".*.partial")] if why != "unfinished" or is_other else []
        size = size_of([*removed, *leftovers])
        if not is_trial:
            for path in (*removed, *leftovers):
                remove_tree(path)
        kept = tuple(path for path in steps if path not in removed)
        found.append(Pruned(folder, tuple(removed), kept, size, why))
    return found
