"""How fast this machine trains, and in how much memory: a few real steps."""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import torch

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
from tongwen.train.optim.build import build_optimizer
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
"""Of a file whose writing is timed, at most."""


@dataclass(frozen=True)
class Timed:
    """What a few real steps took.

    Attributes:
        pass_seconds: forward and backward of a whole batch.
        update_seconds: clipping and the optimizer.
        token_seconds: forward of a token whose loss is only measured.
        first_seconds: what the first step took beyond the others.
        extra_bytes: peak memory beyond what the process held before and what the closed form says
            of these steps: libraries that a first step loads, and what the allocator keeps. None
            on a GPU, where the process is not what is short.
    """

    pass_seconds: float
    update_seconds: float
    token_seconds: float
    first_seconds: float
    extra_bytes: int | None

    @property
    def step_seconds(self) -> float:
        return self.pass_seconds + self.update_seconds


def timed_steps(
    config: ModelConfig, settings: TrainSettings, *, steps: int, target_share: float
) -> Timed | None:
    """What a training run's steps take here, or None when even one timed pass would take long.

    Takes optimizer steps on at most 4,096 random tokens: a first one, then `steps` more, and as
    many as fit into half a second; medians count. `target_share` is the share of the tokens that
    are in the loss.
    """
    arithmetic = Arithmetic.for_training(settings.device, settings.precision)
    micro_tokens = settings.sequences_per_micro_batch * settings.sequence_tokens
    rows = max(1, min(micro_tokens, _TIMED_TOKENS) // settings.sequence_tokens)
    tokens = rows * settings.sequence_tokens
    flops = tokens * flops_per_token(config, settings.sequence_tokens).full
    if flops > _LARGEST_FLOPS and arithmetic.device.type == "cpu":
        return None
    with denormals_as_zero():
        return _timed(config, settings, arithmetic, rows, steps, target_share)


def _timed(
    config: ModelConfig,
    settings: TrainSettings,
    arithmetic: Arithmetic,
    rows: int,
    steps: int,
    target_share: float,
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
        first_seconds=max(0.0, passes[0] - one_pass) + max(0.0, updates[0] - update),
        extra_bytes=extra,
    )


def seconds_to_write(folder: Path, size: int) -> float:
    """Time of writing a file of `size` bytes there, to the disk; 32 MiB of it at most are tried."""
    tried = min(size, _WRITTEN_BYTES)
    with tempfile.TemporaryFile(dir=folder) as file:
        content = os.urandom(tried)
        started = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        seconds = time.perf_counter() - started
    return seconds * size / max(1, tried)


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
