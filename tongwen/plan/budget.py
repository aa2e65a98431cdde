"""From a budget to a run: size, tokens, settings, layout, time, energy, price, expected loss.

The run is planned for the machine that the question names. Every figure that rests on an assumption
comes with it, and the assumptions are listed in the answer.
"""

import math
from dataclasses import asdict
from typing import Any

from tongwen.errors import UsageError
from tongwen.model.config import ModelConfig
from tongwen.plan.choice import (
    FARTHEST_EXTRAPOLATION,
    SERVE_MFU,
    PlannedTraining,
    extrapolation,
    law_parameters,
    planned_training,
    primary_law,
    serve_seconds,
)
from tongwen.plan.devices import Efficiency
from tongwen.plan.laws import RATE_LAWS, DelphiReference, LossLaw
from tongwen.plan.question import Question
from tongwen.train.settings import TrainSettings

LANGUAGES = ("en", "zh")


_HOST_POWER = 1.3
"""Hosts, network and cooling, as a factor on the cards' own power; assumed."""


_TIME_SPREAD = {"measured here": 0.15, "measured": 0.25, "assumed": 0.5}
"""Half-width of the 80 % interval of the time, by what the speed rests on; assumed."""


def answer(question: Question) -> dict[str, Any]:
    """The answer as JSON values.

    Raises:
        UsageError: the budget pays for less than one card, or a target is beyond what the law
            can say.
        DoesNotFitError: no layout of the model fits on the machine, or the smallest model does not.
    """
    cards, notes = _cards(question)
    run = planned_training(question, cards)
    return _described(question, cards, run, notes)


def _cards(question: Question) -> tuple[int, list[str]]:
    """How many cards, and a note where nobody said."""
    if question.gpus is not None:
        return question.gpus, []
    node = question.device.cards_per_node
    if question.money is None or question.days is None or question.price is None:
        return node, [f"{node} cards are assumed: a node; --gpus changes it"] if node > 1 else []
    count = math.floor(question.money / question.price / 24 / question.days)
    if count < 1:
        most = question.money / question.price / 24
        raise UsageError(
            f"{question.money:,.0f} pays for {most:.2g} days of one {question.device.name}, "
            f"not for {question.days:g}",
            hint=f"--days {most:.2g}, or more --money",
        )
    if count > node:
        count -= count % node
    return count, [f"{count:,} cards are what the money pays for in {question.days:g} days"]


def _described(
    question: Question, cards: int, run: PlannedTraining, notes: list[str]
) -> dict[str, Any]:
    layout, settings, config = run.layout, run.layout.settings, run.config
    hours = run.seconds / 3_600
    spread = _TIME_SPREAD[_basis(question, run.efficiency)]
    price = None if question.price is None else cards * hours * question.price
    if question.recipe is not None and question.recipe.batch_tokens != settings.batch_tokens:
        notes.append(
            f"the batch is {settings.batch_tokens:,} tokens instead of "
            f"{question.recipe.batch_tokens:,}, so that every card takes whole sequences"
        )
    far = extrapolation(primary_law(question), run.flops)
    if question.shape is None and far > 1:
        notes.append(
            f"the size was chosen by a loss law carried {far:,.3g} times beyond its runs: try "
            "sizes around it with --parameters"
        )
    if question.is_continued and question.stage == "pretrain":
        notes.append("name the model to continue in pretrain.base")
    return {
        "stage": question.stage,
        "gpus": cards,
        "device": asdict(question.device),
        "model": _model(config),
        "tokens": run.tokens,
        "tokens_per_parameter": run.tokens / config.parameters,
        "steps": run.steps,
        "flops": run.flops,
        "settings": _settings(settings),
        "rate_laws": _rates(config, run) if not question.is_continued else [],
        "memory": asdict(layout.memory),
        "memory_bytes": layout.memory.total,
        "efficiency": {
            "mfu_before_layout": run.efficiency.mfu,
            "basis": run.efficiency.basis,
            "layout_slowdown": layout.slowdown,
            "pipeline_bubble": layout.bubble,
            "mfu": run.efficiency.mfu / layout.slowdown,
            "goodput": run.goodput,
        },
        "tokens_per_second": layout.tokens_per_second,
        "step_seconds": layout.step_seconds,
        "checkpoint_minutes": settings.checkpoint_every_steps * layout.step_seconds / 60,
        "days": _interval(hours / 24, spread),
        "gpu_hours": _interval(cards * hours, spread),
        "energy_kwh": _interval(
            cards * question.device.power_watts * _HOST_POWER * hours / 1_000, spread
        ),
        "price": None if price is None else _interval(price, spread),
        "serving_gpu_hours": serve_seconds(question, config) / 3_600 or None,
        "bits_per_byte": expected_bits(question, config, run.tokens, run.flops),
        "notes": notes,
        "assumptions": _assumptions(question, spread),
    }


