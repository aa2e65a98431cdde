"""Settings of the mixture: how large a share of the sequences each language has."""

import difflib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.formats.languages import LANGUAGES

BLOCK_SAMPLES = 1_000
"""Samples in which every language has its exact share."""


@dataclass(frozen=True, kw_only=True)
class MixtureStage:
    """Another mixture from some point of the run on."""

    from_share: float
    """Share of `max_tokens` at which it begins."""
    weights: Mapping[str, float]
    """As in `mixture`."""

    def __post_init__(self) -> None:
        if not 0 < self.from_share < 1:
            raise RecipeError(
                f"from_share is {self.from_share}", hint="use a number between 0 and 1, such as 0.8"
            )
        check_weights("weights", self.weights)


def check_mixture(mixture: Mapping[str, float] | None, stages: Sequence[MixtureStage]) -> None:
    """See that the settings `mixture` and `mixture_stages` fit together.

    Raises:
        RecipeError: as in `check_weights`, or stages without a beginning or out of order.
    """
    if mixture is not None:
        check_weights("mixture", mixture)
    elif stages:
        raise RecipeError(
            "mixture_stages is given without a mixture to begin with",
            hint="mixture = { en = 0.5, zh-Hans = 0.5 }",
        )
    shares = [stage.from_share for stage in stages]
    if any(later <= earlier for earlier, later in itertools.pairwise(shares)):
        raise RecipeError(
            f"from_share of mixture_stages is {', '.join(map(str, shares))}",
            hint="each stage begins later than the one before it",
        )


def check_weights(name: str, weights: Mapping[str, float]) -> None:
    """See that `weights`, the setting `name`, are shares of languages.

    Raises:
        RecipeError: an unknown language, a weight that is negative, infinite or too small for one
            sequence in a block, or all are 0.
    """
    for language, weight in weights.items():
        if language not in LANGUAGES:
            near = difflib.get_close_matches(language, LANGUAGES, n=2, cutoff=0.4)
            raise RecipeError(
                f"{name} has a weight for {language!r}, which is no language",
                hint=f"did you mean {' or '.join(near)}?"
                if near
                else f"one of {', '.join(LANGUAGES)}",
            )
        if not 0 <= weight < math.inf:
            raise RecipeError(f"{name}.{language} is {weight}", hint="use 0 or more")
    if not any(weights.values()):
        raise RecipeError(
            f"{name} is {dict(weights)}: no language has a weight above 0",
            hint=f"{name} = {{ en = 0.5, zh-Hans = 0.5 }}",
        )
    whole = sum(weights.values())
    for language, quota in quotas_of(weights).items():
        if not quota:
            raise RecipeError(
                f"{name}.{language} is {weights[language]:g} of {whole:g}, less than one sequence "
                f"in {BLOCK_SAMPLES:,}",
                hint=f"use {2 * whole / BLOCK_SAMPLES:g} or more, or leave {language} out",
            )


def quotas_of(weights: Mapping[str, float]) -> dict[str, int]:
    """Samples of each language in a block, which add up to the block.

    The largest remainders are rounded up, of equal ones the first. Weights of 0 are left out.
    """
    whole = sum(weights.values())
    wanted = {name: BLOCK_SAMPLES * weight / whole for name, weight in weights.items() if weight}
    quotas = {name: int(share) for name, share in wanted.items()}
    by_remainder = sorted(wanted, key=lambda name: quotas[name] - wanted[name])
    for name in by_remainder[: BLOCK_SAMPLES - sum(quotas.values())]:
        quotas[name] += 1
    return quotas
