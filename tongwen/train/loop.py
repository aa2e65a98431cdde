"""The one training loop, used by pretrain, extend and tune."""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from tongwen.errors import InputError, RecipeError
from tongwen.model.device import Arithmetic
from tongwen.model.folder import save_model_folder, write_model_folder
from tongwen.model.llama import Llama
from tongwen.train.average import mean_of
from tongwen.train.branch import Branch
from tongwen.train.checkpoint import Checkpoints, Position
from tongwen.train.data.shared import shared_batch
from tongwen.train.data.validation import ValidationSet
from tongwen.train.forecast import ForecastWatch
from tongwen.train.guard import hang_watch, is_spike, remember, stop_requested
from tongwen.train.hardware import Utilization, denormals_as_zero
from tongwen.train.job import Job
from tongwen.train.optim.build import Optimizer, build_optimizer
from tongwen.train.optim.schedule import learning_rate
from tongwen.train.parallel.build import build_model
from tongwen.train.parallel.check import check_layout
from tongwen.train.parallel.gradients import clip_gradients
from tongwen.train.parallel.mesh import Processes
from tongwen.train.passes import Passes
from tongwen.train.recovery import Recovery, find_run, open_checkpoints
from tongwen.train.retention import step_folder
from tongwen.train.samples import SampleWriter
from tongwen.train.settings import TrainSettings
from tongwen.train.trackers import Tracked, check_trackers, telling
from tongwen.train.weights import FolderWeights, fill

MODEL = "model"
"""Folder of the trained model, in the stage's."""


def train(job: Job) -> dict[str, float]:
    """Train until the settings' last token, from the newest checkpoint; write the model folder.

    Called by every process of the run. A run that was stopped at any moment and continued on the
    same mesh ends with the same bytes as one that was not; on another number of processes it
    sees the same samples, and its losses differ by rounding. Gives counts.

    Raises:
        RecipeError: the degrees of parallelism do not fit the model, the batch or the processes, or
            two settings exclude one another.
        InputError: the folder holds an unfinished run with other settings or data.
        DoesNotFitError: weights, gradients and optimizer do not fit into memory.
        DivergedError: the run kept spiking after it went back as often as it may.
        DiskFullError: a checkpoint or the model folder found no space; older ones stay.
        KeyboardInterrupt: after SIGINT or SIGTERM, when a checkpoint has been written.
    """
    with denormals_as_zero():  # Adam's smallest moments would slow a CPU down
        return _train(job)


def _train(job: Job) -> dict[str, float]:
    settings = job.settings
    check_trackers(settings.trackers)
    arithmetic = Arithmetic.for_training(settings.device, settings.precision)
    processes = Processes.start(settings.parallel, arithmetic.device)
    config = job.weights.config
    if settings.average_last and (job.adapters is not None or job.patience is not None):
        raise RecipeError(
            f"average_last is {settings.average_last}, which goes neither with LoRA nor with an "
            "early stop",
            hint="leave out average_last: an early stop takes the best weights by itself",
        )
    check_layout(config, settings, processes.count)
    job, branch = find_run(job, processes)
    asked, settings = settings, job.settings
    checkpoints = open_checkpoints(job, processes, arithmetic.device, branch)
    counts = checkpoints.finished_counts(job.code, job.out / MODEL) if job.is_kept else None
    if counts is not None:
        job.progress.say(f"  all {settings.steps:,} steps were done before")
        return counts
    assert processes.count == 1 or (job.adapters is None and job.objective is None)
    dropout_seed = None
    if job.adapters is None:
        model = build_model(config, settings, processes, arithmetic)
    else:
        model, dropout_seed = job.adapters.build(config, settings, arithmetic)
    if job.objective is not None:

        def first_model() -> Llama:
            if job.adapters is None:
                fill(model, job.weights)
            return model

        job.objective.prepare(job.out, checkpoints.folder.name, first_model, arithmetic.dtype)
    optimizer = build_optimizer(model, config, settings)
    position = checkpoints.load(model, optimizer)
    is_new = position is None
    is_branch = position is None and branch is not None and branch.step > 0
    if position is None and branch is not None and is_branch:
        position = checkpoints.load_from(step_folder(branch.folder, branch.step), model, optimizer)
        if position is None:
            raise InputError(
                f"the checkpoint that the run goes on from, {branch.folder}, is damaged",
                hint='remove it, or begin anew with changed_run = "restart"',
            )
        job.progress.say(_about(branch, asked))
    if position is None:
        if job.adapters is None:
            fill(model, job.weights)
        position = Position()
    elif not is_branch:
        job.progress.say(f"  continues after step {position.step:,} of {settings.steps:,}")
    recovery = Recovery(job, processes, checkpoints, position, model, optimizer)
    passes = Passes(model, processes, arithmetic.dtype, settings, job.objective, dropout_seed)
    run = _Run(job, processes, arithmetic, passes, model, optimizer, recovery, is_branch=is_branch)
    with _told(job, checkpoints, recovery, is_first=processes.is_first):
        if is_new:
            run.measure_plain_text(0)
        job.progress.start()
        with stop_requested(job.progress.say) as stop:
            run.finish(stop)
        job.progress.end()
        run.watch.settle(recovery.seconds, run.peak_memory_bytes)
        _take_best(job, model, checkpoints, recovery)
        run.measure_plain_text(recovery.position.step)
    if job.is_kept:
        _write_model(job, model, processes, checkpoints, recovery.position.step)
        averaged = checkpoints.averaged_steps()
        if averaged:
            run.average(checkpoints, averaged)
        checkpoints.mark_finished(job.code, job.out / MODEL, run.counts())
    if stop.is_set():  # in the last step: no stage may follow
        raise KeyboardInterrupt
    return run.counts()


