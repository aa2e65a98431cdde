"""The configuration of a model whose window grows: how its positions reach farther."""

import math
from dataclasses import replace

from tongwen.errors import RecipeError
from tongwen.extend.settings import ExtendSettings
from tongwen.model.config import ModelConfig
from tongwen.model.huggingface import RopeScaling


def extended_config(
    config: ModelConfig,
    settings: ExtendSettings,
    name: str = "extend",
    *,
    pretrained_tokens: int | None = None,
) -> ModelConfig:
    """The configuration that one run of the extension trains; nothing else of the model changes.

    Args:
        config: of the model before the run.
        settings: of the run, without `stages`.
        name: of the settings in the recipe, for messages.
        pretrained_tokens: longest sequences of pretraining, where known, for messages.

    Raises:
        RecipeError: the window is not longer than the one trained so far, the base falls, or the
            model's RoPE is scaled in another way than the settings ask for.
    """
    trained = _trained_window(config, settings, name, pretrained_tokens)
    _check_scaling(config, settings)
    window, method = settings.window, settings.position_method
    if method != "theta":
        scaling = _scaling(config, method, trained, window)
        return replace(config, rope_scaling=scaling, max_position_embeddings=window)
    theta = settings.rope_theta
    if theta is None and settings.position_reach and window <= config.max_position_embeddings:
        theta = config.rope_theta  # made for this window when it was first reached
    if theta is None:
        theta = theta_for(window, trained, config.rope_theta)
    if theta < config.rope_theta:
        raise RecipeError(
            f"{name}.rope_theta is {theta:g}, below the model's {config.rope_theta:g}",
            hint=f"a longer window needs a larger base: --set {name}.rope_theta=false computes one",
        )
    return replace(config, rope_theta=theta, max_position_embeddings=window)


def theta_for(window: int, trained_window: int, theta: float) -> float:
    """The base with which as many channels turn once within `window` as did within
    `trained_window`, rounded to four digits.

    A channel pair d of D channels turns once in 2 pi theta^(d / D) tokens. Liu et al. 2023,
    arXiv:2310.05209, theorem 1, call the last that does within the trained window the critical one.
    """
    turn = 2 * math.pi
    if trained_window <= turn:
        return theta
    return float(f"{theta ** (math.log(window / turn) / math.log(trained_window / turn)):.4g}")


def _trained_window(
    config: ModelConfig, settings: ExtendSettings, name: str, pretrained_tokens: int | None
) -> int:
    claimed, trained = config.max_position_embeddings, settings.trained_window
    if trained is not None and trained > claimed:
        raise RecipeError(
            f"extend.trained_window is {trained:,}, but the model has {claimed:,} positions",
            hint="leave it out: it is for a model that claims more than it was trained on",
        )
    start = trained or claimed
    if settings.sequence_tokens > start:
        return start
    if trained is not None:
        raise RecipeError(
            f"{name}.sequence_tokens is {settings.sequence_tokens:,}, no longer than "
            f"extend.trained_window, {trained:,}",
            hint=f"--set {name}.sequence_tokens={2 * trained}",
        )
    longer = f"--set {name}.sequence_tokens={2 * claimed}, or --set extend=false"
    if pretrained_tokens is None:
        hint = f"{longer}; if it was trained on fewer, --set extend.trained_window=TOKENS"
    elif pretrained_tokens < settings.sequence_tokens:
        hint = (
            f"pretraining reads {pretrained_tokens:,} tokens at once: "
            f"--set extend.trained_window={pretrained_tokens} extends from there"
        )
    else:
        hint = longer
    raise RecipeError(
        f"{name}.sequence_tokens is {settings.sequence_tokens:,}, but the model has "
        f"{claimed:,} positions already",
        hint=hint,
    )


def _check_scaling(config: ModelConfig, settings: ExtendSettings) -> None:
    scaling, method = config.rope_scaling, settings.position_method
    if scaling is None or scaling.kind == method:
        return
    known = scaling.kind if scaling.kind in ("yarn", "linear") else None
    raise RecipeError(
        f"the model's RoPE is scaled by {scaling.kind!r} with factor {scaling.factor:g}, and "
        f'extend.position_method is "{method}"',
        hint=f"--set extend.position_method={known}"
        if known
        else f"--set extend=false; its window is {config.max_position_embeddings:,} tokens already",
    )


def _scaling(config: ModelConfig, method: str, trained: int, window: int) -> RopeScaling:
    """A model that is scaled already keeps the window of its pretraining."""
    before = config.rope_scaling
    original = trained if before is None else before.original_tokens
    factor = window / original
    attention = 0.1 * math.log(factor) + 1 if method == "yarn" else 1.0
    if before is not None:
        return replace(before, factor=factor, attention_factor=attention)
    return RopeScaling(
        kind=method, factor=factor, original_tokens=original, attention_factor=attention
    )
