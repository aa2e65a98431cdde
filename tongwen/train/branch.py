"""Runs that go on from another one's constant rate.

A run at the peak rate does not know yet when its rate will fall: until then it is the same run for
every `max_tokens`, `decay`, `decay_share` and for mixtures that change later (Hu et al. 2024,
arXiv:2404.06395, section 4.2). So one trunk serves many ends, and a branch ends with the bytes of a
run that was planned that way from its first step.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tongwen.errors import TongwenError
from tongwen.files import read_json, value_digest
from tongwen.train.checkpoint import COMPLETE, IDENTITY, Position
from tongwen.train.identity import run_identity
from tongwen.train.job import Job
from tongwen.train.optim.schedule import last_constant_step, learning_rate, warmup_tokens_of
from tongwen.train.retention import CHECKPOINTS, FINISHED, by_step, step_of
from tongwen.train.settings import TrainSettings

_LATER = ("max_tokens", "decay", "decay_share", "final_learning_rate_share")
_BEGINNING = ("warmup_share", "warmup_tokens", "batch_ramp_share")
_MIXTURES = ("mixture_stages", "data.mixture_stages")


@dataclass(frozen=True)
class Branch:
    """Where a run goes on from another one.

    Attributes:
        folder: checkpoints of the other run.
        step: of the checkpoint.
        settings: of the run that goes on: as asked, with the other's warm-up and batch ramp.
    """

    folder: Path
    step: int
    settings: TrainSettings


def find_branch(job: Job, first_weights: str) -> Branch | None:
    """The run below `job.out` that a new one shares the most steps with.

    None when the run itself has begun, or none shares a step of which there is a checkpoint.
    """
    checkpoints = job.out / CHECKPOINTS
    asked = _identity(job, job.settings, first_weights)
    if job.settings.changed_run == "restart" or _has_begun(checkpoints, asked):
        return None
    found = list(_branches(job, first_weights, asked, checkpoints))
    for branch in found:  # begun before
        own = _identity(job, branch.settings, first_weights)
        if _has_begun(checkpoints, own):
            return replace(branch, step=0)
    return max(found, key=lambda branch: branch.step, default=None)


def _branches(
    job: Job, first_weights: str, asked: Mapping[str, Any], checkpoints: Path
) -> Iterator[Branch]:
    """From every other run there, its newest checkpoint that both share."""
    for folder in sorted(path for path in checkpoints.glob("*/") if path.is_dir()):
        try:
            other = read_json(folder / IDENTITY)
        except (OSError, ValueError):
            continue
        differing = {key for key in {*asked, *other} if asked.get(key) != other.get(key)}
        if not differing or not differing <= {*_LATER, *_BEGINNING, *_MIXTURES}:
            continue
        branch = _branch(job.settings, other, asked, folder)
        if branch is not None:
            yield branch


def _branch(
    asked: TrainSettings, other: Mapping[str, Any], identity: Mapping[str, Any], folder: Path
) -> Branch | None:
    names = {field.name for field in fields(TrainSettings)}
    known: dict[str, Any] = {key: other.get(key) for key in (*_LATER, *_BEGINNING) if key in names}
    if known["warmup_share"] is None:  # it has `warmup_tokens` in its place
        del known["warmup_share"]
    try:
        theirs = replace(asked, **known)
        ours = _with_beginning_of(theirs, asked)
    except TongwenError:  # shares that no run of this length has
        return None
    limits = [limit for limit in map(last_constant_step, (theirs, ours)) if limit is not None]
    if len(limits) < 2:
        return None
    last = min(limits)
    for path in reversed(by_step(folder)):
        step = step_of(path)
        position = _position(path)
        if position is None or step > last:
            continue
        is_same = all(
            theirs.batches.batch_tokens_of(number) == ours.batches.batch_tokens_of(number)
            for number in {step, step - 1, *theirs.batches.first_steps, *ours.batches.first_steps}
            if number <= step
        )
        if is_same and _mixtures_agree(other, identity, position.samples):
            return Branch(folder, step, ours)
    return None


def _with_beginning_of(theirs: TrainSettings, asked: TrainSettings) -> TrainSettings:
    """`asked`, with the warm-up and the batch ramp that the other run had.

    Both are shares of `max_tokens`, and only what a user wrote as tokens is taken at its word.
    """
    changed: dict[str, Any] = {}
    if asked.initial_batch_tokens is not None:
        share = theirs.batch_ramp_share * theirs.max_tokens / asked.max_tokens
        if theirs.batch_ramp_share == asked.batch_ramp_share and share <= 1:
            changed["batch_ramp_share"] = share
    if asked.warmup_tokens is None and not _warm_up_alike(theirs, asked):
        changed["warmup_tokens"] = warmup_tokens_of(theirs)
    return replace(asked, **changed)


def _warm_up_alike(one: TrainSettings, other: TrainSettings) -> bool:
    """Whether no step's rate shows a difference."""
    longest = max(warmup_tokens_of(one), warmup_tokens_of(other))
    steps = math.ceil(longest / (one.initial_batch_tokens or one.batch_tokens)) + 1
    if warmup_tokens_of(one) == warmup_tokens_of(other):
        return True
    if steps > _FEW_STEPS:
        return False
    tokens = [one.batches.tokens_before(step + 1) for step in range(steps)]
    return all(learning_rate(one, count) == learning_rate(other, count) for count in tokens)


_FEW_STEPS = 64
"""A longer warm-up shows in the rate of some step."""


def _mixtures_agree(other: Mapping[str, Any], ours: Mapping[str, Any], samples: int) -> bool:
    """Whether both runs' mixtures are the same up to a sample."""
    texts = [str(identity.get("data.mixture_stages") or "") for identity in (other, ours)]
    begun = [
        [stage for stage in text.split("; ") if stage and _first_sample(stage) < samples]
        for text in texts
    ]
    return begun[0] == begun[1]


def _first_sample(stage: str) -> int:
    """Of a mixture's stage, as `Stage` writes itself: `from sample 1200 en 500 of 1000`."""
    return int(stage.split()[2])


def _position(checkpoint: Path) -> Position | None:
    try:
        return Position.from_json(read_json(checkpoint / COMPLETE)["position"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity(job: Job, settings: TrainSettings, first_weights: str) -> dict[str, Any]:
    return run_identity(job.weights.config, first_weights, settings, job.data.fingerprint_parts)


def _has_begun(checkpoints: Path, identity: Mapping[str, Any]) -> bool:
    folder = checkpoints / value_digest(identity)[:12]
    return (folder / FINISHED).exists() or bool(by_step(folder))