@contextmanager
def _told(
    job: Job, checkpoints: Checkpoints, recovery: Recovery, *, is_first: bool
) -> Iterator[None]:
    """Tell trackers every row of metrics, while the body runs; the first process alone does."""
    if not (is_first and job.is_kept):
        yield
        return
    folder = checkpoints.folder
    run_dir = job.out.parent.parent if job.out.parent.name == "stages" else job.out
    run = Tracked(
        name=f"{run_dir.resolve().name} {job.name}",
        config=checkpoints.identity,
        folder=folder,
        out=job.out,
        first_step=recovery.position.step + 1,
    )
    with telling(job.settings.trackers, run, job.progress.say) as tell:
        recovery.metrics.tell = tell
        yield


def _take_best(job: Job, model: Llama, checkpoints: Checkpoints, recovery: Recovery) -> None:
    """Of a run with patience, bring the model to the step with the smallest held-out loss."""
    position = recovery.position
    if job.patience is None or position.best_loss is None or position.best_step == position.step:
        return
    if not job.is_kept:  # nor was the best step
        return
    step = f"step {position.best_step:,}, whose held-out loss is the smallest"
    problem = checkpoints.load_weights(position.best_step, model)
    if problem:
        job.progress.say(f"  the checkpoint of {step}, is damaged, so the last is taken: {problem}")
    else:
        job.progress.say(f"  the weights of {step}: {position.best_loss:.4f}")


def _write_model(
    job: Job, model: Llama, processes: Processes, checkpoints: Checkpoints, step: int
) -> None:
    """The model folder, from memory; where that is cut over processes, from the last checkpoint."""
    folder = job.out / MODEL
    if job.adapters is not None:
        job.adapters.write(job.out, model, job.tokenizer_folder)
    elif processes.count == 1:
        save_model_folder(folder, model, job.tokenizer_folder, torch.float32)
    elif processes.is_first:
        read = checkpoints.weights_at(step, job.weights.config)
        write_model_folder(folder, job.weights.config, read, job.tokenizer_folder, torch.float32)
    processes.broadcast(None)  # nobody leaves before the folder is there


def _about(branch: Branch, asked: TrainSettings) -> str:
    settings, kept = branch.settings, ""
    if settings.warmup_tokens != asked.warmup_tokens:
        kept = f"; its warm-up was {settings.warmup_tokens:,.0f} tokens"
    return (
        f"  goes on from step {branch.step:,} of {branch.folder.name}, at its constant rate, to "
        f"step {settings.steps:,}{kept}"
    )


def _listed(steps: list[int]) -> str:
    return ", ".join(f"{step:,}" for step in steps)


