"""How fast this machine trains, and in how much memory: a few real steps."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from tongwen.flow.memory import peak_memory_bytes, reset_peak_memory
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic
from tongwen.model.flops import flops_per_token
from tongwen.model.llama import Llama
from tongwen.plan.formulas import training_memory
from tongwen.train.data.sequences import Batch
from tongwen.train.hardware import denormals_as_zero
from tongwen.train.lanes import Lanes, lanes_for
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.optim.build import Optimizer, build_optimizer
from tongwen.train.passes import add_gradients, loss_sum, training_loss
from tongwen.train.settings import TrainSettings

_TIMED_TOKENS = 4_096
"""Tokens of a timed pass, at most: enough for the matrix products' full speed."""

_LARGEST_FLOPS = 2e12
"""A pass of more is not timed on a CPU: it would take from seconds to minutes."""


_LEAST_SECONDS = 0.5
"""Steps are timed for at least so long: a few of a small model say little of hundreds."""

_MOST_STEPS = 100

_WRITTEN_BYTES = 32 << 20
"""Of a checkpoint whose writing is timed, at most."""


@dataclass(frozen=True)
class Timed:
    """What a few real steps took.

    Attributes:
        pass_seconds: forward and backward of a whole batch.
        update_seconds: clipping and the optimizer.
        token_seconds: forward of a token whose loss is only measured.
        first_seconds: what the first step and the first checkpoint took beyond the others.
        save_seconds: a checkpoint; 0 where none was timed.
        extra_bytes: peak memory beyond what the process held before and what the closed form says
            of these steps: libraries that a first step loads, and what the allocator keeps. None
            on a GPU, where the process is not what is short.
    """

    pass_seconds: float
    update_seconds: float
    token_seconds: float
    first_seconds: float
    save_seconds: float
    extra_bytes: int | None

    @property
    def step_seconds(self) -> float:
        return self.pass_seconds + self.update_seconds


