"""Forecasts of training stages, to be sealed before their first step."""

from collections.abc import Iterator, Mapping
from typing import Any

from tongwen.model.config import ModelConfig
from tongwen.plan.choice import FARTHEST_EXTRAPOLATION, extrapolation
from tongwen.plan.laws import LossLaw
from tongwen.plan.settings import PlannedRun
from tongwen.train.forecast import Band, Forecast, Milestone
from tongwen.train.settings import TrainSettings
from tongwen.train.weights import config_to_start_from

_FASTER, _SLOWER = 0.85, 1.25
"""Of the time that timed steps foretell: checkpoints and first steps only add to it; assumed."""

_START_SECONDS = 5.0
"""Before the first step is done, at most; assumed."""

_MEMORY_SPREAD = 0.10
"""Twice the 5 % that the closed form is meant to hold."""

_MILESTONES = 10  # tenths of a run: enough to see early that it leaves its forecast


def forecasts(
    plan: Mapping[str, Any], planned: PlannedRun, laws: Mapping[str, LossLaw]
) -> list[Forecast]:
    """One for each training stage of a plan: memory, time and price where steps were timed, and
    loss where a law knows it.
    """
    config = config_to_start_from(planned.model, planned.pretrain, plan["model"]["vocabulary_size"])
    return [
        _forecast(name, plan["stages"][name], settings, config, planned, laws)
        for name, settings in planned.stages.items()
    ]


def _forecast(
    name: str,
    stage: Mapping[str, Any],
    settings: TrainSettings,
    config: ModelConfig,
    planned: PlannedRun,
    laws: Mapping[str, LossLaw],
) -> Forecast:
    seconds, price = stage["predicted_seconds"], stage["predicted_price"]
    starts_anew = (
        name == "pretrain" and planned.pretrain is not None and planned.pretrain.base is None
    )
    milestones = (
        tuple(_milestones(config, settings, stage["flops_full"], laws)) if starts_anew else ()
    )
    used = {row.language for row in milestones}
    basis = [f"{laws[language].name}: {laws[language].references}" for language in sorted(used)]
    if seconds is not None:
        basis.append("time: real steps on this machine")
    basis.append("memory: closed form")
    return Forecast(
        stage=name,
        steps=settings.steps,
        milestones=milestones,
        seconds=None if seconds is None else _time(seconds, 1.0),
        memory_bytes=_memory(stage),
        price=None if price is None else _time(seconds, price / seconds),
        basis=tuple(basis),
    )


def _time(seconds: float, factor: float) -> Band:
    return Band(
        factor * seconds,
        factor * _FASTER * seconds,
        factor * (_SLOWER * seconds + _START_SECONDS),
    )


def _memory(stage: Mapping[str, Any]) -> Band:
    """What the run's metrics show: on a GPU torch's own, without the process."""
    expected = float(stage["predicted_memory_bytes"])
    if stage["device"] == "cuda":
        expected -= stage["memory"]["process"]
    return Band(expected, expected * (1 - _MEMORY_SPREAD), expected * (1 + _MEMORY_SPREAD))


def _milestones(
    config: ModelConfig, settings: TrainSettings, flops: float, laws: Mapping[str, LossLaw]
) -> Iterator[Milestone]:
    """At the end of the run; before that where the law says so, while the rate does not fall."""
    end = settings.batches.tokens_before(settings.steps)
    for law in laws.values():
        far = extrapolation(law, flops)
        if far > FARTHEST_EXTRAPOLATION:
            continue
        parameters = config.parameters if law.counts_embeddings else config.non_embedding_parameters
        places = [end]
        if law.holds_on_the_way:
            constant = (1 - settings.decay_share) * end if settings.decay == "wsd" else end
            tenths = (end * n // _MILESTONES for n in range(1, _MILESTONES))
            places = [*(tokens for tokens in tenths if tokens <= constant), end]
        for tokens in places:
            low, high = law.interval(parameters, tokens, far)
            expected = law.bits_per_byte(parameters, tokens)
            yield Milestone(tokens, law.language, Band(expected, low, high))


def forecast_of_answer(answer: Mapping[str, Any], stage: str) -> Forecast:
    """Of a run that a budget has bought."""
    hours, price = answer["days"], answer["price"]
    memory = answer["memory_bytes"] - answer["memory"]["process"]
    milestones = tuple(
        Milestone(answer["tokens"], language, Band(row["expected"], row["low"], row["high"]))
        for language, row in answer["bits_per_byte"].items()
        if row["expected"] is not None
    )
    laws = [
        f"{row['law']}: {row['references']}"
        for row in answer["bits_per_byte"].values()
        if row["expected"] is not None
    ]
    return Forecast(
        stage=stage,
        steps=answer["steps"],
        milestones=milestones,
        seconds=Band(**{key: 86_400 * value for key, value in hours.items()}),
        memory_bytes=Band(memory, memory * (1 - _MEMORY_SPREAD), memory * (1 + _MEMORY_SPREAD)),
        price=None if price is None else Band(**price),
        basis=(*laws, f"speed: {answer['efficiency']['basis']}", "memory: closed form"),
    )