def _interval(expected: float, spread: float) -> dict[str, float]:
    return {
        "expected": expected,
        "low": expected / (1 + spread),
        "high": expected * (1 + spread),
    }


def _basis(question: Question, found: Efficiency) -> str:
    if question.mfu is not None:
        return "measured here"
    if found.basis.startswith("assumed"):
        return "assumed"
    is_own = f"on {question.device.name} by tongwen" in found.basis
    return "measured here" if is_own and ";" not in found.basis else "measured"


def _model(config: ModelConfig) -> dict[str, Any]:
    return {
        **asdict(config),
        "parameters": config.parameters,
        "non_embedding_parameters": config.non_embedding_parameters,
    }


_SHOWN = (
    "max_tokens",
    "sequence_tokens",
    "batch_tokens",
    "micro_batch_tokens",
    "peak_learning_rate",
    "final_learning_rate_share",
    "warmup_share",
    "decay",
    "decay_share",
    "optimizer",
    "weight_decay",
    "recompute",
    "checkpoint_every_steps",
    "hours_between_failures",
)


def _settings(settings: TrainSettings) -> dict[str, Any]:
    """What a recipe's section would say."""
    found = {name: getattr(settings, name) for name in _SHOWN}
    if settings.decay != "wsd":
        del found["decay_share"]
    return found | {"parallel": asdict(settings.parallel)}


def _rates(config: ModelConfig, run: PlannedTraining) -> list[dict[str, Any]]:
    """What each law says of this run, the recommended first."""
    parameters = config.non_embedding_parameters
    batch = run.layout.settings.batch_tokens
    laws = [
        {
            "law": law.name,
            "references": law.references,
            **asdict(law.at(parameters, run.tokens, run.flops)),
        }
        for law in RATE_LAWS
    ]
    delphi = DelphiReference()
    laws.append(
        {
            "law": f"{delphi.name} (Adam's part)",
            "references": delphi.references,
            "rate": delphi.adam_rate(batch, run.tokens),
            "batch_tokens": None,
        }
    )
    return laws


def expected_bits(
    question: Question, config: ModelConfig, tokens: float, flops: float
) -> dict[str, Any]:
    """Language -> expected bits a byte with its 80 % interval, or why there is none."""
    found: dict[str, Any] = {}
    for language in dict.fromkeys((*LANGUAGES, *question.laws)):
        law = question.laws.get(language)
        if question.is_continued:
            found[language] = _unknown("the run starts from weights that the law does not know")
        elif law is None:
            found[language] = _unknown(
                f"no loss law of it: {', '.join(known.name for known in question.laws.values())} "
                f"has none; fit one on runs of your own and name it with --law"
            )
        else:
            found[language] = _expected(law, config, tokens, flops)
    return found


def _unknown(why: str) -> dict[str, Any]:
    return {"expected": None, "low": None, "high": None, "why": why}


def _expected(law: LossLaw, config: ModelConfig, tokens: float, flops: float) -> dict[str, Any]:
    parameters = law_parameters(law, config)
    far = extrapolation(law, flops)
    said = {"law": law.name, "references": law.references, "extrapolation": far}
    if far > FARTHEST_EXTRAPOLATION:
        side = "the largest" if flops > law.largest_flops else "below the smallest"
        return (
            _unknown(
                f"{far:,.0f} times {side} run behind {law.name}: no forecast (if it held, "
                f"{law.bits_per_byte(parameters, tokens):.3f})"
            )
            | said
        )
    low, high = law.interval(parameters, tokens, far)
    return {
        "expected": law.bits_per_byte(parameters, tokens),
        "low": low,
        "high": high,
        **said,
    }


def _assumptions(question: Question, spread: float) -> list[str]:
    device = question.device
    said = [
        f"a card fails once in {question.failure_gpu_hours:,.0f} hours (Llama 3 on 16,384 H100: "
        "419 interruptions in 54 days), and a restart takes 10 minutes",
        "checkpoints: 10 GB/s from a card to its host, 10 GB/s to storage for all cards",
        f"power: {device.power_watts:g} W a card, times {_HOST_POWER} for hosts and cooling",
        f"network: {device.network_gbs:g} GB/s a card, links {device.link_gbs:g} GB/s",
        f"intervals hold 80 %; time, energy and price: a factor of {1 + spread:.2f} up or down",
    ]
    if question.price_per_hour is None and device.price_per_hour is not None:
        said.append(f"price: {device.price_per_hour:g} an hour ({device.price_source})")
    if question.serve_tokens is not None:
        said.append(f"serving at {SERVE_MFU:.0%} of peak speed")
    return said
