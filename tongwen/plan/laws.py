"""Laws that carry what is known of small runs to a large one.

Of rate and batch (AdamW on dense decoders), of

    N     parameters without embeddings
    N_all parameters with them
    D     training tokens
    C     FLOPs of the whole run
    B     tokens of a batch

    Step Law    rate = 1.79 N^-0.713 D^0.307             B = 0.58 D^0.571
    DeepSeek    rate = 0.3118 C^-0.125                   B = 0.2920 C^0.3271
    Porian      rate = 0.0047 (N / 108e6)^(-1/3)         B = 160 * 2048 (N / 108e6)^(2/3)
    Delphi      rate = 0.0063 sqrt(B / B0) (T0 / D)^0.3, at most 0.01, around one reference run

Each was fitted on somebody's runs; the dataclass says on which. A law is a power: outside its
reference points it still answers, and only `references` says how far outside that is.

Of loss, `LossLaw`:

    L(N, D) = E + A / N^alpha + B / D^beta

Hoffmann et al. 2022, arXiv:2203.15556, section 3.3. Its own constants are in nats a token; a law
that was fitted on a ladder of runs of one's own (`plan.law`, `--law`) is in bits a byte, one for
each language.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class RateAndBatch:
    """What a law says.

    Attributes:
        rate: peak learning rate of AdamW.
        batch_tokens: of a step.
    """

    rate: float
    batch_tokens: float


class RateLaw(Protocol):
    """A law of rate and batch."""

    @property
    def name(self) -> str: ...

    @property
    def references(self) -> str: ...

    def at(self, parameters: float, tokens: float, flops: float) -> RateAndBatch:
        """For N parameters without embeddings, D tokens and C FLOPs."""
        ...


@dataclass(frozen=True)
class StepLaw:
    """Li et al. 2025, arXiv:2503.04715, equation 1: rate and batch that gave the least loss in
    grids of 3,700 runs.

    Reference points: dense Llama-like models of 60 M to 1.07 B parameters without embeddings, 2 to
    100 billion tokens, cosine to a fixed final rate.
    """

    name: str = "Step Law"
    references: str = "60M to 1.07B parameters, 2B to 100B tokens"
    rate_factor: float = 1.79
    rate_parameters: float = -0.713
    rate_tokens: float = 0.307
    batch_factor: float = 0.58
    batch_tokens: float = 0.571

    def at(self, parameters: float, tokens: float, flops: float) -> RateAndBatch:
        rate = self.rate_factor * parameters**self.rate_parameters * tokens**self.rate_tokens
        return RateAndBatch(rate, self.batch_factor * tokens**self.batch_tokens)


@dataclass(frozen=True)
class DeepSeekLaw:
    """DeepSeek-AI 2024, arXiv:2401.02954, section 3.1: a band of near-optimal rates and batches
    over compute.

    Reference points: runs of 1e17 to 2e19 FLOPs, checked on one of 1e20; multi-step decay.
    """

    name: str = "DeepSeek"
    references: str = "1e17 to 2e19 FLOPs"
    rate_factor: float = 0.3118
    rate_flops: float = -0.125
    batch_factor: float = 0.2920
    batch_flops: float = 0.3271

    def at(self, parameters: float, tokens: float, flops: float) -> RateAndBatch:
        return RateAndBatch(
            self.rate_factor * flops**self.rate_flops, self.batch_factor * flops**self.batch_flops
        )


@dataclass(frozen=True)
class PorianLaw:
    """Porian et al. 2024, arXiv:2406.19146, section 3.4: rate and batch by size, for runs near the
    compute-optimal number of tokens.

    Reference points: 5 M to 900 M parameters, 20 tokens a parameter. OLMo's ladder halves the rate
    for warm-up-stable-decay, which is the lower end of the planner's band.
    """

    name: str = "Porian"
    references: str = "5M to 900M parameters, 20 tokens a parameter"
    base_parameters: float = 108e6
    base_rate: float = 0.0047
    base_batch_tokens: float = 160 * 2_048

    def at(self, parameters: float, tokens: float, flops: float) -> RateAndBatch:
        scale = parameters / self.base_parameters
        return RateAndBatch(
            self.base_rate * scale ** (-1 / 3), self.base_batch_tokens * scale ** (2 / 3)
        )


@dataclass(frozen=True)
class DelphiReference:
    """Marin's Delphi, `completed_adamh.py` (2026): every setting follows from one run that was
    tuned, by how batch and tokens differ from its own.

    Reference point: about 130 M parameters (Qwen3), batches of 64 sequences of 4,096 tokens,
    2.5 billion tokens, AdamH; found by a Vizier sweep. Rates of AdamH scale a matrix to constant
    norm: they are not AdamW's, and `adam_rate` (for embeddings and norms) is what compares with it.
    Warm-up takes 10 % of the tokens, the linear decay to zero the last 20 %.
    """

    name: str = "Delphi"
    references: str = "130M parameters, batch of 262,144 tokens, 2.5B tokens"
    base_batch_tokens: float = 64 * 4_096
    base_tokens: float = 2.5e9
    base_rate: float = 0.0063
    largest_rate: float = 0.01
    base_adam_rate: float = 6.56e-4
    base_epsilon: float = 1.85e-8
    tokens_exponent: float = 0.3

    def rate(self, batch_tokens: float, tokens: float) -> float:
        """Of the matrices: rate = 0.0063 sqrt(B / B0) (T0 / T)^0.3, at most 0.01."""
        relative = math.sqrt(batch_tokens / self.base_batch_tokens)
        horizon = (self.base_tokens / tokens) ** self.tokens_exponent
        return float(min(self.largest_rate, self.base_rate * relative * horizon))

    def noise_ratio(self, batch_tokens: float, tokens: float) -> float:
        """Gradient noise beside the reference run's: r / r0 = (B T0) / (B0 T)."""
        return batch_tokens * self.base_tokens / (self.base_batch_tokens * tokens)

    def adam_rate(self, batch_tokens: float, tokens: float) -> float:
        """Of embeddings and norms: 6.56e-4 sqrt(r / r0)."""
        return self.base_adam_rate * math.sqrt(self.noise_ratio(batch_tokens, tokens))

    def epsilon(self, batch_tokens: float, tokens: float) -> float:
        """Adam's: 1.85e-8 sqrt(r0 / r)."""
        return self.base_epsilon / math.sqrt(self.noise_ratio(batch_tokens, tokens))

    def second_beta(self, batch_tokens: float) -> float:
        """Adam's: 0.9999^(B / B0), from 0.9 to 0.9999: a constant half-life in tokens."""
        return float(min(0.9999, max(0.9, 0.9999 ** (batch_tokens / self.base_batch_tokens))))


