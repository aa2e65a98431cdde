"""The learning rate, as a pure function of the tokens trained on."""

import math
from bisect import bisect_right

from tongwen.train.settings import TrainSettings


def learning_rate(settings: TrainSettings, tokens: int) -> float:
    """The rate of a step that ends at `tokens`: a linear rise, then the decay that was chosen.

    Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983. Linear: Bergsma et al. 2025,
    arXiv:2502.15938. Warm-up, stable, decay: Hu et al. 2024, arXiv:2404.06395.
    """
    peak = settings.peak_learning_rate
    warmup_tokens = warmup_tokens_of(settings)
    if tokens < warmup_tokens:
        return peak * tokens / warmup_tokens
    if settings.decay == "constant":
        return peak
    decay_tokens = _decay_tokens(settings)
    progress = (tokens - (settings.max_tokens - decay_tokens)) / decay_tokens
    progress = min(1.0, max(0.0, progress))
    if settings.decay == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    elif settings.decay == "wsd":
        progress = math.sqrt(progress)
    final = settings.final_learning_rate_share
    return peak * (1 - (1 - final) * progress)


def warmup_tokens_of(settings: TrainSettings) -> float:
    """Tokens over which the rate rises."""
    if settings.warmup_tokens is not None:
        return settings.warmup_tokens
    return settings.warmup_share * settings.max_tokens


def last_constant_step(settings: TrainSettings) -> int | None:
    """The last step that is taken at the peak rate, from where another decay could begin; None for
    schedules that fall from the end of the warm-up on, or that never reach the peak.
    """
    if settings.decay not in ("wsd", "constant"):
        return None
    batches = settings.batches
    falls_from = (
        settings.max_tokens - _decay_tokens(settings)
        if settings.decay == "wsd"
        else batches.tokens_before(batches.steps)
    )
    steps = range(batches.steps + 1)
    step = bisect_right(steps, falls_from, key=batches.tokens_before) - 1
    return step if step > 0 and batches.tokens_before(step) >= warmup_tokens_of(settings) else None


def _decay_tokens(settings: TrainSettings) -> float:
    after_warmup = max(1.0, settings.max_tokens - warmup_tokens_of(settings))
    if settings.decay != "wsd":
        return after_warmup
    return min(after_warmup, max(1.0, settings.decay_share * settings.max_tokens))
