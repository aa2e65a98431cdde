"""From what the command line says to a question, and from that to the answer's lines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tongwen.errors import UsageError
from tongwen.model.config import ModelConfig
from tongwen.plan.answer_text import answer_lines, fitting_lines, tuning_lines
from tongwen.plan.budget import answer
from tongwen.plan.devices import THIS, Device, Devices, Measured
from tongwen.plan.forecast import forecast_of_answer
from tongwen.plan.law_file import read_laws
from tongwen.plan.question import Question, option
from tongwen.plan.settings import PlannedRun
from tongwen.plan.shapes import nearest
from tongwen.plan.tuning import fitting, tuning_answer
from tongwen.train.forecast import FORECAST, write_forecasts
from tongwen.train.weights import config_to_start_from

_LARGEST_RATIO = 1.5
"""Between a size asked for and the one planned; the smallest shapes are that far apart."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the options of `tongwen plan` say beyond a `Question`'s own fields.

    Attributes:
        gpu: name of the device.
        planned: the recipe's training stages, where a recipe is named.
        stage: which of them is meant.
        parameters: of a fixed size, without a recipe.
        is_continued: whether pretraining starts from trained weights.
        devices: a user's own table.
        law: a user's own loss laws.
        values: further fields of the question, None where they were not given.
    """

    gpu: str
    planned: PlannedRun | None = None
    stage: str = "pretrain"
    parameters: float | None = None
    is_continued: bool = False
    devices: Path | None = None
    law: Path | None = None
    values: Mapping[str, Any]


def question(asked: Asked) -> Question:
    """The question, its device and shape found.

    Raises:
        UsageError: an unknown device or stage, or options that do not go together.
        InputError: a file of the user's cannot be read.
    """
    table = Devices.load(asked.devices)
    device, measured = device_named(table, asked.gpu)
    values = {name: value for name, value in asked.values.items() if value is not None}
    _check_options(asked, values)
    if asked.law is not None:
        values["laws"] = read_laws(asked.law)
        if "en" not in values["laws"]:
            values.setdefault("target_language", next(iter(values["laws"])))
    values |= _shape(asked, values)
    if values.get("method", "full") != "full" and asked.stage == "pretrain":
        values["recipe"] = None
    return Question(device=device, measured=measured, **values)


def _check_options(asked: Asked, values: Mapping[str, Any]) -> None:
    """Refuse options that would change nothing.

    Raises:
        UsageError: with the first of them.
    """
    is_full = values.get("method", "full") == "full"
    idle = {
        "rank": is_full and "--method is not given",
        "gpus": not is_full and "adapters are planned for one card",
        "days": not is_full and "adapters are planned for a number of tokens",
        "flops": not is_full and "adapters are planned for a number of tokens",
        "target_bits_per_byte": not is_full and "adapters are planned for a number of tokens",
        "vocabulary_size": asked.planned is not None and "the recipe fixes the vocabulary",
        "target_language": "target_bits_per_byte" not in values
        and "--target-bits-per-byte is not given",
    }
    for name, why in idle.items():
        if name in values and why:
            raise UsageError(f"{option(name)} changes nothing: {why}", hint="leave it out")


def device_named(table: Devices, name: str) -> tuple[Device, tuple[Measured, ...]]:
    """A device of the table, or this machine, and the measured rows.

    Raises:
        UsageError: unknown, with the nearest names.
    """
    if name.lower() != THIS:
        return table.named(name), table.measured
    from tongwen.plan.this_machine import this_machine  # loads torch and times a few steps

    device, row = this_machine(table)
    return device, table.measured if row is None else (row, *table.measured)


def _shape(asked: Asked, values: Mapping[str, Any]) -> dict[str, Any]:
    """The model, and what of its recipe the question takes over."""
    if asked.planned is None:
        if asked.parameters is None:
            return {}
        vocabulary = values.get("vocabulary_size", 64_000)
        sequence = values.get("sequence_tokens", 4_096)
        return {"shape": _shape_of_size(asked.parameters, vocabulary, sequence)}
    if asked.parameters is not None:
        raise UsageError(
            f"--parameters is {asked.parameters:g}, but the recipe fixes the size",
            hint="leave out one of the two",
        )
    stages = asked.planned.stages
    # Of an extension in several runs the last, which has the longest window.
    run = next((name for name in reversed(stages) if name.split(".")[0] == asked.stage), None)
    if run is None:
        raise UsageError(
            f"the recipe has no stage {asked.stage!r}",
            hint=f"--stage {' or '.join(dict.fromkeys(name.split('.')[0] for name in stages))}",
        )
    recipe = stages[run]
    config = config_to_start_from(
        asked.planned.model, asked.planned.pretrain, asked.planned.vocabulary_size
    )
    sequence = values.get("sequence_tokens", recipe.sequence_tokens)
    window = max(sequence, config.max_position_embeddings)
    found: dict[str, Any] = {
        "shape": replace(config, max_position_embeddings=window),
        "recipe": recipe,
        "stage": asked.stage,
        "is_continued": asked.is_continued or asked.stage != "pretrain",
    }
    limits = ("days", "money", "flops", "tokens", "target_bits_per_byte")
    if values.get("method", "full") == "full" and not any(values.get(name) for name in limits):
        found["tokens"] = recipe.max_tokens
    return found


def _shape_of_size(parameters: float, vocabulary_size: int, sequence_tokens: int) -> ModelConfig:
    """The member of the family with about that many parameters.

    Raises:
        UsageError: the family has none of about that size; another size is never planned instead.
    """
    found = nearest(parameters, vocabulary_size, sequence_tokens)
    if not 1 / _LARGEST_RATIO < found.parameters / parameters < _LARGEST_RATIO:
        raise UsageError(
            f"--parameters is {parameters:g}, but the nearest size that can be planned is "
            f"{found.parameters:.3g} (with {vocabulary_size:,} pieces)",
            hint="name a recipe with a [model] section of that size, such as `tongwen plan RECIPE "
            "--gpu ...`",
        )
    return found


def answered(asked: Question) -> dict[str, Any]:
    """The answer to any question."""
    return answer(asked) if asked.method == "full" else tuning_answer(asked)


def lines_of(asked: Question, found: Mapping[str, Any]) -> Iterator[str]:
    """The answer as people read it."""
    return answer_lines(found) if asked.method == "full" else tuning_lines(found)


def seal(found: Mapping[str, Any], stage: str, folder: Path) -> None:
    """Write the answer's forecast into the folder of the stage that will train.

    Raises:
        UsageError: a run in the folder has begun, or the answer is of adapters.
    """
    if "method" in found:
        raise UsageError("--seal: this release trains no adapters", hint="leave it out")
    if (folder / "metrics.jsonl").exists():
        raise UsageError(
            f"--seal {folder}: the run has begun, so it is too late for a forecast",
            hint="seal before the first step, into a new folder",
        )
    write_forecasts(folder / FORECAST, [forecast_of_answer(found, stage)])


def what_fits(
    shapes: Mapping[str, ModelConfig],
    gpu: str,
    devices: Path | None,
    *,
    sequence_tokens: int = 2_048,
    rank: int = 16,
) -> tuple[list[dict[str, Any]], list[str]]:
    """What each shape needs on a device, as values and as a table.

    Raises:
        UsageError: no such device.
    """
    device, _ = device_named(Devices.load(devices), gpu)
    rows = list(fitting(shapes, device, sequence_tokens, rank))
    head = f"{device.name}: {device.memory_gib:,.1f} GiB"
    return rows, [head, *fitting_lines(rows)]