RATE_LAWS: tuple[RateLaw, ...] = (StepLaw(), DeepSeekLaw(), PorianLaw())
"""The laws that give rate and batch; Delphi's gives rates for a batch, see `DelphiReference`."""


_LARGEST_RATE = 0.01
"""As Delphi's: models far smaller than the laws' would be given more."""


def recommended_rate(parameters: float, tokens: float, flops: float) -> RateAndBatch:
    """Step Law's rate, held within [half of Porian's, DeepSeek's]; Step Law's batch.

    Of the three, Step Law wasted the least on its own public grid of 1,911 runs, where it was
    fitted; the other two bound it where its power of D runs away. They may be in either order.
    """
    step, deepseek, porian = (law.at(parameters, tokens, flops) for law in RATE_LAWS)
    low, high = sorted((porian.rate / 2, deepseek.rate))
    return RateAndBatch(min(_LARGEST_RATE, high, max(low, step.rate)), step.batch_tokens)


@dataclass(frozen=True)
class LossLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta, of one language.

    Attributes:
        language: `en`, `zh` and so on.
        name: where the constants are from.
        references: the runs they were fitted on, in words.
        largest_flops: of those runs; beyond it the law is extrapolated.
        smallest_flops: likewise; below it.
        irreducible, parameter_factor, parameter_exponent, token_factor, token_exponent: E, A,
            alpha, B, beta.
        bits_per_byte_of_a_unit: 1 for a law in bits a byte,
            1 / (ln 2 * bytes a token) for one in nats a token.
        relative_deviation: of a run around the law within its references, as a share of L.
        samples: bootstrapped (E, A, alpha, B, beta); where there are some, they give the interval.
        counts_embeddings: whether N is all parameters.
        holds_on_the_way: whether it also holds for D tokens of a longer run, whose rate has not
            fallen yet.
    """

    language: str
    name: str
    references: str
    largest_flops: float
    smallest_flops: float
    irreducible: float
    parameter_factor: float
    parameter_exponent: float
    token_factor: float
    token_exponent: float
    bits_per_byte_of_a_unit: float = 1.0
    relative_deviation: float = 0.01
    samples: tuple[tuple[float, float, float, float, float], ...] = ()
    counts_embeddings: bool = True
    holds_on_the_way: bool = False

    @property
    def floor(self) -> float:
        """Bits a byte that no model of any size goes below, says the law."""
        return self.irreducible * self.bits_per_byte_of_a_unit

    def bits_per_byte(self, parameters: float, tokens: float) -> float:
        """Expected, of N parameters after D tokens."""
        own = (
            self.irreducible,
            self.parameter_factor,
            self.parameter_exponent,
            self.token_factor,
            self.token_exponent,
        )
        return self.bits_per_byte_of_a_unit * _loss(own, parameters, tokens)

    def interval(
        self, parameters: float, tokens: float, extrapolation: float
    ) -> tuple[float, float]:
        """80 % of outcomes are expected within it.

        The deviation of a run around the law, which grows by half for every factor of ten beyond
        its references (an assumption: no fit can know it), and with bootstrapped constants
        theirs, as independent of it.
        """
        expected = self.bits_per_byte(parameters, tokens)
        beyond = 1 + 0.5 * math.log10(max(1.0, extrapolation))
        below = above = _Z80 * self.relative_deviation * beyond * expected
        if self.samples:
            found = sorted(
                self.bits_per_byte_of_a_unit * _loss(sample, parameters, tokens)
                for sample in self.samples
            )
            below = math.hypot(below, max(0.0, expected - _quantile(found, 0.1)))
            above = math.hypot(above, max(0.0, _quantile(found, 0.9) - expected))
        return max(0.0, expected - below), expected + above


_Z80 = 1.2815515655446004
"""Standard deviations on each side that hold 80 % of a normal distribution."""


def _loss(constants: tuple[float, float, float, float, float], n: float, d: float) -> float:
    e, a, alpha, b, beta = constants
    return float(e + a * n**-alpha + b * d**-beta)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


ENGLISH_BYTES_PER_TOKEN = 4.2
"""Assumed of the tokenizer behind `CHINCHILLA`: a SentencePiece of 32,000 English pieces."""

CHINCHILLA = LossLaw(
    language="en",
    name="Chinchilla, refitted by Besiroglu et al. 2024",
    references="English web and books, 44M to 16B parameters, 5B to 500B tokens, up to 3e21 FLOPs",
    largest_flops=3e21,
    smallest_flops=1e18,
    irreducible=1.8172,
    parameter_factor=482.01,
    parameter_exponent=0.3478,
    token_factor=2085.43,
    token_exponent=0.3658,
    bits_per_byte_of_a_unit=1 / (math.log(2) * ENGLISH_BYTES_PER_TOKEN),
    relative_deviation=0.10,
)
"""arXiv:2404.10102, table 1. Somebody else's English text and tokenizer: a deviation of 10 % is
assumed for ours. It has no Chinese: a language without reference points has no forecast."""
