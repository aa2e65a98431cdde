"""How fast this machine trains: a few real steps, timed."""

import time
from dataclasses import replace
from functools import partial

import torch

from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic
from tongwen.model.flops import flops_per_token
from tongwen.model.llama import Llama
from tongwen.train.data.sequences import Batch
from tongwen.train.lanes import Lanes, lanes_for
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.optim.build import build_optimizer
from tongwen.train.passes import add_gradients, training_loss
from tongwen.train.settings import TrainSettings

_TIMED_TOKENS = 4_096
"""Tokens of a timed pass, at most: enough for the matrix products' full speed."""

_LARGEST_FLOPS = 2e12
"""A pass of more is not timed on a CPU: it would take from seconds to minutes."""


def seconds_per_step(
    config: ModelConfig, settings: TrainSettings, *, steps: int, target_share: float
) -> float | None:
    """Predicted time of one optimizer step, or None when even one timed pass would take long.

    Times forward and backward of at most 4,096 random tokens, and the optimizer's step, each
    `steps` times after a first untimed one, and takes the fastest. `target_share` is the share
    of the tokens that are in the loss.
    """
    arithmetic = Arithmetic.for_training(settings.device, settings.precision)
    micro_tokens = settings.sequences_per_micro_batch * settings.sequence_tokens
    rows = max(1, min(micro_tokens, _TIMED_TOKENS) // settings.sequence_tokens)
    tokens = rows * settings.sequence_tokens
    flops = tokens * flops_per_token(config, settings.sequence_tokens).full
    if flops > _LARGEST_FLOPS and arithmetic.device.type == "cpu":
        return None
    config = replace(
        config,
        max_position_embeddings=max(config.max_position_embeddings, settings.sequence_tokens),
    )
    model = Llama(config).to(arithmetic.device)
    model.initialize(0)
    batch = _random_batch(config, settings, rows, target_share).to(arithmetic.device)
    optimizer = build_optimizer(model, config, settings)
    lanes = Lanes(model, lanes_for(rows, arithmetic.device, processes=1))
    parts = batch.split(rows // lanes.count)
    passes, updates = [], []
    for _ in range(steps + 1):
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
    return min(passes[1:]) * settings.batch_tokens / tokens + min(updates[1:])


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
