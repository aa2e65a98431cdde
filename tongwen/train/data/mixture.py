"""Which language each training sample has: a pure function of its number, exact in every block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tongwen.train.data.mixture_settings import BLOCK_SAMPLES, quotas_of
from tongwen.train.data.packing import Int64s, permuted
from tongwen.train.settings import TextSettings

_BLOCK_KEYS = 1 << 62  # keeps the keys of blocks apart from those of epochs


@dataclass(frozen=True)
class Stage:
    """A stretch of the run with the same weights.

    Attributes:
        first_sample: where it begins; its blocks are counted from there.
        quotas: samples of each language in a block, by name; none is 0.
    """

    first_sample: int
    quotas: Mapping[str, int]

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {quota}" for name, quota in self.quotas.items())
        return f"from sample {self.first_sample} {shares} of {BLOCK_SAMPLES}"


class Mixture:
    """Shares of languages in the course of a run.

    A block of 1,000 samples holds each language as often as its weight says, rounded by largest
    remainder, at places that a permutation keyed by seed and block decides. The samples of one
    language are numbered without gaps over blocks and stages, so its sequences can be gone
    through epoch by epoch. Nothing is remembered from sample to sample.

    Attributes:
        stages: in order, the first from sample 0.
        languages: all that some stage has, in the order of the recipe.
    """

    def __init__(self, stages: Sequence[Stage], seed: int) -> None:
        assert stages[0].first_sample == 0
        self.stages = tuple(stages)
        self.languages = tuple(dict.fromkeys(name for stage in stages for name in stage.quotas))
        self._seed = seed
        self._firsts = np.array([stage.first_sample for stage in stages], dtype=np.int64)
        self._quotas = np.array(
            [[stage.quotas.get(name, 0) for name in self.languages] for stage in stages],
            dtype=np.int64,
        )
        self._before = np.zeros_like(self._quotas)  # samples of each language before each stage
        for number in range(1, len(stages)):
            self._before[number] = self.taken(stages[number].first_sample)

    @classmethod
    def of(cls, settings: TextSettings) -> Self | None:
        """The mixture that the settings ask for, if they do."""
        if settings.mixture is None:
            return None
        stages = [Stage(0, quotas_of(settings.mixture))]
        for stage in settings.mixture_stages:
            tokens = stage.from_share * settings.max_tokens
            first_sample = max(1, round(tokens / settings.sequence_tokens))
            stages.append(Stage(first_sample, quotas_of(stage.weights)))
        return cls(stages, settings.seed)

    def places(self, samples: Int64s) -> tuple[Int64s, Int64s]:
        """Language of each sample number, and which of that language's samples it is.

        A language is its position in `languages`; its samples count from 0.
        """
        languages, numbers = np.empty_like(samples), np.empty_like(samples)
        stages = np.searchsorted(self._firsts, samples, side="right") - 1
        blocks, places = np.divmod(samples - self._firsts[stages], BLOCK_SAMPLES)
        for stage, block in np.unique(np.stack([stages, blocks]), axis=1).T.tolist():
            here = (stages == stage) & (blocks == block)
            chosen = self._block(stage, block)
            is_language = chosen[:, None] == np.arange(len(self.languages))
            counted = is_language.cumsum(axis=0) - 1  # [place in the block, language]
            counted += self._before[stage] + block * self._quotas[stage]
            languages[here] = chosen[places[here]]
            numbers[here] = counted[places[here], languages[here]]
        return languages, numbers

    def taken(self, samples: int) -> Int64s:
        """How many of the first `samples` samples each of `languages` has."""
        stage = max(0, int(np.searchsorted(self._firsts, samples)) - 1)
        block, rest = divmod(samples - self.stages[stage].first_sample, BLOCK_SAMPLES)
        begun = np.bincount(self._block(stage, block)[:rest], minlength=len(self.languages))
        taken: Int64s = self._before[stage] + block * self._quotas[stage] + begun
        return taken

    def _block(self, stage: int, block: int) -> Int64s:
        """Language of each sample of a block."""
        first_sample = self.stages[stage].first_sample + block * BLOCK_SAMPLES
        key = _BLOCK_KEYS + self._seed * 1_000_003 + first_sample
        ranks = permuted(np.arange(BLOCK_SAMPLES), BLOCK_SAMPLES, key)
        return np.searchsorted(np.cumsum(self._quotas[stage]), ranks, side="right")
