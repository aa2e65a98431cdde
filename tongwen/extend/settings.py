"""Settings of the extend stage."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.train.data.mixture_settings import check_weights
from tongwen.train.settings import TextSettings

PositionMethod = Literal["theta", "yarn", "linear"]


@dataclass(frozen=True, kw_only=True)
class LongMix:
    """What a stage of the extension reads: long documents and short ones.

    Source of share and filter: OLMo 3 (Ai2 2025), whose long stage has 34 % of its tokens from long
    documents without the fifth that gzip makes smallest and the fifth that it makes least small.
    """

    long_share: float = 0.34
    """Share of the sequences made of long text; the others are packed from short documents, so that
    what the model can do at its old window stays."""
    long_tokens: int | None = None
    """Documents of at least this many tokens are long; half the stage's window when absent."""
    trim_share: float = 0.2
    """Share of the long documents of each language left out at either end of the gzip ratio: lists
    and repeated text at one, noise at the other. 0 keeps all."""
    task_share: float = 0.1
    """Share of the long sequences with a recall or counting exercise made from the training text
    itself, in its language. 0 makes none."""
    copy_share: float = 0.0
    """Share of the long sequences in which everything is said twice: short stretches of text, or of
    random pieces, in random order. Looking back and copying forms early on them (Olsson et al.
    2022, arXiv:2209.11895); the natural text of a small model has too little to copy."""
    languages: Mapping[str, float] | None = None
    """Weights of the languages of long text; as many tokens as they have when absent."""
    repeat_long: float = 4.0
    """How often long documents may be read in a stage, at most; short documents on the same
    subject, joined, make up the rest."""

    def __post_init__(self) -> None:
        highest = {"long_share": 1.0, "trim_share": 0.49, "task_share": 1.0, "copy_share": 1.0}
        for name, most in highest.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise RecipeError(f"mix.{name} is {value}", hint=f"use a number from 0 to {most:g}")
        if self.task_share + self.copy_share > 1:
            raise RecipeError(
                f"mix.task_share {self.task_share:g} and mix.copy_share {self.copy_share:g} "
                "are more than all long sequences",
                hint="let them add up to at most 1",
            )
        if self.long_tokens is not None and self.long_tokens < 1:
            raise RecipeError(f"mix.long_tokens is {self.long_tokens}", hint="use 1 or more")
        if not 0 < self.repeat_long < math.inf:
            raise RecipeError(
                f"mix.repeat_long is {self.repeat_long}", hint="use a number greater than 0"
            )
        if self.languages is not None:
            check_weights("mix.languages", self.languages)


def check_reach(name: str, reach: int | None, sequence_tokens: int) -> None:
    """Raises:
    RecipeError: positions do not reach beyond the sequences.
    """
    if reach is not None and reach <= sequence_tokens:
        raise RecipeError(
            f"{name} is {reach:,}, no more than the {sequence_tokens:,} tokens of a sequence",
            hint="leave it out: positions reach so far without a jump",
        )


