"""The plan: what each training stage of a recipe needs, and whether this machine has it."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch

from tongwen.errors import DoesNotFitError, InputError
from tongwen.files import read_json
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic, choose_device
from tongwen.model.flops import flops_per_token
from tongwen.plan.calibrate import timed_steps
from tongwen.plan.formulas import checkpoint_bytes, training_memory
from tongwen.plan.hints import hint_to_fit
from tongwen.plan.settings import PlannedRun, PlanSettings, check_windows
from tongwen.train.lanes import lanes_for
from tongwen.train.parallel.check import check_layout
from tongwen.train.retention import Retention
from tongwen.train.settings import TrainSettings
from tongwen.train.weights import config_to_start_from

_TARGET_SHARE = {"tune": 0.33}
"""Share of tokens in the loss: all of a text, about a third of a dialogue."""

_FIRST_STEP_BYTES = 200 << 20
"""What torch and oneDNN load and set up in a first training step, until real steps say more: 200
MiB were measured with bfloat16, 100 in float32."""

_SPEED_TEST_SECONDS = 0.5
"""That a run on a CPU begins with, for its share of peak speed: see `train.hardware`."""

_REPEATS_WORTH_TRAINING = 4
"""Beyond so many epochs a repeated token teaches less than a new one: Muennighoff et al. 2023,
arXiv:2305.16264."""


def make_plan(planned: PlannedRun, shards_folder: Path | None, out: Path) -> dict[str, Any]:
    """The plan of a recipe as JSON values; times are predicted by `add_times`.

    Args:
        planned: the model and the training stages.
        shards_folder: of the encode stage; without it epochs stay unknown.
        out: a folder on the disk that the run will write to; it need not exist.

    Raises:
        RecipeError: a stage's sequences do not fit the window it works with, or its layout not the
            model or the batch.
        InputError: `shards.json` is missing or damaged.
    """
    shards = _read_shards(shards_folder)
    vocabulary_size = shards["vocabulary_size"] if shards else planned.vocabulary_size
    config = config_to_start_from(planned.model, planned.pretrain, vocabulary_size)
    stages = planned.stages
    check_windows(config, stages)
    for settings in stages.values():
        check_layout(config, settings, settings.parallel.fewest_processes)
    return {
        "model": {
            **asdict(config),
            "parameters": config.parameters,
            "non_embedding_parameters": config.non_embedding_parameters,
            "embedding_parameters": config.embedding_parameters,
        },
        "data": shards and {"tokens": _split_tokens(shards, "train")},
        "machine": _machine(planned.plan, stages, out),
        "stages": {
            name: _stage_plan(name, config, settings, shards) for name, settings in stages.items()
        },
    }


def check_fit(plan: Mapping[str, Any], planned: PlannedRun) -> None:
    """Refuse a plan that this machine cannot carry out.

    Raises:
        DoesNotFitError: with what is needed, what there is, and a setting that would fit.
    """
    machine = plan["machine"]
    for name, stage in plan["stages"].items():
        needed, there = stage["predicted_memory_bytes"], machine["memory_bytes"]
        if needed <= there:
            continue
        hint = _hint_to_fit(name, plan, planned)
        states = sum(stage["memory"][key] for key in ("weights", "gradients", "optimizer"))
        if states > there:
            raise DoesNotFitError(
                f"{name} needs {_gib(states)} of memory for weights, gradients and optimizer "
                f"alone, {_gib(there)} are free",
                hint=hint,
            )
        raise DoesNotFitError(
            f"{name} needs {_gib(needed)} of memory, {_gib(there)} are free; activations "
            f"take {_gib(stage['memory']['activations'])} of it",
            hint=hint,
        )
    needed = sum(stage["disk_bytes"] for stage in plan["stages"].values())
    if needed > machine["disk_bytes"]:
        keeping = [name for name, stage in planned.stages.items() if stage.keep_checkpoints > 1]
        fewer = " ".join(f"--set {name}.keep_checkpoints=1" for name in keeping)
        raise DoesNotFitError(
            f"checkpoints and models need {_gib(needed)} of disk, "
            f"{_gib(machine['disk_bytes'])} are free",
            hint=f"free some space, or {fewer}" if fewer else "free some space",
        )


def _hint_to_fit(name: str, plan: Mapping[str, Any], planned: PlannedRun) -> str:
    """Of a stage whose memory is not there."""
    stage, settings = plan["stages"][name], planned.stages[name]
    config = config_to_start_from(planned.model, planned.pretrain, plan["model"]["vocabulary_size"])
    return hint_to_fit(
        name,
        config,
        settings,
        plan["machine"]["memory_bytes"],
        bf16=stage["dtype"] == "bfloat16",
        on_cpu=stage["device"] == "cpu",
        process_bytes=stage["memory"]["process"],
        lanes=stage["lanes"],
        may_name_memory=planned.plan.memory_gib is None,
    )


def add_times(plan: dict[str, Any], planned: PlannedRun, out: Path | None = None) -> None:
    """Predict each stage's time from a few real steps, and its price where one is known; correct
    its memory by what these steps took.

    Args:
        plan: gets the values.
        planned: what it was made of.
        out: a folder on the disk that checkpoints will be written to; without one their time is
            left out.
    """
    settings = planned.plan
    vocabulary_size = plan["model"]["vocabulary_size"]
    config = config_to_start_from(planned.model, planned.pretrain, vocabulary_size)
    held = 0  # by the process after the stages before: the allocator keeps what they took
    for name, stage in plan["stages"].items():
        training = planned.stages[name]
        timed = None
        if settings.calibration_steps:
            timed = timed_steps(
                config,
                training,
                steps=settings.calibration_steps,
                target_share=_TARGET_SHARE.get(name, 1.0),
                folder=None if out is None else _existing(out),
            )
        if timed is None:
            continue
        if timed.extra_bytes is not None:
            change = timed.extra_bytes - _FIRST_STEP_BYTES
            change = max(change, held - stage["predicted_memory_bytes"])
            stage["memory"]["process"] += change
            stage["predicted_memory_bytes"] += change
            held = stage["predicted_memory_bytes"]
        stage["seconds_per_step"] = timed.step_seconds
        stage["tokens_per_second"] = training.batch_tokens / timed.step_seconds
        validation_seconds = stage["validation_tokens"] * timed.token_seconds
        start_seconds = timed.first_seconds
        if stage["device"] == "cpu":
            start_seconds += _SPEED_TEST_SECONDS
        stage["predicted_seconds"] = (
            training.steps * timed.step_seconds
            + _saves(training) * timed.save_seconds
            + validation_seconds
            + start_seconds
        )
        stage["flops_per_second"] = stage["flops_per_token_full"] * stage["tokens_per_second"]
        if settings.price_per_hour is not None:
            stage["predicted_price"] = stage["predicted_seconds"] / 3600 * settings.price_per_hour


def _saves(settings: TrainSettings) -> int:
    """Checkpoints that a run writes."""
    retention = Retention.of(settings)
    steps = {settings.steps, *range(retention.regular, settings.steps + 1, retention.regular)}
    if retention.every is not None:
        steps |= {*range(retention.every, settings.steps + 1, retention.every)}
    if retention.branch_point is not None:
        steps.add(retention.branch_point)
    return len(steps)


def _stage_plan(
    name: str, config: ModelConfig, settings: TrainSettings, shards: Mapping[str, Any] | None
) -> dict[str, Any]:
    arithmetic = Arithmetic.for_training(settings.device, settings.precision)
    lanes = lanes_for(
        settings.sequences_per_micro_batch, arithmetic.device, settings.parallel.fewest_processes
    )
    memory = training_memory(
        config,
        settings,
        bf16=arithmetic.dtype == torch.bfloat16,
        on_cpu=arithmetic.device.type == "cpu",
        process_bytes=psutil.Process().memory_info().rss + _FIRST_STEP_BYTES,
        lanes=lanes,
    )
    flops = flops_per_token(
        config,
        settings.sequence_tokens,
        has_head_gradient=settings.head_gradient_samples is None,
    )
    tokens = settings.batches.tokens_before(settings.steps)
    epochs, notes = None, []
    if shards and name != "tune":
        epochs = tokens / max(1, _split_tokens(shards, "train"))
        if epochs > _REPEATS_WORTH_TRAINING:
            notes.append(
                f"the data is seen {epochs:.1f} times; beyond {_REPEATS_WORTH_TRAINING} times "
                "repeated text teaches less than new text"
            )
    validations = -(-settings.steps // settings.evaluate_every_steps)
    return {
        "device": arithmetic.device.type,
        "lanes": lanes,
        "dtype": str(arithmetic.dtype).removeprefix("torch."),
        "tokens": tokens,
        "steps": settings.steps,
        "epochs": epochs,
        "sequence_tokens": settings.sequence_tokens,
        "batch_tokens": settings.batch_tokens,
        "micro_batch_tokens": settings.sequences_per_micro_batch * settings.sequence_tokens,
        "validation_tokens": validations * _validation_tokens(name, settings, shards),
        "flops_per_token_full": flops.full,
        "flops_per_token_causal": flops.causal,
        "flops_full": flops.full * tokens,
        "flops_causal": flops.causal * tokens,
        "memory": asdict(memory),
        "predicted_memory_bytes": memory.total,
        "disk_bytes": checkpoint_bytes(config, settings),
        "seconds_per_step": None,
        "predicted_seconds": None,
        "predicted_price": None,
        "notes": notes,
    }


def _machine(
    settings: PlanSettings, stages: Mapping[str, TrainSettings], out: Path
) -> dict[str, int | str | None]:
    memory_bytes = psutil.virtual_memory().available
    if any(choose_device(stage.device).type == "cuda" for stage in stages.values()):
        memory_bytes = torch.cuda.mem_get_info()[0]
    if settings.memory_gib is not None:
        memory_bytes = round(settings.memory_gib * 2**30)
    return {
        "memory_bytes": memory_bytes,
        "disk_bytes": shutil.disk_usage(_existing(out)).free,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
    }


def _existing(out: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())


def _read_shards(folder: Path | None) -> dict[str, Any] | None:
    if folder is None:
        return None
    try:
        values: dict[str, Any] = read_json(folder / "shards.json")
        _split_tokens(values, "train")
        int(values["vocabulary_size"])
    except OSError as error:
        raise InputError(
            f"cannot read {folder / 'shards.json'}: {error.strerror}",
            hint="run `tongwen encode` first",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'shards.json'} is damaged: {error}", hint="run `tongwen encode` again"
        ) from error
    return values


def _split_tokens(shards: Mapping[str, Any], split: str) -> int:
    return sum(int(row["tokens"]) for row in shards["shards"] if row["split"] == split)


def _validation_tokens(name: str, settings: TrainSettings, shards: Mapping[str, Any] | None) -> int:
    """Tokens of one validation."""
    if shards is None or name == "tune":
        return 0
    splits = {row["split"] for row in shards["shards"] if row["split"].startswith("valid-")}
    return sum(min(settings.validation_tokens, _split_tokens(shards, split)) for split in splits)


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
