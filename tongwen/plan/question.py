"""What a team asks: a machine, a limit, and what shall be best within it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from tongwen.errors import UsageError
from tongwen.model.config import ModelConfig
from tongwen.plan.adapters import Method
from tongwen.plan.devices import Device, Measured
from tongwen.plan.laws import CHINCHILLA, LossLaw
from tongwen.train.settings import TrainSettings

Objective = Literal["best-loss", "cheapest-to-serve"]

_LIMITS = ("days", "money", "flops", "tokens", "target_bits_per_byte")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A budget and what is asked of it. At least one limit, or a recipe's own number of tokens.

    Attributes:
        device: one card of the machine.
        measured: how fast training was measured to be.
        gpus: how many cards; absent, what money and days pay for, or one node.
        days: of wall-clock time, failures and checkpoints included.
        money: in the currency of the device's price.
        flops: of training, attention counted over all pairs of tokens.
        tokens: to train on.
        target_bits_per_byte: to reach, in `target_language`.
        shape: a fixed model; absent, the planner chooses its size.
        recipe: a training stage's settings, for what the planner is not asked: sequence, rate,
            batch, optimizer.
        stage: the recipe's section that the settings are of.
        is_continued: whether the run starts from trained weights: rate and batch are then the
            recipe's, and the loss is not forecast.
        objective: least loss, or least cost of training and serving together.
        serve_tokens: that the model will answer with over its life, for `cheapest-to-serve`.
        method: all weights, or adapters.
        rank: of the adapters.
        sequence_tokens: of a training sequence; the recipe's, else 4,096.
        vocabulary_size: of a shape that the planner chooses.
        mfu: share of peak speed that the user knows of; layout costs are then part of it.
        price_per_hour: of one card; the device's when absent.
        failure_gpu_hours: mean time between failures of one card.
        laws: language -> loss law.
    """

    device: Device
    measured: tuple[Measured, ...] = ()
    gpus: int | None = None
    days: float | None = None
    money: float | None = None
    flops: float | None = None
    tokens: float | None = None
    target_bits_per_byte: float | None = None
    target_language: str = "en"
    shape: ModelConfig | None = None
    recipe: TrainSettings | None = None
    stage: str = "pretrain"
    is_continued: bool = False
    objective: Objective = "best-loss"
    serve_tokens: float | None = None
    method: Method = "full"
    rank: int = 16
    sequence_tokens: int | None = None
    vocabulary_size: int = 64_000
    mfu: float | None = None
    price_per_hour: float | None = None
    failure_gpu_hours: float = 50_700.0
    laws: Mapping[str, LossLaw] = field(default_factory=lambda: {"en": CHINCHILLA})

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not 0 < value < float("inf"):
                raise UsageError(
                    f"{option(item.name)} is {value:g}", hint="use a number greater than 0"
                )
        if self.mfu is not None and self.mfu > 1:
            raise UsageError(f"--mfu is {self.mfu:g}", hint="use a share, such as 0.4")
        if self.method == "full" and not any(getattr(self, name) for name in _LIMITS):
            raise UsageError(
                "no budget: how long, how much or how far?",
                hint="add --days, --money, --flops, --tokens or --target-bits-per-byte",
            )
        if self.money is not None and self.price is None:
            raise UsageError(
                f"--money is {self.money:,.0f}, but nobody says what a {self.device.name} costs",
                hint="add --price-per-hour",
            )
        if self.objective == "cheapest-to-serve" and self.serve_tokens is None:
            raise UsageError("cheapest to serve how much?", hint="add --serve-tokens, such as 1e12")
        if self.objective == "cheapest-to-serve" and self.shape is not None:
            raise UsageError(
                "--objective cheapest-to-serve chooses a size, but the recipe fixes one",
                hint="leave out the recipe or the objective",
            )
        if self.serve_tokens is not None and self.objective == "best-loss":
            raise UsageError(
                f"--serve-tokens is {self.serve_tokens:g}, which changes nothing for the best loss",
                hint="add --objective cheapest-to-serve",
            )
        if self.target_bits_per_byte is not None:
            self._check_target(self.target_bits_per_byte)
        if self.method != "full" and self.shape is None:
            raise UsageError(
                f"--method {self.method} tunes a model, and none is named",
                hint="name a preset, such as yi-6b, or --parameters 7e9",
            )

    def _check_target(self, target: float) -> None:
        law = self.laws.get(self.target_language)
        if law is None:
            raise UsageError(
                f"--target-bits-per-byte of {self.target_language!r}: the loss law is of "
                f"{', '.join(self.laws)}",
                hint=f"--target-language {next(iter(self.laws))}, or --law FILE",
            )
        if target <= law.floor:
            raise UsageError(
                f"--target-bits-per-byte is {target:g}; by {law.name} no model goes below "
                f"{law.floor:.3f} in {self.target_language}",
                hint=f"--target-bits-per-byte {law.floor * 1.1:.3f}",
            )
        others = [name for name in _LIMITS[:-1] if getattr(self, name) is not None]
        if others:
            raise UsageError(
                f"--target-bits-per-byte asks for the cheapest run, but {option(others[0])} "
                "limits it",
                hint="leave out one of the two",
            )

    @property
    def price(self) -> float | None:
        """Of one card for an hour."""
        return (
            self.price_per_hour if self.price_per_hour is not None else self.device.price_per_hour
        )


def option(name: str) -> str:
    """How the command line spells a field: `--target-bits-per-byte`."""
    return "--" + name.replace("_", "-")
