"""The one training loop, used by pretrain, extend and tune."""

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
from tongwen.train.hardware import Arithmetic
from tongwen.train.loss import cross_entropy_sum
from tongwen.train.metrics import MetricsLog
from tongwen.train.optim import Optimizer, build_optimizer
from tongwen.train.schedule import learning_rate
from tongwen.train.settings import TrainSettings
from tongwen.train.validation import ValidationSet, validation_loss

_SKIPS_BEFORE_FAILURE = 10


class DivergedError(TongwenError):
    """The loss or its gradient was not finite for several steps in a row."""


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
        DivergedError: ten steps in a row had no finite loss or gradient.
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
    metrics = MetricsLog(job.out / "metrics.jsonl", position.step)
    first_step = position.step
    job.progress.start()
    with _stop_requested() as stop_requested:
        while position.step < settings.steps:
            row = _step(model, optimizer, job.data, position, settings, arithmetic)
            metrics.append(**row)
            _check_divergence(position)
            is_last = position.step == settings.steps
            must_stop = stop_requested.is_set() and not is_last
            if is_last or position.step % settings.evaluate_every_steps == 0:
                _validate(job, model, position, metrics, arithmetic)
            if is_last or must_stop or position.step % settings.checkpoint_every_steps == 0:
                save_checkpoint(checkpoints, position, model, optimizer, settings.keep_checkpoints)
            if must_stop:
                job.progress.say(f"  stopped after step {position.step:,}; a checkpoint is written")
                raise KeyboardInterrupt
            _show(job, row, first_step)
    job.progress.end()
    save_model_folder(job.out / "model", model, job.tokenizer_folder, torch.float32)
    return _counts(job, model, position)


def _step(
    model: Llama,
    optimizer: Optimizer,
    data: PackedSequences,
    position: Position,
    settings: TrainSettings,
    arithmetic: Arithmetic,
) -> dict[str, Any]:
    """One optimizer step; advances `position` and gives its row of metrics."""
    started = time.monotonic()
    batch = data.batch(position.samples, settings.sequences_per_batch)
    loss = torch.zeros((), device=arithmetic.device)
    for micro_batch in batch.split(settings.sequences_per_micro_batch):
        micro_loss = mean_loss(model, micro_batch.to(arithmetic.device), arithmetic.dtype)
        micro_loss.backward()  # type: ignore[no-untyped-call]
        loss += micro_loss.detach()
    gradient_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
    is_finite = math.isfinite(loss.item()) and math.isfinite(gradient_norm.item())
    rate = learning_rate(settings, (position.step + 1) * settings.batch_tokens)
    if is_finite:
        optimizer.step(rate)
    optimizer.zero_grad()
    position.step += 1
    position.samples += settings.sequences_per_batch
    position.targets += batch.targets
    position.skipped_steps += not is_finite
    position.skipped_in_a_row = 0 if is_finite else position.skipped_in_a_row + 1
    seconds = time.monotonic() - started
    position.seconds += seconds
    return {
        "kind": "train",
        "step": position.step,
        "tokens": position.step * settings.batch_tokens,
        "targets": batch.targets,
        "loss": loss.item() if is_finite else None,
        "gradient_norm": gradient_norm.item() if is_finite else None,
        "learning_rate": rate,
        "skipped": not is_finite,
        "seconds": round(seconds, 4),
        "tokens_per_second": round(settings.batch_tokens / seconds, 1),
    }


def mean_loss(model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Sum of the batch's losses over the number of targets of the whole batch, in nats.

    The sum of this over micro-batches is the mean over the batch, however it is split.
    """
    hidden_BTM = model(
        batch.token_ids_BT,
        positions_BT=batch.positions_BT,
        documents_BT=batch.documents_BT,
        dtype=dtype,
    )
    loss = cross_entropy_sum(hidden_BTM, model.lm_head.weight, batch.targets_BT)
    return loss / max(1, batch.targets)


def _validate(
    job: Job,
    model: Llama,
    position: Position,
    metrics: MetricsLog,
    arithmetic: Arithmetic,
) -> None:
    for language, validation in job.validation.items():
        loss = validation_loss(
            model, validation, job.settings.sequences_per_micro_batch, arithmetic
        )
        metrics.append(
            kind="validation",
            step=position.step,
            tokens=position.step * job.settings.batch_tokens,
            language=language,
            loss=loss,
            bits_per_byte=loss * validation.bits_per_byte_of_a_nat,
        )


def _show(job: Job, row: dict[str, Any], first_step: int) -> None:
    """The live line. Done and left count from where this process began, so the rate is its own."""
    loss = "not finite" if row["loss"] is None else f"{row['loss']:.3f}"
    job.progress.update(
        job.name,
        row["step"] - first_step,
        job.settings.steps - first_step,
        f"step {row['step']:,}  loss {loss}  {row['tokens_per_second']:,.0f} tokens/s",
    )


def _check_divergence(position: Position) -> None:
    if position.skipped_in_a_row >= _SKIPS_BEFORE_FAILURE:
        raise DivergedError(
            f"the loss was not finite for {position.skipped_in_a_row} steps in a row, "
            f"up to step {position.step:,}",
            hint="lower peak_learning_rate or raise warmup_share",
        )


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


def _counts(job: Job, model: Llama, position: Position) -> dict[str, float]:
    return {
        "steps": position.step,
        "tokens": position.step * job.settings.batch_tokens,
        "targets": position.targets,
        "parameters": model.config.parameters,
        "epochs": round(position.samples / job.data.sequences, 3),
        "padding_share": round(job.data.padding_share, 4),
        "skipped_steps": position.skipped_steps,
    }