@dataclass(frozen=True, kw_only=True)
class ExtendStage:
    """One step of an extension in several, each to a longer window."""

    sequence_tokens: int
    """The window from this stage on; longer than that of the stage before."""
    max_tokens: int
    """Tokens to train on in this stage."""
    rope_theta: float | None = None
    """RoPE's base in this stage; when absent it grows with the window so that as many channels as
    before turn once within it: theta ** (ln(window / 2 pi) / ln(old window / 2 pi)) (Liu et al.
    2023, arXiv:2310.05209, theorem 1)."""
    position_reach: int | None = None
    """Positions jump ahead at random places of a sequence and reach over up to so many tokens, then
    the model's window: far distances at the cost of short sequences (Zhu et al. 2023,
    arXiv:2309.10400). The sequences of later stages may still be longer."""
    batch_tokens: int | None = None
    """As in [extend], whose batch, rounded up to whole sequences, is the default."""
    micro_batch_tokens: int | None = None
    """As in [extend]; one sequence when absent."""
    peak_learning_rate: float | None = None
    """As in [extend], whose rate is the default."""
    mix: LongMix = field(default_factory=LongMix)
    """Long and short documents of this stage."""

    def __post_init__(self) -> None:
        for name in ("sequence_tokens", "max_tokens", "rope_theta"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise RecipeError(f"stages.{name} is {value}", hint="use a number greater than 0")
        check_reach("stages.position_reach", self.position_reach, self.sequence_tokens)


@dataclass(frozen=True, kw_only=True)
class ExtendSettings(TextSettings):
    """Continue on longer sequences with positions that reach farther.

    Without `stages` all packed documents are read at one window with a larger RoPE base (Xiong et
    al. 2023, arXiv:2309.16039).
    """

    rope_theta: float | None = 10_000_000.0
    """Base of the rotary position embedding from now on; no smaller than the model's. `false`
    computes it, as `stages` do. Only `position_method = "theta"` changes it."""
    position_method: PositionMethod = "theta"
    """`theta` raises RoPE's base: a plain Llama for every program. `yarn` (Peng et al. 2023,
    arXiv:2309.00071) and `linear` interpolation (Chen et al. 2023, arXiv:2306.15595) write
    `rope_scaling` into config.json, which the program that loads the model must know."""
    trained_window: int | None = None
    """Longest sequences that the model has really seen, where its config.json claims a longer
    window: the extension starts from there."""
    position_reach: int | None = None
    """As in a stage, for an extension in one run."""
    separate_documents: bool = False
    """Documents see those before them: otherwise short documents would teach no long distance."""
    stages: tuple[ExtendStage, ...] = ()
    """Windows one after the other, each with its own tokens and mix of long and short
    documents; `sequence_tokens`, `max_tokens` and `rope_theta` of [extend] are then ignored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rope_theta is not None and self.rope_theta <= 0:
            raise RecipeError(
                f"rope_theta is {self.rope_theta}", hint="use a number greater than 0"
            )
        if self.trained_window is not None and self.trained_window < 1:
            raise RecipeError(f"trained_window is {self.trained_window}", hint="use 1 or more")
        check_reach("extend.position_reach", self.position_reach, self.sequence_tokens)
        windows = [stage.sequence_tokens for stage in self.stages]
        for before, after in itertools.pairwise(windows):
            if after <= before:
                raise RecipeError(
                    f"extend.stages: a window of {after:,} tokens follows one of {before:,}",
                    hint="each stage has a longer window than the one before it",
                )
        for number, stage in enumerate(self.stages):
            if stage.rope_theta is not None and self.position_method != "theta":
                raise RecipeError(
                    f"extend.stages.{number}.rope_theta is {stage.rope_theta:g}, but "
                    f'position_method = "{self.position_method}" keeps the model\'s base',
                    hint="leave out one of the two",
                )
        if self.stages and self.mixture_stages:
            raise RecipeError(
                "extend.mixture_stages and extend.stages are both given",
                hint="a stage's mix takes the place of mixture_stages",
            )
        self.runs()

    @property
    def window(self) -> int:
        """Positions that a run trains: those of its sequences, or as far as they jump."""
        return self.position_reach or self.sequence_tokens

    def runs(self) -> dict[str, "ExtendSettings"]:
        """Name -> settings of each training run, in order: one, or one a stage."""
        if not self.stages:
            return {"extend": self}
        return {
            f"extend.stages.{number}": self._of_stage(number, stage)
            for number, stage in enumerate(self.stages)
        }

    def _trained_before(self, number: int) -> int | None:
        """Longest sequences before a stage, where the model's window is longer than they are."""
        if number == 0:
            return self.trained_window
        before = self.stages[number - 1]
        return before.sequence_tokens if before.position_reach else None

    def _of_stage(self, number: int, stage: ExtendStage) -> "ExtendSettings":
        window = stage.sequence_tokens
        micro = stage.micro_batch_tokens or window
        batch = stage.batch_tokens or -(-self.batch_tokens // micro) * micro
        rate = stage.peak_learning_rate
        return replace(
            self,
            stages=(),
            sequence_tokens=window,
            max_tokens=stage.max_tokens,
            trained_window=self._trained_before(number),
            rope_theta=stage.rope_theta,
            position_reach=stage.position_reach,
            batch_tokens=batch,
            micro_batch_tokens=micro,
            initial_batch_tokens=None,
            peak_learning_rate=self.peak_learning_rate if rate is None else rate,
        )
