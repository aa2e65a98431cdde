"""The one training loop, used by pretrain, extend and tune."""

import faulthandler
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tongwen.errors import TongwenError
from tongwen.model.folder import save_model_folder
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.train.checkpoint import (
    Position,
    checkpoint_folder,
    load_checkpoint,
    save_checkpoint,
)
from tongwen.train.data import Batch, PackedSequences
from tongwen.train.fingerprint import run_fingerprint
from tongwen.train.guard import checkpoint_steps, is_spike, remember
from tongwen.train.hardware import Arithmetic
from tongwen.train.ledger import Ledger
from tongwen.train.loss import cross_entropy_sum
from tongwen.train.metrics import MetricsLog
from tongwen.train.optim import Optimizer, build_optimizer
from tongwen.train.schedule import learning_rate
from tongwen.train.settings import TrainSettings
from tongwen.train.validation import ValidationSet, validation_loss

_SKIPS_BEFORE_ROLLBACK = 10


class DivergedError(TongwenError):
    """The loss or its gradient kept spiking or was not finite, also after going back."""


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        name: of the stage, for messages.
        settings: of the run.
        model: the weights to start from, float32.
        data: training sequences.
        validation: language -> sequences whose loss is measured on the way.
        tokenizer_folder: its files go into the model folder.
        out: folder of `checkpoints/`, `metrics.jsonl` and `model/`.
        progress: what the user sees.
    """

    name: str
    settings: TrainSettings
    model: Llama
    data: PackedSequences
    validation: Mapping[str, ValidationSet]
    tokenizer_folder: Path
    out: Path
    progress: Progress


def train(job: Job) -> dict[str, float]:
    """Train until the settings' last token, from the newest checkpoint; write the model folder.

    A run that was stopped at any moment and continued on the same machine ends with the same
    bytes as one that was not. Gives counts.

    Raises:
        DivergedError: the run kept spiking after it went back as often as it may.
        DiskFullError: a checkpoint or the model folder found no space; older ones stay.
        KeyboardInterrupt: after SIGINT or SIGTERM, when a checkpoint has been written.
    """
    settings = job.settings
    arithmetic = Arithmetic.of(settings)
    torch.set_flush_denormal(True)  # Adam's smallest moments would slow a CPU down
    fingerprint = run_fingerprint(job.model, settings, job.data.fingerprint, arithmetic)
    checkpoints = checkpoint_folder(job.out / "checkpoints", fingerprint, job.progress)
    model = job.model.to(arithmetic.device).train()
    optimizer = build_optimizer(model, settings)
    position = load_checkpoint(checkpoints, fingerprint, model, optimizer, job.progress)
    if position.step:
        job.progress.say(f"  continues after step {position.step:,} of {settings.steps:,}")
    run = _Run(job, arithmetic, model, optimizer, checkpoints, position)
    job.progress.start()
    with _stop_requested() as stop_requested:
        run.finish(stop_requested)
    job.progress.end()
    save_model_folder(job.out / "model", model, job.tokenizer_folder, torch.float32)
    return run.counts()


class _Run:
    """One process's share of a training run: what it holds, and its steps."""

    def __init__(
        self,
        job: Job,
        arithmetic: Arithmetic,
        model: Llama,
        optimizer: Optimizer,
        checkpoints: Path,
        position: Position,
    ) -> None:
        self.job = job
        self.settings = job.settings
        self.batches = job.settings.batches
        self.arithmetic = arithmetic
        self.model = model
        self.optimizer = optimizer
        self.checkpoints = checkpoints
        self.position = position
        self.first_step = position.step
        self.metrics = MetricsLog(job.out / "metrics.jsonl", position.step)
        self.ledger = Ledger(position.ledger)
        self.ledger.seconds["repeated"] += self.metrics.dropped_seconds
        lost = position.wall_seconds + self.metrics.dropped_seconds
        self.started = time.monotonic() - lost
        self.checkpoint_steps = job.settings.checkpoint_every_steps

    def finish(self, stop_requested: threading.Event) -> None:
        """All steps that are left, with validations and checkpoints on the way."""
        settings, position = self.settings, self.position
        while position.step < settings.steps:
            with hang_watch(settings.hang_minutes):
                row = self._step()
            self.metrics.append(**row)
            if position.skipped_in_a_row >= _SKIPS_BEFORE_ROLLBACK:
                self._roll_back()
                position = self.position
                continue
            is_last = position.step == settings.steps
            must_stop = stop_requested.is_set() and not is_last
            if is_last or position.step % settings.evaluate_every_steps == 0:
                with self.ledger.time("validation"):
                    self._validate()
            is_due = position.step % self.checkpoint_steps == 0 and not position.skipped_in_a_row
            if is_last or must_stop or is_due:  # none within a spike, to go back to before it
                self._save()
            if must_stop:
                self.job.progress.say(
                    f"  stopped after step {position.step:,}; a checkpoint is written"
                )
                raise KeyboardInterrupt
            self._show(row)

    def _step(self) -> dict[str, Any]:
        """One optimizer step; advances the position and gives its row of metrics."""
        settings, position, device = self.settings, self.position, self.arithmetic.device
        started = time.monotonic()
        tokens = self.batches.batch_tokens_of(position.step)
        sequences = tokens // settings.sequence_tokens
        with self.ledger.time("data"):
            batch = self.job.data.batch(position.samples, sequences)
        begun = time.monotonic()
        loss = torch.zeros((), device=device)
        for micro_batch in batch.split(settings.sequences_per_micro_batch):
            micro_loss = mean_loss(
                self.model, micro_batch.to(device), self.arithmetic.dtype, settings.z_loss
            )
            micro_loss.backward()  # type: ignore[no-untyped-call]
            loss += micro_loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.gradient_clip)
        loss_value, norm_value = loss.item(), norm.item()
        rate = learning_rate(settings, self.batches.tokens_before(position.step + 1))
        is_kept = not (
            is_spike(loss_value, position.recent_losses, settings.spike_sigmas)
            or is_spike(norm_value, position.recent_norms, settings.spike_sigmas)
        )
        if is_kept:
            self.optimizer.step(rate)
            remember(position.recent_losses, loss_value)
            remember(position.recent_norms, norm_value)
        self.optimizer.zero_grad()
        position.step += 1
        position.samples += sequences
        position.targets += batch.targets
        position.skipped_steps += not is_kept
        position.skipped_in_a_row = 0 if is_kept else position.skipped_in_a_row + 1
        seconds = time.monotonic() - started
        position.seconds += seconds
        self.ledger.seconds["steps" if is_kept else "skipped"] += time.monotonic() - begun
        return {
            "kind": "train",
            "step": position.step,
            "tokens": self.batches.tokens_before(position.step),
            "targets": batch.targets,
            "loss": loss_value if math.isfinite(loss_value) else None,
            "gradient_norm": norm_value if math.isfinite(norm_value) else None,
            "learning_rate": rate,
            "skipped": not is_kept,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
        }

    def _roll_back(self) -> None:
        """Return to the last checkpoint, and go on with the data behind the spike.

        Raises:
            DivergedError: that was done too often, or there is no checkpoint yet.
        """
        spiked = self.position
        restored = load_checkpoint(
            self.checkpoints, spiked.fingerprint, self.model, self.optimizer, self.job.progress
        )
        if not restored.step or restored.rollbacks >= self.settings.rollbacks:
            raise DivergedError(
                f"{spiked.skipped_in_a_row} steps in a row, up to step {spiked.step:,}, had a loss "
                "or gradient that was not finite or a spike",
                hint="lower peak_learning_rate or raise warmup_share; "
                "the rows `skipped` of metrics.jsonl show where it began",
            )
        self.job.progress.say(
            f"  {spiked.skipped_in_a_row} steps in a row spiked: back to step {restored.step:,}, "
            f"past {spiked.samples - restored.samples:,} sequences"
        )
        self.metrics.append(
            kind="rollback", step=restored.step, from_step=spiked.step, samples=spiked.samples
        )
        self.ledger.move(max(0.0, self.ledger.seconds["steps"] - restored.ledger.get("steps", 0.0)),
                         "repeated")  # fmt: skip
        restored.samples = spiked.samples
        restored.skipped_steps = spiked.skipped_steps
        restored.skipped_in_a_row = 0
        restored.rollbacks += 1
        self.position = restored
        self._save()  # a kill from here on must not meet the same data again

    def _save(self) -> None:
        position, settings = self.position, self.settings
        position.ledger = dict(self.ledger.seconds)
        position.wall_seconds = time.monotonic() - self.started
        started = time.monotonic()
        with self.ledger.time("checkpoints"):
            save_checkpoint(
                self.checkpoints, position, self.model, self.optimizer, settings.keep_checkpoints
            )
        if settings.hours_between_failures is not None:
            self.checkpoint_steps = checkpoint_steps(
                save_seconds=time.monotonic() - started,
                step_seconds=position.seconds / max(1, position.step),
                failure_seconds=3600 * settings.hours_between_failures,
            )

    def _validate(self) -> None:
        for language, validation in self.job.validation.items():
            loss = validation_loss(
                self.model, validation, self.settings.sequences_per_micro_batch, self.arithmetic
            )
            self.metrics.append(
                kind="validation",
                step=self.position.step,
                tokens=self.batches.tokens_before(self.position.step),
                language=language,
                loss=loss,
                bits_per_byte=loss * validation.bits_per_byte_of_a_nat,
            )

    def _show(self, row: dict[str, Any]) -> None:
        """The live line. Done and left count from where this process began: the rate is its own."""
        loss = "not finite" if row["loss"] is None else f"{row['loss']:.3f}"
        self.job.progress.update(
            self.job.name,
            row["step"] - self.first_step,
            self.settings.steps - self.first_step,
            f"step {row['step']:,}  loss {loss}  {row['tokens_per_second']:,.0f} tokens/s",
        )

    def counts(self) -> dict[str, float]:
        """What the stage's manifest tells."""
        position, job = self.position, self.job
        shares = self.ledger.shares(time.monotonic() - self.started)
        return {
            "steps": position.step,
            "tokens": self.batches.tokens_before(position.step),
            "targets": position.targets,
            "parameters": self.model.config.parameters,
            "epochs": round(position.samples / job.data.sequences, 3),
            "padding_share": round(job.data.padding_share, 4),
            "skipped_steps": position.skipped_steps,
            "rollbacks": position.rollbacks,
            **{f"time_{part}_share": round(share, 4) for part, share in shares.items()},
        }


def mean_loss(model: Llama, batch: Batch, dtype: torch.dtype, z_loss: float = 0.0) -> Tensor:
    """Sum of the batch's losses over the number of targets of the whole batch, in nats.

    The sum of this over micro-batches is the mean over the batch, however it is split.
    """
    hidden_BTM = model(
        batch.token_ids_BT,
        positions_BT=batch.positions_BT,
        documents_BT=batch.documents_BT,
        dtype=dtype,
    )
    loss = cross_entropy_sum(hidden_BTM, model.lm_head.weight, batch.targets_BT, z_loss)
    return loss / max(1, batch.targets)


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that the step in hand ends before the run does."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, lambda *_: event.set())
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hang_watch(minutes: float | None) -> Iterator[None]:
    """End the process with the traceback of every thread when the body takes longer.

    A collective that waits for a dead peer holds the interpreter: only a watchdog outside of
    Python code gets through (faulthandler runs in a thread of its own).
    """
    if minutes is None:
        yield
        return
    faulthandler.dump_traceback_later(60 * minutes, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