class _Run:
    """One process's share of a training run: its steps, and what is measured on the way."""

    def __init__(
        self,
        job: Job,
        processes: Processes,
        arithmetic: Arithmetic,
        passes: Passes,
        model: Llama,
        optimizer: Optimizer,
        recovery: Recovery,
        *,
        is_branch: bool = False,
    ) -> None:
        self.job = job
        self.processes = processes
        self.model = model
        self.optimizer = optimizer
        self.recovery = recovery
        self.passes = passes
        self.utilization = Utilization(
            job.weights.config, job.settings, arithmetic, processes.count
        )
        self.first_step = recovery.position.step
        self.peak_memory_bytes = 0.0
        self.watch = self._watch(is_branch)
        self._samples = self._sample_writer()

    def _watch(self, is_branch: bool) -> ForecastWatch:
        """Of the first process; the others compare nothing."""
        job, metrics = self.job, self.recovery.metrics
        if not self.processes.is_first:
            return ForecastWatch(None, job.out, metrics, job.progress.say)
        return ForecastWatch.begin(
            job.forecast,
            job.name,
            job.out,
            metrics,
            self.first_step,
            job.progress.say,
            tokens=job.settings.batches.tokens_before(self.first_step),
            is_branch=is_branch,
        )

    def _sample_writer(self) -> SampleWriter | None:
        job, settings = self.job, self.job.settings
        if not settings.sample_prompts:
            return None
        if self.processes.count > 1:
            job.progress.say("  sample_prompts need one process: nothing is written on the way")
            return None
        return SampleWriter(
            job.tokenizer_folder,
            settings.sample_prompts,
            settings.sample_tokens,
            as_questions=job.name == "tune",
        )

    def finish(self, stop_requested: threading.Event) -> None:
        """All steps that are left, with validations and checkpoints on the way."""
        settings, recovery = self.job.settings, self.recovery
        while recovery.position.step < settings.steps and not self._is_patience_over:
            with hang_watch(settings.hang_minutes):
                row, must_stop = self._step(recovery.position, stop_requested.is_set())
            recovery.metrics.append(**row)
            self.peak_memory_bytes = max(self.peak_memory_bytes, row["peak_memory_bytes"])
            self.watch.stepped(row["step"], recovery.seconds, self.peak_memory_bytes)
            if recovery.must_roll_back:
                recovery.roll_back()
                continue
            step = recovery.position.step
            is_last, is_best = step == settings.steps, False
            if is_last or step % settings.evaluate_every_steps == 0:
                with recovery.ledger.time("validation"):
                    is_best = self._validate()
            is_last = is_last or self._is_patience_over
            must_stop = must_stop and not is_last
            if is_last or must_stop or recovery.is_due or is_best:
                recovery.save()
            if is_last or must_stop:
                recovery.finish_checkpoint()
            if must_stop:
                self.job.progress.say(f"  stopped after step {step:,}; a checkpoint is written")
                raise KeyboardInterrupt
            self._show(row)

    def _step(self, position: Position, wants_stop: bool) -> tuple[dict[str, Any], bool]:
        """One optimizer step; advances the position and gives its row of metrics, and whether any
        process wants to stop.
        """
        settings, recovery = self.job.settings, self.recovery
        started = time.monotonic()
        tokens = settings.batches.batch_tokens_of(position.step)
        sequences = tokens // settings.sequence_tokens
        with recovery.ledger.time("data"):
            shared = shared_batch(
                self.job.data,
                position.samples,
                sequences,
                self.processes,
                wants_stop=wants_stop,
                is_checkpoint_written=recovery.is_written,
            )
            if shared.is_checkpoint_written:
                recovery.finish_checkpoint()
        begun = time.monotonic()
        loss = self.processes.sum_of_parts(self.passes.backward(shared.batch, position.samples))
        norm = clip_gradients(self.model, settings.gradient_clip, self.processes)
        loss_value, norm_value = loss.item(), norm.item()
        rate = learning_rate(settings, settings.batches.tokens_before(position.step + 1))
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
        position.targets += shared.batch.targets
        position.skipped_steps += not is_kept
        position.skipped_in_a_row = 0 if is_kept else position.skipped_in_a_row + 1
        seconds = time.monotonic() - started
        position.seconds += seconds
        recovery.ledger.seconds["steps" if is_kept else "skipped"] += time.monotonic() - begun
        row = {
            "kind": "train",
            "step": position.step,
            "tokens": settings.batches.tokens_before(position.step),
            "targets": shared.batch.targets,
            "samples": position.samples,
            "batch_digest": shared.digest,
            "loss": loss_value if math.isfinite(loss_value) else None,
            "gradient_norm": norm_value if math.isfinite(norm_value) else None,
            "learning_rate": rate,
            "skipped": not is_kept,
            "seconds": round(seconds, 4),
            "tokens_per_second": round(tokens / seconds, 1),
            **self.utilization.at(tokens / seconds),
        }
        return row, shared.must_stop

    def average(self, checkpoints: Checkpoints, steps: list[int]) -> None:
        """Put the mean of the weights at some checkpoints in the model folder, and measure it."""
        job, config, folder = self.job, self.job.weights.config, self.job.out / MODEL
        if self.processes.is_first:
            readers = [checkpoints.weights_at(step, config) for step in steps]
            write_model_folder(
                folder, config, partial(mean_of, readers), job.tokenizer_folder, torch.float32
            )
        self.processes.broadcast(None)  # nobody reads before the folder is there
        fill(self.model, FolderWeights(folder, config))
        job.progress.say(f"  the model is the mean of its weights at steps {_listed(steps)}")
        step = self.recovery.position.step
        mean = f"mean of steps {_listed(steps)}"
        self._measure("validation", job.validation, step, weights=mean)

    @property
    def _is_patience_over(self) -> bool:
        patience = self.job.patience
        return patience is not None and self.recovery.position.without_gain >= patience

    def _validate(self) -> bool:
        """Measure on held-out data; says whether a run with patience has its best weights now."""
        position = self.recovery.position
        losses = self._measure("validation", self.job.validation, position.step)
        if self._samples is not None:
            tokens = self.job.settings.batches.tokens_before(position.step)
            self.passes.without_dropout()
            for prompt, text in self._samples.write(self.model):
                self.recovery.metrics.append(
                    kind="sample", step=position.step, tokens=tokens, prompt=prompt, text=text
                )
        if self.job.patience is None or not losses:
            return False
        loss = sum(losses) / len(losses)
        if position.best_loss is not None and not loss < position.best_loss:
            position.without_gain += 1
            return False
        position.best_loss, position.best_step, position.without_gain = loss, position.step, 0
        return True

    def measure_plain_text(self, step: int) -> None:
        """Loss on plain text, before the first step and of the weights that are written."""
        with self.recovery.ledger.time("validation"):
            self._measure("plain_text", self.job.plain_text, step)

    def _measure(
        self, kind: str, sets: Mapping[str, ValidationSet], step: int, **more: str
    ) -> list[float]:
        settings = self.job.settings
        tokens = settings.batches.tokens_before(step)
        losses = []
        for language, validation in sets.items():
            found = validation.measure(
                settings.sequences_per_micro_batch, self.passes, self.processes
            )
            losses.append(found["loss"])
            self.recovery.metrics.append(
                kind=kind,
                step=step,
                tokens=tokens,
                language=language,
                **found,
                **more,
            )
            if kind == "validation" and "bits_per_byte" in found and not more:
                self.watch.validated(step, tokens, language, found["bits_per_byte"])
        return losses

    def _show(self, row: dict[str, Any]) -> None:
        """The live line. Done and left count from where this process began: the rate is its own."""
        loss = "not finite" if row["loss"] is None else f"{row['loss']:.3f}"
        self.job.progress.update(
            self.job.name,
            row["step"] - self.first_step,
            self.job.settings.steps - self.first_step,
            f"step {row['step']:,}  loss {loss}  {row['tokens_per_second']:,.0f} tokens/s",
        )

    def counts(self) -> dict[str, float]:
        """What the stage's manifest records."""
        position, job = self.recovery.position, self.job
        shares = self.recovery.time_shares()
        best = {} if position.best_loss is None else {"best_step": position.best_step}
        return {
            "steps": position.step,
            **best,
            "tokens": job.settings.batches.tokens_before(position.step),
            "targets": position.targets,
            "parameters": self.model.config.parameters,
            **self._trained(),
            **job.data.describe(position.samples),
            "skipped_steps": position.skipped_steps,
            "rollbacks": position.rollbacks,
            **{f"time_{part}_share": round(share, 4) for part, share in shares.items()},
        }

    def _trained(self) -> dict[str, float]:
        """How many numbers the adapters have; nothing where all weights are trained."""
        if self.job.adapters is None:
            return {}
        trained = (item for item in self.model.parameters() if item.requires_grad)
        return {"trained_parameters": sum(item.numel() for item in trained)}
