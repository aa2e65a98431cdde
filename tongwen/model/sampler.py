"""Which token comes next: the largest logit, or a draw from the reshaped distribution.

Shape suffixes in this file: V vocabulary_size.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. The defaults are greedy.

    Attributes:
        temperature: the logits are divided by it; 0 takes the largest logit.
        top_p: draw from the fewest likeliest tokens whose probabilities sum to this, over 0 to 1
            (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751).
        top_k: draw from so many likeliest tokens; from all when None.
        frequency_penalty: taken from a token's logit for each time it stands in the answer.
        presence_penalty: taken once from the logit of every token in the answer.
        seed: the same seed gives the same answer, whatever else runs; a fresh one when None.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None


class Sampler:
    """Chooses the tokens of one answer."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._counts: Counter[int] = Counter()
        self._has_penalty = bool(sampling.frequency_penalty or sampling.presence_penalty)

    def choose(self, logits_V: Tensor) -> int:
        """The id of the next token, which from now on counts as part of the answer."""
        if self._has_penalty:
            logits_V = self._penalized(logits_V)
        if self._sampling.temperature == 0:
            token_id = int(logits_V.argmax())
        else:
            token_id = self._draw(logits_V.float().cpu())
        self._counts[token_id] += 1
        return token_id

    def _penalized(self, logits_V: Tensor) -> Tensor:
        logits_V = logits_V.clone()
        for token_id, count in self._counts.items():
            logits_V[token_id] -= (
                self._sampling.frequency_penalty * count + self._sampling.presence_penalty
            )
        return logits_V

    def _draw(self, logits_V: Tensor) -> int:
        top_k = min(self._sampling.top_k or len(logits_V), len(logits_V))
        # Subtracting the largest first keeps a tiny temperature from overflowing.
        scaled_V = (logits_V - logits_V.max()) / self._sampling.temperature
        likeliest, ids = scaled_V.topk(top_k)
        probabilities = likeliest.softmax(0)
        # A token stays while those before it do not yet reach top_p, so one always stays.
        before = probabilities.cumsum(0) - probabilities
        probabilities[before >= self._sampling.top_p] = 0
        return int(ids[probabilities.multinomial(1, generator=self._generator)])
