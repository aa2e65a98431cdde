"""The one training loop, used by pretrain, extend and tune."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from tongwen.errors import RecipeError, TongwenError
from tongwen.flow.memory import peak_memory_bytes
from tongwen.model.flops import flops_per_token
from tongwen.model.folder import save_model_folder, write_model_folder
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.train.checkpoint import Checkpoints, Position
from tongwen.train.data.sequences import Batch, PackedSequences
from tongwen.train.data.validation import ValidationSet, validation_loss
from tongwen.train.guard import checkpoint_steps, hang_watch, is_spike, remember, stop_requested
from tongwen.train.hardware import Arithmetic, peak_flops_per_second
from tongwen.train.identity import run_identity
from tongwen.train.metrics import Ledger, MetricsLog
from tongwen.train.optim.build import Optimizer, build_optimizer
from tongwen.train.optim.schedule import learning_rate
from tongwen.train.parallel.build import build_model
from tongwen.train.parallel.gradients import clip_gradients
from tongwen.train.parallel.mesh import Processes
from tongwen.train.passes import Passes
from tongwen.train.settings import TrainSettings
from tongwen.train.weights import WeightSource, fill

_SKIPS_BEFORE_ROLLBACK = 10


class DivergedError(TongwenError):
    """The loss or its gradient kept spiking or was not finite, also after going back."""


@dataclass(frozen=True)
class Job:
    """A training run.

    Attributes:
        name: of the stage, for messages.
        settings: of the run.
        weights: to start from.
        data: training sequences.
        validation: language -> sequences whose loss is measured on the way.
        tokenizer_folder: its files go into the model folder.
        out: folder of `checkpoints/`, `metrics.jsonl` and `model/`; with several processes one
            that all see.
        progress: what the user sees.
        code: names the code that trains; a run that other code has finished is trained again.
        is_kept: whether checkpoints and the model are written; without, as in a benchmark, nothing
            but the metrics.
    """

    name: str
    settings: TrainSettings
    weights: WeightSource
    data: PackedSequences
    validation: Mapping[str, ValidationSet]
    tokenizer_folder: Path
    out: Path
    progress: Progress
    code: str = ""
    is_kept: bool = True


def train(job: Job) -> dict[str, float]:
    """Train until the settings' last token, from the newest checkpoint; write the model folder.

    Called by every process of the run. A run that was stopped at any moment and continued on the
    same mesh ends with the same bytes as one that was not; on another number of processes it
    sees the same samples, and its losses differ by rounding. Gives counts.

    Raises:
        RecipeError: the degrees of parallelism do not fit the model, the batch or the processes.
        InputError: the folder holds an unfinished run with other settings or data.
        DoesNotFitError: weights, gradients and optimizer do not fit into memory.
        DivergedError: the run kept spiking after it went back as often as it may.
        DiskFullError: a checkpoint or the model folder found no space; older ones stay.
        KeyboardInterrupt: after SIGINT or SIGTERM, when a checkpoint has been written.
    """
    settings = job.settings
    arithmetic = Arithmetic.of(settings)
    torch.set_flush_denormal(True)  # Adam's smallest moments would slow a CPU down
    processes = Processes.start(settings.parallel, arithmetic.device)
    _check_batch(settings, processes)
    checkpoints = _open_checkpoints(job, processes, arithmetic)
    config = job.weights.config
    model = build_model(config, settings, processes, arithmetic)
    optimizer = build_optimizer(model, config, settings)
    position = checkpoints.load(model, optimizer)
    if position is None:
        fill(model, job.weights)
        position = Position()
    else:
        job.progress.say(f"  continues after step {position.step:,} of {settings.steps:,}")
    run = _Run(job, processes, arithmetic, model, optimizer, checkpoints, position)
    job.progress.start()
    with stop_requested() as stop:
        run.finish(stop)
    job.progress.end()
    if job.is_kept:
        _write_model(job, model, processes, checkpoints, run.position)
        checkpoints.mark_finished(job.code)
    if stop.is_set():  # in the last step: no stage may follow
        raise KeyboardInterrupt
    return run.counts()


def _check_batch(settings: TrainSettings, processes: Processes) -> None:
    """Every process takes whole micro-batches of every batch.

    Raises:
        RecipeError: the smallest batch is not a multiple of what all take at once.
    """
    smallest = settings.initial_batch_tokens or settings.batch_tokens
    micro = settings.sequences_per_micro_batch * settings.sequence_tokens
    if smallest % (micro * processes.data_size):
        raise RecipeError(
            f"the batch is {smallest:,} tokens, not a multiple of what {processes.data_size} "
            f"processes take at once, {processes.data_size} x {micro:,} (micro_batch_tokens)",
            hint="lower micro_batch_tokens, or raise batch_tokens",
        )
    micro_batches, stages = smallest // (micro * processes.data_size), processes.size("pipeline")
    if micro_batches < stages:
        raise RecipeError(
            f"the batch of {smallest:,} tokens gives each pipeline {micro_batches} micro-batches, "
            f"fewer than its {stages} stages",
            hint="lower micro_batch_tokens, or raise batch_tokens",
        )


def _open_checkpoints(job: Job, processes: Processes, arithmetic: Arithmetic) -> Checkpoints:
    settings = job.settings
    first_weights = processes.broadcast(job.weights.digest() if processes.is_first else None)
    checkpoints = Checkpoints(
        job.out / "checkpoints",
        run_identity(job.weights.config, first_weights, settings, job.data.fingerprint_parts),
        processes,
        keep=settings.keep_checkpoints,
        in_background=settings.checkpoint_in_background == "yes"
        or (settings.checkpoint_in_background == "auto" and arithmetic.device.type != "cpu"),
        progress=job.progress,
    )
    checkpoints.open(restart=settings.changed_run == "restart", code=job.code)
    return checkpoints


def _write_model(
    job: Job, model: Llama, processes: Processes, checkpoints: Checkpoints, position: Position
) -> None:
    """The model folder, from memory; where that is cut over processes, from the last checkpoint."""
    folder = job.out / "model"
    if processes.count == 1:
        save_model_folder(folder, model, job.tokenizer_folder, torch.float32)
    elif processes.is_first:
        last = FileSystemReader(checkpoints.folder / f"step-{position.step:08d}")
        with torch.device("meta"):
            shapes = dict(Llama(job.weights.config).named_parameters())

        def read(names: Sequence[str]) -> dict[str, Tensor]:
            tensors = {name: torch.empty(shapes[name].shape) for name in names}
            load({"model": tensors}, storage_reader=last, no_dist=True)
            return tensors

        write_model_folder(folder, job.weights.config, read, job.tokenizer_folder, torch.float32)
    processes.broadcast(None)  # nobody leaves before the folder is there


class _Run:
    """One process's share of a training run: what it holds, and its steps."""

    def __init__(
        self,
        job: Job,
        processes: Processes,
        arithmetic: Arithmetic,
        model: Llama,
        optimizer: Optimizer,
        checkpoints: Checkpoints,
        position: Position,
    ) -> None:
        self.job = job
        self.settings = job.settings
        self.batches = job.settings.batches
        self.processes = processes
        self.arithmetic = arithmetic
        self.model = model
        self.rows = job.settings.sequences_per_micro_batch
        self.passes = Passes(model, processes, arithmetic.dtype, job.settings)
        self.optimizer = optimizer
        self.checkpoints = checkpoints
        self.position = position
        self.first_step = position.step
        self.metrics = MetricsLog(
            job.out / "metrics.jsonl", position.step, is_writer=processes.is_first
        )
        for name, problem in checkpoints.damaged.items():
            self.metrics.append(
                kind="damaged_checkpoint", step=position.step, checkpoint=name, problem=problem
            )
        self.ledger = Ledger(position.ledger)
        self.ledger.seconds["repeated"] += self.metrics.dropped_seconds
        lost = position.wall_seconds + self.metrics.dropped_seconds
        self.started = time.monotonic() - lost
        self.checkpoint_steps = job.settings.checkpoint_every_steps
        self.flops = flops_per_token(
            job.weights.config,
            job.settings.sequence_tokens,
            has_head_gradient=job.settings.head_gradient_samples is None,
        )
        self.peak_flops = peak_flops_per_second(arithmetic)

    def finish(self, stop_requested: threading.Event) -> None:
        """All steps that are left, with validations and checkpoints on the way."""
        settings, position = self.settings, self.position
        while position.step < settings.steps:
            with hang_watch(settings.hang_minutes):
                row, must_stop = self._step(stop_requested.is_set())
            self.metrics.append(**row)
            if position.skipped_in_a_row >= _SKIPS_BEFORE_ROLLBACK:
                self._roll_back()
                position = self.position
                continue
            is_last = position.step == settings.steps
            must_stop = must_stop and not is_last
            if is_last or position.step % settings.evaluate_every_steps == 0:
                with self.ledger.time("validation"):
                    self._validate()
            is_due = position.step % self.checkpoint_steps == 0 and not position.skipped_in_a_row
            if is_last or must_stop or is_due:  # none within a spike, to go back to before it
                self._save()
            if is_last or must_stop:
                self._finish_checkpoint()
            if must_stop:
                self.job.progress.say(
                    f"  stopped after step {position.step:,}; a checkpoint is written"
                )
                raise KeyboardInterrupt
            self._show(row)

    def _step(self, wants_stop: bool) -> tuple[dict[str, Any], bool]:
        """One optimizer step; advances the position and gives its row of metrics, and whether any
        process wants to stop.
        """
        settings, position = self.settings, self.position
        started = time.monotonic()
        tokens = self.batches.batch_tokens_of(position.step)
        sequences = tokens // settings.sequence_tokens
        with self.ledger.time("data"):
            batch, digest, must_stop = self._agreed(sequences, wants_stop)
        begun = time.monotonic()
        loss = self.processes.sum_of_parts(self.passes.backward(batch, position.samples))
        norm = clip_gradients(self.model, settings.gradient_clip, self.processes)
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
        row = {
            "kind": "train",
            "step": position.step,
            "tokens": self.batches.tokens_before(position.step),
            "targets": batch.targets,
            "samples": position.samples,
            "batch_digest": digest,
            "loss": loss_value if math.isfinite(loss_value) else None,
            "gradient_norm": norm_value if math.isfinite(norm_value) else None,
            "learning_rate": rate,
            "skipped": not is_kept,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
            **self._utilization(tokens / seconds),
        }
        return row, must_stop

    def _agreed(self, sequences: int, wants_stop: bool) -> tuple[Batch, str, bool]:
        """This process's part of the next batch, with what all processes know of it together.

        Gives the batch with the number of targets of all, a digest of all its tokens in their
        order, and whether any process was told to stop. A checkpoint that all have written in the
        meantime becomes valid here.
        """
        processes, position = self.processes, self.position
        here = sequences // processes.data_size
        first = processes.data_place * here
        batch = self.job.data.batch(position.samples + first, here)
        owns = all(processes.place(axis) == 0 for axis in ("pipeline", "context", "tensor"))
        known = torch.tensor(
            [
                batch.targets if owns else 0,
                _rows_digest(batch, first) if owns else 0,
                wants_stop,
                self.checkpoints.is_written,
            ],
            dtype=torch.int64,
        )
        if processes.count > 1:
            dist.all_reduce(known)
        targets, digest, stops, written = known.tolist()
        if written == processes.count:
            self._finish_checkpoint()
        return replace(batch, targets=targets), f"{digest % 2**64:016x}", stops > 0

    def _utilization(self, tokens_per_second: float) -> dict[str, float]:
        """Memory, and the share of peak speed in both ways of counting attention."""
        if self.arithmetic.device.type == "cuda":
            memory = torch.cuda.max_memory_allocated(self.arithmetic.device)
        else:
            memory = peak_memory_bytes()
        found: dict[str, float] = {"peak_memory_bytes": memory}
        if self.peak_flops is None:
            return found
        share = tokens_per_second / self.peak_flops / self.processes.count
        return found | {
            "mfu_full": round(self.flops.full * share, 4),
            "mfu_causal": round(self.flops.causal * share, 4),
        }

    def _roll_back(self) -> None:
        """Return to the last checkpoint, and go on with the data behind the spike.

        Raises:
            DivergedError: that was done too often, or there is no checkpoint yet.
        """
        spiked = self.position
        restored = self.checkpoints.load(self.model, self.optimizer)
        if restored is None or restored.rollbacks >= self.settings.rollbacks:
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
        if not self.job.is_kept:
            return
        position, settings = self.position, self.settings
        position.ledger = dict(self.ledger.seconds)
        position.wall_seconds = time.monotonic() - self.started
        started = time.monotonic()
        with self.ledger.time("checkpoints"):
            self.checkpoints.save(position, self.model, self.optimizer)
        if settings.hours_between_failures is not None:
            steps = checkpoint_steps(
                save_seconds=time.monotonic() - started,
                step_seconds=position.seconds / max(1, position.step),
                failure_seconds=3600 * settings.hours_between_failures,
            )
            self.checkpoint_steps = self.processes.broadcast(steps)  # all save at the same step

    def _finish_checkpoint(self) -> None:
        with self.ledger.time("checkpoints"):
            self.checkpoints.finish()

    def _validate(self) -> None:
        for language, validation in self.job.validation.items():
            loss = validation_loss(validation, self.rows, self.passes, self.processes)
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
            **job.data.describe(position.samples),
            "skipped_steps": position.skipped_steps,
            "rollbacks": position.rollbacks,
            **{f"time_{part}_share": round(share, 4) for part, share in shares.items()},
        }


def _rows_digest(batch: Batch, first: int) -> int:
    """A signed number of 64 bits. Its sum over the parts of a batch names all tokens in order, into
    however many parts the batch is cut.
    """
    total = 0
    for row, ids_T in enumerate(batch.token_ids_BT.numpy(), start=first):
        total += xxhash.xxh3_64_intdigest(ids_T.tobytes()) * (2 * row + 1)
    return (total + 2**63) % 2**64 - 2**63
