"""The learning rate, as a pure function of the tokens trained on."""

import math

from tongwen.train.settings import TrainSettings


def learning_rate(settings: TrainSettings, tokens: int) -> float:
    """The rate of a step that ends at `tokens`: a linear rise, then the decay that was chosen.

    Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983. Linear: Bergsma et al. 2025,
    arXiv:2502.15938. Warm-up, stable, decay: Hu et al. 2024, arXiv:2404.06395.
    """
    peak = settings.peak_learning_rate
    warmup_tokens = settings.warmup_share * settings.max_tokens
    if tokens < warmup_tokens:
        return peak * tokens / warmup_tokens
    if settings.decay == "constant":
        return peak
    decay_tokens = max(1.0, settings.max_tokens - warmup_tokens)
    if settings.decay == "wsd":
        decay_tokens = min(decay_tokens, max(1.0, settings.decay_share * settings.max_tokens))
    progress = (tokens - (settings.max_tokens - decay_tokens)) / decay_tokens
    progress = min(1.0, max(0.0, progress))
    if settings.decay == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    elif settings.decay == "wsd":
        progress = math.sqrt(progress)
    final = settings.final_learning_rate_share
    return peak * (1 - (1 - final) * progress)
