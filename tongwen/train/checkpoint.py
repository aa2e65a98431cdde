"""Checkpoints: a run's whole state, complete or absent."""

import os
import uuid
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch

from tongwen.files import (
    disk_errors,
    file_digest,
    read_json,
    remove_tree,
    sync_directory,
    write_json,
)
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.train.optim import Optimizer

STATE = "state.pt"
COMPLETE = "_COMPLETE"


@dataclass
class Position:
    """How far a run has come; everything else in it is a function of this and its inputs.

    Attributes:
        fingerprint: of model, settings and data order; another run's checkpoint has another.
        step: optimizer steps done, skipped ones included.
        samples: sequences consumed.
        targets: tokens that were in the loss.
        skipped_steps: steps left out because the loss or gradient was not finite.
        skipped_in_a_row: of these, the ones since the last good step.
        seconds: time spent training, over all resumptions.
        wall_seconds: from the first start, time between resumptions left out.
        ledger: seconds by part (`ledger.PARTS`).
        rollbacks: how often the run went back to a checkpoint.
        recent_losses: of the last accepted steps, for the guard.
        recent_norms: their gradients'.
    """

    fingerprint: str
    step: int = 0
    samples: int = 0
    targets: int = 0
    skipped_steps: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0
    ledger: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0
    recent_losses: list[float] = field(default_factory=list)
    recent_norms: list[float] = field(default_factory=list)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**{item.name: values[item.name] for item in fields(cls)})


def checkpoint_folder(checkpoints: Path, fingerprint: str, progress: Progress) -> Path:
    """The folder of one run's checkpoints.

    Those of runs with another model, other settings or data lie beside it. They may have cost
    days, so they are never removed here; the user is told about them.
    """
    folder = checkpoints / fingerprint[:12]
    others = [path for path in checkpoints.glob("*/step-*") if path.parent != folder]
    if others:
        size = sum(path.stat().st_size for other in others for path in other.iterdir())
        progress.say(
            f"  {len(others)} checkpoints of other models, settings or data stay in {checkpoints} "
            f"({size / 2**20:,.0f} MiB)"
        )
    return folder


def save_checkpoint(
    folder: Path, position: Position, model: Llama, optimizer: Optimizer, keep: int
) -> None:
    """Write a checkpoint below `folder` and remove all but the `keep` newest.

    The marker with the state's digest is written last, when everything else is on disk.

    Raises:
        DiskFullError: no space is left; the checkpoints before it stay valid.
    """
    path = folder / f"step-{position.step:08d}"
    partial = folder / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with disk_errors(path):
            partial.mkdir(parents=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            with (partial / STATE).open("wb") as file:
                _save(state, file)
                file.flush()
                os.fsync(file.fileno())
            marker = {"position": asdict(position), "digest": file_digest(partial / STATE)}
            remove_tree(path)
            partial.rename(path)
            sync_directory(folder)
            write_json(path / COMPLETE, marker)
    finally:
        remove_tree(partial)
    for old in _checkpoints(folder)[:-keep]:
        remove_tree(old)


def load_checkpoint(
    folder: Path,
    fingerprint: str,
    model: Llama,
    optimizer: Optimizer,
    progress: Progress,
) -> Position:
    """Bring model and optimizer to the newest valid checkpoint in `folder`; give the position.

    Damaged checkpoints are passed over with a message, half-written ones removed. Without any,
    the position is the start.
    """
    for leftover in folder.glob(".*.partial"):
        remove_tree(leftover)
    for path in reversed(_checkpoints(folder)):
        try:
            marker = read_json(path / COMPLETE)
            position = Position.from_json(marker["position"])
            if position.fingerprint != fingerprint:
                raise ValueError("it belongs to another run")
            if file_digest(path / STATE) != marker["digest"]:
                raise ValueError("its content has changed since it was written")
            state = torch.load(path / STATE, map_location="cpu", weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            progress.say(f"  {path.name} is damaged and passed over: {error}")
            continue
        return position
    return Position(fingerprint)


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoint folders, oldest first, whole or not."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _save(state: dict[str, Any], file: Any) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:
        # torch's writer reports a failed write as an error of its own, with the true one behind.
        cause = error.__context__
        if isinstance(cause, OSError):
            raise cause from error
        raise