def timed_steps(
    config: ModelConfig,
    settings: TrainSettings,
    *,
    steps: int,
    target_share: float,
    folder: Path | None = None,
) -> Timed | None:
    """What a training run's steps take here, or None when even one timed pass would take long.

    Takes optimizer steps on at most 4,096 random tokens: a first one, then `steps` more, and as
    many as fit into half a second; medians count.

    Args:
        config: the model.
        settings: of the run.
        steps: to time, at least.
        target_share: share of the tokens that are in the loss.
        folder: on the disk of the checkpoints; without one no checkpoint is timed.
    """
    arithmetic = Arithmetic.for_training(settings.device, settings.precision)
    micro_tokens = settings.sequences_per_micro_batch * settings.sequence_tokens
    rows = max(1, min(micro_tokens, _TIMED_TOKENS) // settings.sequence_tokens)
    tokens = rows * settings.sequence_tokens
    flops = tokens * flops_per_token(config, settings.sequence_tokens).full
    if flops > _LARGEST_FLOPS and arithmetic.device.type == "cpu":
        return None
    with denormals_as_zero():
        return _timed(config, settings, arithmetic, rows, steps, target_share, folder)


def _timed(
    config: ModelConfig,
    settings: TrainSettings,
    arithmetic: Arithmetic,
    rows: int,
    steps: int,
    target_share: float,
    folder: Path | None,
) -> Timed:
    tokens = rows * settings.sequence_tokens
    config = replace(
        config,
        max_position_embeddings=max(config.max_position_embeddings, settings.sequence_tokens),
    )
    reset_peak_memory()
    held_before = psutil.Process().memory_info().rss
    model = Llama(config).to(arithmetic.device)
    model.initialize(0)
    batch = _random_batch(config, settings, rows, target_share).to(arithmetic.device)
    optimizer = build_optimizer(model, config, settings)
    lanes = Lanes(model, lanes_for(rows, arithmetic.device, processes=1))
    parts = batch.split(rows // lanes.count)
    passes: list[float] = []
    updates: list[float] = []
    while len(passes) <= steps or (
        sum(passes[1:]) + sum(updates[1:]) < _LEAST_SECONDS and len(passes) <= _MOST_STEPS
    ):
        started = _now(arithmetic)
        lanes.run(
            [
                partial(
                    add_gradients,
                    model,
                    part,
                    arithmetic.dtype,
                    loss=training_loss(settings, torch.Generator()),
                )
                for part in parts
            ]
        )
        passed = _now(arithmetic)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step(settings.peak_learning_rate)
        optimizer.zero_grad()
        passes.append(passed - started)
        updates.append(_now(arithmetic) - passed)
    measured = []
    for _ in range(2):  # as a validation does; it holds logits of its own
        started = _now(arithmetic)
        with torch.no_grad():
            loss_sum(model, batch, arithmetic.dtype)
        measured.append(_now(arithmetic) - started)
    save_seconds, first_save_seconds = 0.0, 0.0
    if folder is not None:
        save_seconds, first_save_seconds = _seconds_to_save(_state(model, optimizer), folder)
    extra = None
    if arithmetic.device.type == "cpu":
        known = training_memory(
            config,
            replace(
                settings,
                initial_batch_tokens=None,
                micro_batch_tokens=tokens,
                batch_tokens=tokens,
            ),
            bf16=arithmetic.dtype == torch.bfloat16,
            on_cpu=True,
            process_bytes=held_before,
            lanes=lanes.count,
        )
        extra = peak_memory_bytes() - known.total
    one_pass, update = statistics.median(passes[1:]), statistics.median(updates[1:])
    return Timed(
        pass_seconds=one_pass * settings.batch_tokens / tokens,
        update_seconds=update,
        token_seconds=min(measured) / tokens,
        first_seconds=max(0.0, passes[0] - one_pass)
        + max(0.0, updates[0] - update)
        + first_save_seconds,
        save_seconds=save_seconds,
        extra_bytes=extra,
    )


def _seconds_to_save(state: Mapping[str, Tensor], folder: Path) -> tuple[float, float]:
    """Time of writing a checkpoint of these tensors there, and what the first one takes beyond it.

    At most 32 MiB are written: a beginning of every tensor, so that what each tensor costs is in
    it, and the bytes that are left out take as long as those that are not.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    share = min(1.0, _WRITTEN_BYTES / max(1, size))
    part = {
        name: tensor.detach().flatten()[: max(1, int(share * tensor.numel()))].clone()
        for name, tensor in state.items()
    }
    nothing = {name: tensor[:1] for name, tensor in part.items()}
    first, empty, full = (_saved(tensors, folder) for tensors in (nothing, nothing, part))
    return empty + max(0.0, full - empty) / share, max(0.0, first - empty)


def _saved(tensors: dict[str, Any], folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is one process
        started = time.perf_counter()
        save({"state": tensors}, storage_writer=FileSystemWriter(out), no_dist=True)
        return time.perf_counter() - started


def _state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """All tensors of a checkpoint."""
    moments = {
        f"{name} {kind}": tensor
        for name, state in optimizer.state().items()
        for kind, tensor in state.items()
    }
    return {**dict(model.named_parameters()), **moments}


def _random_batch(
    config: ModelConfig, settings: TrainSettings, rows: int, target_share: float
) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (rows, settings.sequence_tokens)
    token_ids_BT = torch.randint(0, config.vocabulary_size, shape, generator=generator)
    is_target = torch.rand(shape, generator=generator) < target_share
    positions_BT = torch.arange(settings.sequence_tokens).expand(shape)
    return Batch(
        token_ids_BT=token_ids_BT,
        targets_BT=torch.where(is_target, token_ids_BT.roll(-1, 1), IGNORED),
        positions_BT=positions_BT,
        documents_BT=torch.zeros(shape, dtype=torch.long) if settings.separate_documents else None,
        targets=int(is_target.sum()),
    )


def _now(arithmetic: Arithmetic) -> float:
    if arithmetic.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
