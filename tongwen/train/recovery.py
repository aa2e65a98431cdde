"""What a run can return to: its checkpoints, the way back after a spike, and where time went."""

import time
from dataclasses import replace

import torch
from torch import nn

from tongwen.errors import TongwenError
from tongwen.train.branch import Branch, find_branch
from tongwen.train.checkpoint import Checkpoints, Position
from tongwen.train.curves import hand_over
from tongwen.train.guard import checkpoint_steps
from tongwen.train.identity import run_identity
from tongwen.train.job import Job
from tongwen.train.metrics import METRICS, Ledger, MetricsLog
from tongwen.train.optim.build import Optimizer
from tongwen.train.parallel.mesh import Processes
from tongwen.train.retention import CHECKPOINTS, Retention

_SKIPS_BEFORE_ROLLBACK = 10  # one bad batch passes; ten in a row are the weights


class DivergedError(TongwenError):
    """The loss or its gradient kept spiking or was not finite, also after going back."""


def find_run(job: Job, processes: Processes) -> tuple[Job, Branch | None]:
    """The run to train: as asked, or as it goes on from another one in the same folder.

    Gives also where it branches.
    """
    first_weights = processes.broadcast(job.weights.digest() if processes.is_first else None)
    found = find_branch(job, first_weights) if processes.is_first else None
    branch = processes.broadcast(found)
    return (job if branch is None else replace(job, settings=branch.settings)), branch


def open_checkpoints(
    job: Job, processes: Processes, device: torch.device, branch: Branch | None = None
) -> Checkpoints:
    """The checkpoints of this very run below `job.out`.

    Args:
        job: the run.
        processes: that train it.
        device: of the model.
        branch: where it goes on from another one.

    Raises:
        InputError: the folder holds an unfinished run with other settings or data, which this one
            cannot go on from.
    """
    settings = job.settings
    first_weights = processes.broadcast(job.weights.digest() if processes.is_first else None)
    identity = run_identity(job.weights.config, first_weights, settings, job.data.fingerprint_parts)
    checkpoints = Checkpoints(
        job.out / CHECKPOINTS,
        identity,
        processes,
        retention=Retention.of(settings),
        in_background=settings.checkpoint_in_background == "yes"
        or (settings.checkpoint_in_background == "auto" and device.type != "cpu"),
        progress=job.progress,
    )
    may_begin = settings.changed_run == "restart" or branch is not None
    checkpoints.open(restart=may_begin, code=job.code)
    if processes.is_first:
        trunk, step = (None, 0) if branch is None else (branch.folder, branch.step)
        hand_over(job.out, checkpoints.folder, trunk, step)
    processes.broadcast(None)  # nobody reads before the files are the run's own
    return checkpoints


class Recovery:
    """One process's share of a run's state on disk, and the position that it has reached.

    Args:
        job: the run.
        processes: that train it.
        checkpoints: opened, and loaded from where `position` is not the start.
        position: where the run begins or continues.
        model: its weights are saved, and restored by `roll_back`.
        optimizer: likewise.

    Attributes:
        position: advanced by the training loop.
        metrics: `metrics.jsonl`, cut back to the position.
        ledger: seconds by part.
    """

    def __init__(
        self,
        job: Job,
        processes: Processes,
        checkpoints: Checkpoints,
        position: Position,
        model: nn.Module,
        optimizer: Optimizer,
    ) -> None:
        self._job = job
        self._processes = processes
        self._checkpoints = checkpoints
        self._model = model
        self._optimizer = optimizer
        self._steps_between = job.settings.checkpoint_every_steps
        self._retention = Retention.of(job.settings)
        self.position = position
        self.metrics = MetricsLog(job.out / METRICS, position.step, is_writer=processes.is_first)
        for name, problem in checkpoints.damaged.items():
            self.metrics.append(
                kind="damaged_checkpoint", step=position.step, checkpoint=name, problem=problem
            )
        self.ledger = Ledger(position.ledger)
        self.ledger.seconds["repeated"] += self.metrics.dropped_seconds
        lost = position.wall_seconds + self.metrics.dropped_seconds
        self._started = time.monotonic() - lost

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint is due; none is within a spike, to go back to before it."""
        position = self.position
        is_due = position.step % self._steps_between == 0 or self._retention.is_due(position.step)
        return is_due and not position.skipped_in_a_row

    @property
    def must_roll_back(self) -> bool:
        """Whether so many steps in a row were skipped that going on is of no use."""
        return self.position.skipped_in_a_row >= _SKIPS_BEFORE_ROLLBACK

    @property
    def is_written(self) -> bool:
        """Whether this process's part of a begun checkpoint is on disk."""
        return self._checkpoints.is_written

    def save(self) -> None:
        """Begin to write a checkpoint; it counts when `finish_checkpoint` has been called."""
        if not self._job.is_kept:
            return
        position, settings = self.position, self._job.settings
        position.ledger = dict(self.ledger.seconds)
        position.wall_seconds = self.seconds
        started = time.monotonic()
        with self.ledger.time("checkpoints"):
            self._checkpoints.save(position, self._model, self._optimizer)
        if settings.hours_between_failures is not None:
            steps = checkpoint_steps(
                save_seconds=time.monotonic() - started,
                step_seconds=position.seconds / max(1, position.step),
                failure_seconds=3600 * settings.hours_between_failures,
            )
            self._steps_between = self._processes.broadcast(steps)  # all save at the same step

    def finish_checkpoint(self) -> None:
        """Wait for the checkpoint that is being written, and make it valid."""
        with self.ledger.time("checkpoints"):
            self._checkpoints.finish()

    def roll_back(self) -> None:
        """Return to the last checkpoint, and go on with the data behind the spike.

        Raises:
            DivergedError: that was done too often, or there is no checkpoint yet.
        """
        spiked = self.position
        restored = self._checkpoints.load(self._model, self._optimizer)
        if restored is None or restored.rollbacks >= self._job.settings.rollbacks:
            raise DivergedError(
                f"{spiked.skipped_in_a_row} steps in a row, up to step {spiked.step:,}, had a loss "
                "or gradient that was not finite or a spike",
                hint="lower peak_learning_rate or raise warmup_share; "
                "the rows `skipped` of metrics.jsonl show where it began",
            )
        self._job.progress.say(
            f"  {spiked.skipped_in_a_row} steps in a row spiked: back to step {restored.step:,}, "
            f"past {spiked.samples - restored.samples:,} sequences"
        )
        self.metrics.append(
            kind="rollback", step=restored.step, from_step=spiked.step, samples=spiked.samples
        )
        repeated = self.ledger.seconds["steps"] - restored.ledger.get("steps", 0.0)
        self.ledger.move(max(0.0, repeated), "repeated")
        restored.samples = spiked.samples
        restored.skipped_steps = spiked.skipped_steps
        restored.skipped_in_a_row = 0
        restored.rollbacks += 1
        self.position = restored
        self.save()  # a kill from here on must not meet the same data again

    @property
    def seconds(self) -> float:
        """Wall-clock since the run's first start, without the time it did not run."""
        return time.monotonic() - self._started

    def time_shares(self) -> dict[str, float]:
        """Each part's share of the time since the run's first start."""
        return self.ledger.shares(self.seconds)
