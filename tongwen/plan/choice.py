"""Which run a budget buys: size, tokens, settings, layout, and the share of time that counts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tongwen.errors import DoesNotFitError, UsageError
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.plan.devices import Efficiency, efficiency
from tongwen.plan.formulas import state_bytes
from tongwen.plan.laws import LossLaw, recommended_rate
from tongwen.plan.layout import Layout, best_layout
from tongwen.plan.question import Question
from tongwen.plan.shapes import family
from tongwen.train.guard import checkpoint_steps
from tongwen.train.settings import TrainSettings

FARTHEST_EXTRAPOLATION = 100.0
"""A law that is carried further than this from its reference points forecasts nothing."""

_COPY_BYTES_PER_SECOND = 10e9
"""From a card to its host's memory; assumed."""

_STORE_BYTES_PER_SECOND = 10e9
"""Of the storage that all cards write to; assumed."""

_SAVE_SECONDS = 2.0
"""Of waiting for one another at a checkpoint; assumed."""

_RESTART_SECONDS = 600.0
"""From a failure to the next step, without the work done again; assumed."""

SERVE_MFU = 0.10
"""Share of peak speed when answering, mostly one token after the other in batches; assumed."""

_LEAST_STEPS = 100
"""A batch is no larger than this part of the run."""


