"""The grid of a ladder: small models of a recipe's family, each trained on several budgets.

All budgets of a size are ends of one trunk at constant rate (Hu et al. 2024, arXiv:2404.06395), so
a size with budgets D1 < D2 < D3 costs its longest run and the shorter ones' decays. Rate and batch
are swept at the smallest size alone; CompleteP (Dey et al. 2025, arXiv:2505.01618) carries the rate
to the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from tongwen.errors import UsageError
from tongwen.files import value_digest
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.model.settings import ModelSettings
from tongwen.plan.laws import recommended_rate
from tongwen.train.optim.schedule import last_constant_step
from tongwen.train.settings import CompletePSettings, PretrainSettings

_WARMUP_SHARE = 0.1
"""Of a size's smallest budget: longer ones keep it, so that they share the trunk."""

_RATES = (0.5, 1.0, 2.0)
_BATCHES = (0.5, 1.0, 2.0)
_WIDTHS = (1 / 16, 3 / 32, 1 / 8, 3 / 16, 1 / 4)
"""Of the recipe's own, when none are named."""


@dataclass(frozen=True, kw_only=True)
class Climb:
    """What is asked of a ladder.

    Attributes:
        model: shape of the family: heads, feed-forward ratio and depth follow the width.
        settings: of the trunk, where the ladder does not say otherwise.
        vocabulary_size: of the tokenizer.
        widths: hidden sizes, ascending.
        tokens_per_parameter: budgets of each size, ascending; parameters counted with embeddings.
        tokens: the same budgets for every size, ascending, in place of `tokens_per_parameter`:
            where compute is short, small models then see as many tokens as the largest.
        rates: peak rates to sweep; absent, around the planner's own for the smallest size.
        batches: tokens of a batch to sweep; absent, likewise.
        held_out: rungs with the most FLOPs that are forecast before they are run.
    """

    model: ModelSettings
    settings: PretrainSettings
    vocabulary_size: int
    widths: tuple[int, ...]
    tokens_per_parameter: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    tokens: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    batches: tuple[int, ...] = ()
    held_out: int = 3

    def __post_init__(self) -> None:
        budgets = "tokens" if self.tokens else "tokens_per_parameter"
        for name, least in (("widths", 3), (budgets, 3)):
            values = getattr(self, name)
            spelt = "--" + name.replace("_", "-")
            if any(not 0 < value < float("inf") for value in values):
                raise UsageError(f"{spelt} is {_listed(values)}", hint="numbers greater than 0")
            if len({*values}) < least:
                raise UsageError(
                    f"{spelt} is {_listed(values)}: a law of five constants needs {least} of them",
                    hint="name more, separated by commas",
                )
            if list(values) != sorted({*values}):
                raise UsageError(
                    f"{spelt} is {_listed(values)}", hint="name each once, from the smallest up"
                )
        rungs = len(self.widths) * len(getattr(self, budgets))
        if not 0 <= self.held_out <= rungs - 6:
            raise UsageError(
                f"--hold-out is {self.held_out} of {rungs} rungs; a law is fitted on 6 at least",
                hint=f"--hold-out {max(0, rungs - 6)}, or more --widths",
            )
        for values, spelt in ((self.rates, "--rates"), (self.batches, "--batches")):
            if any(not 0 < value < float("inf") for value in values):
                raise UsageError(f"{spelt} is {_listed(values)}", hint="numbers greater than 0")
        sequence = self.settings.sequence_tokens
        for batch in self.batches:
            if batch % sequence:
                raise UsageError(
                    f"--batches has {batch}, not a multiple of the sequences, {sequence}",
                    hint=f"--batches {-(-batch // sequence) * sequence}",
                )
        for width in self.widths:
            self.config(width)

    def config(self, width: int) -> ModelConfig:
        """The member of the family with this hidden size.

        Raises:
            UsageError: it has no whole number of heads.
        """
        model = self.model
        if width % model.head_dim:
            near = max(1, round(width / model.head_dim)) * model.head_dim
            raise UsageError(
                f"--widths has {width}, not a multiple of model.head_dim, {model.head_dim}",
                hint=f"use {near}, or --set model.head_dim={_common(width, model.head_dim)}",
            )
        ratio = width / model.hidden_size
        heads = width // model.head_dim
        wanted = max(1, round(heads * model.num_key_value_heads / model.num_attention_heads))
        shape = replace(
            model,
            hidden_size=width,
            intermediate_size=max(16, round(model.intermediate_size * ratio / 16) * 16),
            num_hidden_layers=max(1, round(model.num_hidden_layers * ratio)),
            num_attention_heads=heads,
            num_key_value_heads=max(n for n in range(1, wanted + 1) if heads % n == 0),
        )
        return ModelConfig.from_settings(shape, self.vocabulary_size)

    @property
    def configs(self) -> list[ModelConfig]:
        return [self.config(width) for width in self.widths]

    def budgets(self, config: ModelConfig) -> list[float]:
        """Training tokens of a size, ascending."""
        if self.tokens:
            return [*map(float, self.tokens)]
        return [share * config.parameters for share in self.tokens_per_parameter]

    def trunk(self, config: ModelConfig, rate: float, batch: int) -> PretrainSettings:
        """Settings of all budgets of a size, without `max_tokens` of its own."""
        base = self.configs[0]
        shortest = self.budgets(config)[0]
        return replace(
            self.settings,
            base=None,
            decay="wsd",
            batch_tokens=batch,
            micro_batch_tokens=_micro_batch(self.settings, batch),
            initial_batch_tokens=None,
            peak_learning_rate=rate,
            warmup_tokens=float(round(min(config.parameters, _WARMUP_SHARE * shortest))),
            complete_p=CompletePSettings(
                base_hidden_size=base.hidden_size, base_layers=base.num_hidden_layers
            ),
            evaluate_every_steps=10**9,
            keep_every_steps=None,
            average_last=None,
            changed_run="refuse",
        )

    def sweep(self) -> Iterator["Rung"]:
        """Every rate with every batch, at the smallest size and its middle budget."""
        config = self.configs[0]
        budgets = self.budgets(config)
        tokens = budgets[len(budgets) // 2]
        flops = tokens * flops_per_token(config, self.settings.sequence_tokens).full
        middle = recommended_rate(config.non_embedding_parameters, tokens, flops)
        rates = self.rates or tuple(factor * middle.rate for factor in _RATES)
        sequence = self.settings.sequence_tokens
        batches = self.batches or sorted(
            {
                max(1, round(factor * middle.batch_tokens / sequence)) * sequence
                for factor in _BATCHES
            }
        )
        for rate, batch in product(rates, batches):
            yield self._rung("sweep", config, tokens, rate, batch)

    def rungs(self, rate: float, batch: int) -> list["Rung"]:
        """All sizes and budgets, the cheapest first; the last ones are held out."""
        found = [
            self._rung("fitted", config, budget, rate, batch)
            for config in self.configs
            for budget in self.budgets(config)
        ]
        found.sort(key=lambda rung: rung.flops)
        first = len(found) - self.held_out
        return found[:first] + [replace(rung, part="held out") for rung in found[first:]]

    def _rung(
        self, part: str, config: ModelConfig, budget: float, rate: float, batch: int
    ) -> "Rung":
        tokens = max(1, round(budget / batch)) * batch
        settings = replace(self.trunk(config, rate, batch), max_tokens=tokens)
        return Rung(part, config, settings)


@dataclass(frozen=True)
class Rung:
    """One run.

    Attributes:
        part: `sweep`, `fitted` or `held out`.
        config: the model.
        settings: of its training.
    """

    part: str
    config: ModelConfig
    settings: PretrainSettings

    @property
    def tokens(self) -> int:
        return self.settings.batches.tokens_before(self.settings.steps)

    @property
    def flops(self) -> float:
        per_token = flops_per_token(self.config, self.settings.sequence_tokens).full
        return float(per_token * self.tokens)

    @property
    def trunk_name(self) -> str:
        """Folder that it shares with all other budgets of its size, rate and batch."""
        settings = self.settings
        return (
            f"{self.config.hidden_size}-{settings.peak_learning_rate:.4g}-{settings.batch_tokens}"
        )

    def key(self, data: str) -> str:
        """Names the run and the data it is trained on."""
        values = {**asdict(self.config), **asdict(self.settings), "data": data}
        return value_digest({name: str(value) for name, value in values.items()})[:16]


def own_flops(rungs: Sequence[Rung]) -> list[float]:
    """FLOPs that each rung really takes when it goes on from the one before on its trunk."""
    reached: dict[str, int] = {}
    found = []
    for rung in rungs:
        step = last_constant_step(rung.settings) or 0
        begins = reached.get(rung.trunk_name, 0)
        begins = begins if begins <= step else 0
        share = 1 - begins / rung.settings.steps
        found.append(share * rung.flops)
        reached[rung.trunk_name] = step
    return found


def default_widths(model: ModelSettings) -> tuple[int, ...]:
    """From a sixteenth to a quarter of the recipe's own, in whole heads."""
    unit = model.head_dim
    return tuple(
        sorted({max(1, round(share * model.hidden_size / unit)) * unit for share in _WIDTHS})
    )


def best_of_sweep(rows: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """Rate and batch with the least bits a byte, all languages alike."""
    best = min(rows, key=lambda row: sum(row["bits_per_byte"].values()))
    return float(best["rate"]), int(best["batch_tokens"])


def _micro_batch(settings: PretrainSettings, batch: int) -> int:
    """The recipe's, if the batch has whole ones, else the batch."""
    micro = settings.micro_batch_tokens
    return micro if micro is not None and batch % micro == 0 else batch


def _common(width: int, head_dim: int) -> int:
    return max(size for size in range(1, head_dim + 1) if width % size == 0)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "empty"
