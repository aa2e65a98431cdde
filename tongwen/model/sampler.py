"""Which token comes next: the largest logit, or a draw from the reshaped distribution.

Shape suffixes in this file: V vocabulary_size.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. The defaults are greedy.

    Attributes:
        temperature: the logits are divided by it; 0 takes the largest logit.
        top_p: draw from the fewest likeliest tokens whose probabilities sum to this, over 0 to 1
            (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751).
            0 takes the likeliest.
        top_k: draw from so many likeliest tokens; from all when None.
        min_p: leave out tokens less likely than this share of the likeliest (Nguyen et al. 2024,
            arXiv:2407.01082), 0 to 1.
        frequency_penalty: taken from a token's logit for each time it stands in the answer.
        presence_penalty: taken once from the logit of every token in the answer.
        repetition_penalty: divides positive and multiplies negative logits of every token in the
            prompt or the answer (CTRL, Keskar et al. 2019, arXiv:1909.05858); 1 changes nothing.
        logit_bias: token id -> what is added to its logit.
        seed: the same seed gives the same answer, whatever else runs; a fresh one when None.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: how.
        prompt_ids: what the answer continues; counts for `repetition_penalty`.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Sequence[int] = ()) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._counts: Counter[int] = Counter()
        self._prompt_ids = set(prompt_ids) if sampling.repetition_penalty != 1 else set()
        self._is_reshaped = bool(
            sampling.frequency_penalty
            or sampling.presence_penalty
            or sampling.repetition_penalty != 1
            or sampling.logit_bias
        )

    def choose(self, logits_V: Tensor, *, without: Sequence[int] = ()) -> int:
        """The id of the next token, which from now on counts as part of the answer.

        Args:
            logits_V: of the next token.
            without: ids that may not be chosen.
        """
        if self._is_reshaped:
            logits_V = self._reshaped(logits_V)
        if without:
            logits_V = logits_V.clone()
            logits_V[list(without)] = -torch.inf
        if self._sampling.temperature == 0:
            token_id = int(logits_V.argmax())
        else:
            token_id = self._draw(logits_V.float().cpu())
        self._counts[token_id] += 1
        return token_id

    def _reshaped(self, logits_V: Tensor) -> Tensor:
        """The logits with penalties and biases."""
        logits_V = logits_V.clone()
        if self._sampling.repetition_penalty != 1:
            ids = torch.tensor(sorted({*self._prompt_ids, *self._counts}), device=logits_V.device)
            seen = logits_V[ids]
            penalty = self._sampling.repetition_penalty
            logits_V[ids] = torch.where(seen > 0, seen / penalty, seen * penalty)
        for token_id, count in self._counts.items():
            logits_V[token_id] -= (
                self._sampling.frequency_penalty * count + self._sampling.presence_penalty
            )
        for token_id, bias in self._sampling.logit_bias.items():
            logits_V[token_id] += bias
        return logits_V

    def _draw(self, logits_V: Tensor) -> int:
        top_k = min(self._sampling.top_k or len(logits_V), len(logits_V))
        # Subtracting the largest first keeps a tiny temperature from overflowing.
        scaled_V = (logits_V - logits_V.max()) / self._sampling.temperature
        likeliest, ids = scaled_V.topk(top_k)
        probabilities = likeliest.softmax(0)
        # A token stays while those before it do not yet reach top_p, so one always stays.
        before = probabilities.cumsum(0) - probabilities
        is_left_out = before >= self._sampling.top_p
        is_left_out |= probabilities < self._sampling.min_p * probabilities[0]
        is_left_out[0] = False
        probabilities[is_left_out] = 0
        return int(ids[probabilities.multinomial(1, generator=self._generator)])