@dataclass(frozen=True)
class PlannedTraining:
    """One model on so many tokens, on the machine that was asked about.

    Attributes:
        config: the model.
        tokens: in whole batches.
        layout: settings, memory and time of a step.
        efficiency: of the device before the layout costs any.
        goodput: share of the time in steps that count.
        failure_seconds: mean time between failures of the machine.
    """

    config: ModelConfig
    tokens: int
    layout: Layout
    efficiency: Efficiency
    goodput: float
    failure_seconds: float

    @property
    def steps(self) -> int:
        return -(-self.tokens // self.layout.settings.batch_tokens)

    @property
    def seconds(self) -> float:
        """Wall-clock, with checkpoints, failures and what they make the run do again."""
        return self.steps * self.layout.step_seconds / self.goodput

    @property
    def flops(self) -> float:
        """Attention counted over all pairs of tokens."""
        per_token = flops_per_token(self.config, self.layout.settings.sequence_tokens)
        return float(per_token.full * self.tokens)


def _seconds_allowed(question: Question, cards: int) -> float | None:
    """Wall-clock that days and money allow."""
    limits = []
    if question.days is not None:
        limits.append(question.days * 86_400)
    if question.money is not None and question.price:
        limits.append(question.money / question.price * 3_600 / cards)
    return min(limits, default=None)


def planned_training(question: Question, cards: int) -> PlannedTraining:
    """The best run of the budget on so many cards.

    Raises:
        UsageError: a target is beyond what the law can say.
        DoesNotFitError: no layout of the model fits, or no size of model into the budget.
    """
    return _fixed(question, cards) if question.shape else _chosen(question, cards)


def _fixed(question: Question, cards: int) -> PlannedTraining:
    """A given model: its tokens follow from the limit, or are given."""
    config = question.shape
    assert config is not None
    flops = flops_per_token(config, _sequence(question)).full
    allowed = _seconds_allowed(question, cards)
    if question.target_bits_per_byte is not None:
        tokens = _tokens_to_target(question, config)
        if tokens is None:
            raise UsageError(
                f"--target-bits-per-byte is {question.target_bits_per_byte:g}; by the law a model "
                f"of {config.parameters / 1e9:.3g}B does not get there with any number of tokens",
                hint="leave the size open, or raise the target",
            )
    elif question.tokens is not None or question.flops is not None:
        by_flops = question.flops / flops if question.flops is not None else math.inf
        tokens = min(question.tokens or math.inf, by_flops)
    else:
        assert allowed is not None
        return _filled(question, config, cards, allowed)
    _check_reach(question, config, tokens)
    run = _training(question, config, tokens, cards)
    if allowed is not None and run.seconds > allowed:
        if question.tokens is None:
            return _filled(question, config, cards, allowed)
        raise DoesNotFitError(
            f"{tokens:.3g} tokens take {run.seconds / 86_400:,.1f} days on {cards:,} "
            f"{question.device.name}, {allowed / 86_400:,.1f} are allowed",
            hint=f"--gpus {_next_node(cards * run.seconds / allowed, question)}, or --tokens "
            f"{tokens * allowed / run.seconds:.2g}",
        )
    return run


def _next_node(cards: float, question: Question) -> int:
    node = question.device.cards_per_node
    return math.ceil(cards / node) * node


def _filled(question: Question, config: ModelConfig, cards: int, seconds: float) -> PlannedTraining:
    """As many tokens as the time holds. The batch grows with the tokens, and so may the layout."""
    share = efficiency(question.device, config.parameters, question.measured).mfu
    flops = flops_per_token(config, _sequence(question)).full
    tokens = seconds * cards * question.device.peak_flops * share / flops
    run = _training(question, config, tokens, cards)
    for _ in range(4):
        tokens *= seconds / run.seconds
        run = _training(question, config, tokens, cards)
    batch = run.layout.settings.batch_tokens
    steps = math.floor(seconds * run.goodput / run.layout.step_seconds)
    if steps < 1:
        raise DoesNotFitError(
            f"one step of {batch:,} tokens takes {run.layout.step_seconds:,.0f} s, "
            f"{seconds:,.0f} s are allowed",
            hint="a smaller model, more cards or more time",
        )
    settings = replace(run.layout.settings, max_tokens=steps * batch)
    return replace(run, tokens=steps * batch, layout=replace(run.layout, settings=settings))


def _chosen(question: Question, cards: int) -> PlannedTraining:
    """A model of the family whose layout fits, and its time where the tokens are given.

    What a layout costs is known only after the choice, so it is made again with that, until it
    meets a size that it has met before.
    """
    members = list(family(question.vocabulary_size, _sequence(question)))
    slowdown = 1.1
    runs: dict[ModelConfig, PlannedTraining] = {}
    refusal: DoesNotFitError | None = None
    allowed = _seconds_allowed(question, cards)
    while members:
        config, tokens = _best(question, members, cards, slowdown)
        if config in runs:
            run = runs[config]
            is_kept = question.tokens is not None or question.flops is not None
            if allowed is None or (is_kept and run.seconds <= allowed):
                return run
            return _filled(question, config, cards, allowed)
        fewer = [member for member in members if member.parameters < config.parameters]
        try:
            _check_reach(question, config, tokens)
            run = _training(question, config, tokens, cards)
        except DoesNotFitError as error:
            refusal = error
            # Most of the way down at once: a layout search for each size would take minutes.
            members = [m for m in fewer if m.parameters <= 0.9 * config.parameters] or fewer
            continue
        if question.tokens is not None and allowed is not None and run.seconds > allowed:
            members = fewer
        else:
            runs[config] = run
            slowdown = run.layout.slowdown / run.goodput
    raise refusal or DoesNotFitError(
        f"no size of model sees {question.tokens:.3g} tokens in the time allowed",
        hint="more time, more cards or fewer tokens",
    )


def _best(
    question: Question, members: Iterable[ModelConfig], cards: int, slowdown: float
) -> tuple[ModelConfig, float]:
    """The member and its tokens that the objective likes best."""
    law = primary_law(question)
    allowed = _seconds_allowed(question, cards)
    best: tuple[float, ModelConfig, float] | None = None
    for config in members:
        speed = _flops_per_second(question, config) / slowdown
        flops = flops_per_token(config, _sequence(question)).full
        budget = math.inf if allowed is None else allowed * cards * speed / flops
        if question.flops is not None:
            budget = min(budget, question.flops / flops)
        parameters = law_parameters(law, config)
        if question.objective == "cheapest-to-serve" and question.target_bits_per_byte is None:
            served = serve_seconds(question, config) * speed / flops
            budget -= served
            if budget <= 0:
                continue
        if question.target_bits_per_byte is not None:
            tokens = _tokens_to_target(question, config)
            if tokens is None:
                continue
            value = tokens * flops / speed + serve_seconds(question, config)
        elif question.tokens is not None:
            tokens = question.tokens
            if tokens > budget:
                continue
            value = law.bits_per_byte(parameters, tokens)
            if math.isinf(budget):  # nothing limits the size but sense: where both terms gain alike
                value = _imbalance(law, parameters, tokens)
        else:
            tokens = budget
            value = law.bits_per_byte(parameters, tokens)
        if best is None or value < best[0]:
            best = value, config, tokens
    if best is None and question.target_bits_per_byte is not None:
        raise UsageError(
            f"--target-bits-per-byte is {question.target_bits_per_byte:g}; by {law.name} no size "
            "that the planner knows gets there",
            hint="raise the target",
        )
    if best is None:
        raise DoesNotFitError(
            "no size of model fits into the budget",
            hint="more time, more cards or fewer tokens",
        )
    return best[1], best[2]


def _imbalance(law: LossLaw, parameters: float, tokens: float) -> float:
    """How far a model is from gaining as much by more parameters as by more tokens."""
    by_size = law.parameter_exponent * law.parameter_factor * parameters**-law.parameter_exponent
    by_tokens = law.token_exponent * law.token_factor * tokens**-law.token_exponent
    return abs(math.log(by_size / by_tokens))


def _flops_per_second(question: Question, config: ModelConfig) -> float:
    """Of one card, before the layout costs any."""
    share = question.mfu or efficiency(question.device, config.parameters, question.measured).mfu
    return question.device.peak_flops * share


def serve_seconds(question: Question, config: ModelConfig) -> float:
    """Of one card, for all answers of the model's life: 2 N FLOPs a token (Sardana et al. 2024,
    arXiv:2401.00448, section 2).
    """
    if question.serve_tokens is None:
        return 0.0
    products = config.parameters - config.vocabulary_size * config.hidden_size
    flops = 2 * products * question.serve_tokens
    return flops / (question.device.peak_flops * SERVE_MFU)


def primary_law(question: Question) -> LossLaw:
    """The law that decides sizes: of the target's language, else the first."""
    laws = question.laws
    return laws.get(question.target_language) or next(iter(laws.values()))


def law_parameters(law: LossLaw, config: ModelConfig) -> int:
    return config.parameters if law.counts_embeddings else config.non_embedding_parameters


def _tokens_to_target(question: Question, config: ModelConfig) -> float | None:
    """Tokens after which the law says the target; None when it never does."""
    law = primary_law(question)
    assert question.target_bits_per_byte is not None
    loss = question.target_bits_per_byte / law.bits_per_byte_of_a_unit
    by_size = law.parameter_factor * law_parameters(law, config) ** -law.parameter_exponent
    left = loss - law.irreducible - by_size
    return (law.token_factor / left) ** (1 / law.token_exponent) if left > 0 else None


def _check_reach(question: Question, config: ModelConfig, tokens: float) -> None:
    """Refuse a target that only a law far outside its reference points says how to reach.

    Raises:
        UsageError: with how far.
    """
    if question.target_bits_per_byte is None:
        return
    law = primary_law(question)
    flops = flops_per_token(config, _sequence(question)).full * tokens
    if extrapolation(law, flops) > FARTHEST_EXTRAPOLATION:
        raise UsageError(
            f"--target-bits-per-byte {question.target_bits_per_byte:g} takes {flops:.2g} FLOPs by "
            f"{law.name}, {flops / law.largest_flops:,.0f} times the largest run it was fitted on",
            hint="ask for a target within 100 times, or fit a law on larger runs and name it with "
            "--law",
        )


def extrapolation(law: LossLaw, flops: float) -> float:
    """How many times a run is larger than the law's largest, or smaller than its smallest; 1 in
    between.
    """
    return max(1.0, flops / law.largest_flops, law.smallest_flops / flops)


def _sequence(question: Question) -> int:
    if question.sequence_tokens is not None:
        return question.sequence_tokens
    return question.recipe.sequence_tokens if question.recipe else 4_096


def _training(
    question: Question, config: ModelConfig, tokens: float, cards: int
) -> PlannedTraining:
    """A model on so many tokens: wished settings, the best layout, its goodput."""
    device = question.device
    wanted = _wanted(question, config, tokens)
    found = efficiency(device, config.parameters, question.measured)
    if question.mfu is not None:
        found = Efficiency(question.mfu, "given, layout costs included")
    layout = best_layout(config, wanted, device, cards, found.mfu)
    settings = layout.settings
    if question.mfu is not None:
        flops = flops_per_token(config, settings.sequence_tokens).full * settings.batch_tokens
        seconds = flops / (cards * device.peak_flops * question.mfu)
        layout = replace(layout, step_seconds=seconds, slowdown=1.0)
    failure_seconds = question.failure_gpu_hours * 3_600 / cards
    settings, goodput = _with_checkpoints(config, layout, device.is_cpu, cards, failure_seconds)
    whole = -(-round(tokens) // settings.batch_tokens) * settings.batch_tokens
    layout = replace(layout, settings=replace(settings, max_tokens=whole))
    return PlannedTraining(config, whole, layout, found, goodput, failure_seconds)


def _wanted(question: Question, config: ModelConfig, tokens: float) -> TrainSettings:
    """The run before it is cut over cards: the recipe's, or rate and batch by the laws.

    Warm-up takes as many tokens as the model has parameters (OLMo), from 0.5 to 10 % of the run;
    the rate then holds and falls to zero over the last fifth (see `decay` in the recipe's
    reference), so that the run can be prolonged from before the fall.
    """
    sequence = _sequence(question)
    if question.recipe is not None and (question.is_continued or question.shape is not None):
        recipe = question.recipe
        batch = max(1, round(recipe.batch_tokens / sequence)) * sequence
        return TrainSettings(
            max_tokens=max(1, round(tokens)),
            sequence_tokens=sequence,
            batch_tokens=batch,
            micro_batch_tokens=sequence,
            peak_learning_rate=recipe.peak_learning_rate,
            final_learning_rate_share=recipe.final_learning_rate_share,
            warmup_share=recipe.warmup_share,
            decay=recipe.decay,
            decay_share=recipe.decay_share,
            optimizer=recipe.optimizer,
            weight_decay=recipe.weight_decay,
        )
    flops = flops_per_token(config, sequence).full * tokens
    said = recommended_rate(config.non_embedding_parameters, tokens, flops)
    most = max(sequence, tokens / _LEAST_STEPS)
    return TrainSettings(
        max_tokens=max(1, round(tokens)),
        sequence_tokens=sequence,
        batch_tokens=max(1, round(min(said.batch_tokens, most) / sequence)) * sequence,
        micro_batch_tokens=sequence,
        peak_learning_rate=float(f"{said.rate:.3g}"),
        final_learning_rate_share=0.0,
        warmup_share=round(min(0.1, max(0.005, config.parameters / tokens)), 4),
        decay="wsd",
        decay_share=0.2,
    )


def _with_checkpoints(
    config: ModelConfig, layout: Layout, is_cpu: bool, cards: int, failure_seconds: float
) -> tuple[TrainSettings, float]:
    """Settings with the best interval of checkpoints, and the share of time in useful steps.

    Young 1974 for the interval (Daly 2006 corrects it by less than a tenth here). Saving stops the
    steps while states are copied to the hosts; they are written behind the next steps, and the
    interval is at least twice the time of that.
    """
    states = state_bytes(config, layout.settings)
    copy = states / cards / _COPY_BYTES_PER_SECOND + _SAVE_SECONDS
    write = states / _STORE_BYTES_PER_SECOND
    if is_cpu:
        copy = write
    steps = checkpoint_steps(copy, layout.step_seconds, failure_seconds)
    steps = max(steps, math.ceil(2 * write / layout.step_seconds))
    interval = steps * layout.step_seconds
    lost = copy / interval + (interval / 2 + write + _RESTART_SECONDS) / failure_seconds
    settings = replace(
        layout.settings,
        checkpoint_every_steps=steps,
        hours_between_failures=round(failure_seconds / 3_600, 2),
    )
    return settings, 1 / (1 + lost)
