"""What was forecast of a training run before its first step, held against what comes.

A forecast is sealed by a digest of its own content: `forecast.json` of the plan holds one for each
training stage, and the run copies its own into its folder before the first step. From then on every
measurement of it is compared while it is made, and at the end `settlement.json` has forecast,
outcome and residual side by side.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json, value_digest, write_json
from tongwen.train.metrics import METRICS, MetricsLog, read_metrics

FORECAST = "forecast.json"
PLANNED_FORECASTS = Path("stages/plan") / FORECAST
"""Where in a run directory the plan leaves them. Training reads the file without depending on it:
a forecast decides nothing of the weights, and another one trains nothing again."""
SETTLEMENT = "settlement.json"
KIND = "forecast"
"""Of the rows that say in `metrics.jsonl` when a forecast was sealed and when the run left it."""

_STEPS_BEFORE_TIME_COUNTS = 20
_SHARE_BEFORE_TIME_COUNTS = 0.1
"""Of the run: its first steps are slower than the rest."""


@dataclass(frozen=True)
class Band:
    """A forecast value; 80 % of outcomes are expected from `low` to `high`."""

    expected: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Milestone:
    """Loss of one language after so many tokens.

    Attributes:
        tokens: of training; the validation that first comes at or after them is compared.
        language: of the validation.
        bits_per_byte: forecast.
    """

    tokens: int
    language: str
    bits_per_byte: Band


@dataclass(frozen=True)
class Forecast:
    """Of one training stage.

    Attributes:
        stage: its name.
        steps: of the whole run.
        milestones: in the order of their tokens.
        seconds: wall-clock of the training, validations and checkpoints included.
        memory_bytes: peak of the first process.
        price: of the time.
        basis: what it rests on, in words.
    """

    stage: str
    steps: int
    milestones: tuple[Milestone, ...] = ()
    seconds: Band | None = None
    memory_bytes: Band | None = None
    price: Band | None = None
    basis: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return value_digest(asdict(self))

    def sealed(self) -> dict[str, Any]:
        """Its JSON values and their digest."""
        return {**asdict(self), "digest": self.digest}

    @classmethod
    def unsealed(cls, values: Mapping[str, Any], source: Path) -> "Forecast":
        """A forecast from its sealed values.

        Raises:
            InputError: the digest is not that of the values, or some are missing.
        """
        try:
            forecast = cls(
                stage=values["stage"],
                steps=values["steps"],
                milestones=tuple(
                    Milestone(row["tokens"], row["language"], Band(**row["bits_per_byte"]))
                    for row in values["milestones"]
                ),
                seconds=_band(values["seconds"]),
                memory_bytes=_band(values["memory_bytes"]),
                price=_band(values["price"]),
                basis=tuple(values["basis"]),
            )
            digest = values["digest"]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{source} holds no forecast: {error}") from error
        if forecast.digest != digest:
            raise InputError(
                f"{source}: the forecast of {forecast.stage} was changed after it was sealed: its "
                f"digest is {forecast.digest}, sealed was {digest}",
                hint="plan again before the run starts",
            )
        return forecast


def _band(values: Mapping[str, float] | None) -> Band | None:
    return None if values is None else Band(**values)


def write_forecasts(path: Path, forecasts: Sequence[Forecast]) -> None:
    """Seal forecasts of several stages into one file."""
    write_json(path, {"stages": {forecast.stage: forecast.sealed() for forecast in forecasts}})


def read_forecast(path: Path, stage: str) -> Forecast | None:
    """The forecast of a stage; None when there is no file or it has none of it.

    Raises:
        InputError: the file is damaged, or was changed after it was sealed.
    """
    try:
        values = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", hint="plan again") from error
    try:
        found = values["stages"].get(stage)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no forecast: {error}") from error
    return None if found is None else Forecast.unsealed(found, path)


@dataclass
class ForecastWatch:
    """Compares a run with its forecast while it goes on.

    Attributes:
        forecast: None when nothing was forecast: then nothing is compared.
        out: the stage's folder.
        metrics: gets a row when the run leaves a band.
        say: tells the user.
    """

    forecast: Forecast | None
    out: Path
    metrics: MetricsLog
    say: Callable[[str], None]
    _left: set[str] = field(default_factory=set)
    _milestones: dict[tuple[str, int], float] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        planned: Path | None,
        stage: str,
        out: Path,
        metrics: MetricsLog,
        step: int,
        say: Callable[[str], None],
        *,
        tokens: int = 0,
        is_branch: bool = False,
    ) -> "ForecastWatch":
        """Seal the forecast into the run before its first step; later, find the one that was.

        A run that starts anew is compared with the newest plan; one that continues with the
        forecast that it was started with, and with none if it had none: what is written on the way
        is no forecast.

        Args:
            planned: file with the plan's forecasts, which need not be there.
            stage: name of the run.
            out: the stage's folder.
            metrics: of the run, cut back to `step`.
            step: that the run starts or continues from.
            say: called with what the user should see.
            tokens: trained on until then.
            is_branch: whether the run begins here, at another one's checkpoint: what was measured
                before is then not compared.

        Raises:
            InputError: a forecast was changed after it was sealed.
        """
        own = out / FORECAST
        is_new = step == 0 or is_branch
        if is_new:
            forecast = None if planned is None else read_forecast(planned, stage)
            if forecast is None:
                forecast = read_forecast(own, stage)
            else:
                write_forecasts(own, [forecast])
            (out / SETTLEMENT).unlink(missing_ok=True)
        else:
            forecast = read_forecast(own, stage)
        watch = cls(forecast, out, metrics, say)
        if forecast is None:
            return watch
        if is_new:
            begun = {"tokens": tokens} if is_branch else {}
            metrics.append(kind=KIND, step=step, event="sealed", digest=forecast.digest, **begun)
            say(f"  forecast {forecast.digest[:12]} is sealed")
        rows = read_metrics(out / METRICS)
        begins = [place for place, row in enumerate(rows) if row.get("event") == "sealed"]
        for row in rows[begins[-1] if begins else 0 :]:
            watch._remember(row)
        return watch

    def _remember(self, row: Mapping[str, Any]) -> None:
        if row.get("kind") == KIND and row["event"] == "left":
            self._left.add(row["what"])
        if row.get("kind") == KIND and row["event"] == "sealed":
            for milestone in self.forecast.milestones if self.forecast else ():
                if milestone.tokens <= row.get("tokens", 0):  # passed before it was forecast
                    self._milestones[milestone.language, milestone.tokens] = math.nan
        is_measured = row.get("kind") == "validation" and "bits_per_byte" in row
        if is_measured and "weights" not in row:
            self._note(row["tokens"], row["language"], row["bits_per_byte"])

    def _note(self, tokens: int, language: str, bits_per_byte: float) -> Milestone | None:
        """Count a validation for the milestones that it is the first to reach; gives the last."""
        reached = None
        for milestone in self.forecast.milestones if self.forecast else ():
            key = (language, milestone.tokens)
            if milestone.language == language and tokens >= milestone.tokens:
                if key not in self._milestones:
                    reached = milestone
                self._milestones.setdefault(key, bits_per_byte)
        return reached

    def validated(self, step: int, tokens: int, language: str, bits_per_byte: float) -> None:
        """A validation was made."""
        milestone = self._note(tokens, language, bits_per_byte)
        if milestone is not None:
            band = milestone.bits_per_byte
            self._compare(
                step,
                f"bits_per_byte_{language}",
                band,
                bits_per_byte,
                f"{bits_per_byte:.3f} bits a byte in {language} after {tokens:,} tokens",
                f"{band.low:.3f} to {band.high:.3f}",
            )

    def stepped(self, step: int, seconds: float, memory_bytes: float) -> None:
        """A step is done: `seconds` of the run so far, and its peak memory."""
        forecast = self.forecast
        if forecast is None:
            return
        memory = forecast.memory_bytes
        if memory is not None and memory_bytes > memory.high:  # a peak grows: too low is no news
            self._compare(
                step,
                "memory_bytes",
                memory,
                memory_bytes,
                f"{memory_bytes / 2**20:,.0f} MiB of memory",
                f"{memory.low / 2**20:,.0f} to {memory.high / 2**20:,.0f} MiB",
            )
        begun = max(_STEPS_BEFORE_TIME_COUNTS, _SHARE_BEFORE_TIME_COUNTS * forecast.steps)
        if forecast.seconds is not None and step >= begun:
            projected = seconds / step * forecast.steps
            self._compare(
                step,
                "seconds",
                forecast.seconds,
                projected,
                f"at this speed the run takes {projected:,.1f} s",
                f"{forecast.seconds.low:,.1f} to {forecast.seconds.high:,.1f} s",
            )

    def _compare(
        self, step: int, what: str, band: Band, value: float, said: str, limits: str
    ) -> None:
        """Say it, once, when a value leaves its band."""
        if band.holds(value) or what in self._left:
            return
        self._left.add(what)
        self.say(f"  outside the forecast: {said}; forecast: {limits}")
        self.metrics.append(
            kind=KIND, step=step, event="left", what=what, value=value, low=band.low, high=band.high
        )

    def settle(self, seconds: float, memory_bytes: float) -> None:
        """The run is finished: write forecast, outcome and residual side by side."""
        if self.forecast is None:
            return
        rows = list(settled_rows(self.forecast, self._milestones, seconds, memory_bytes))
        write_json(
            self.out / SETTLEMENT,
            {
                "stage": self.forecast.stage,
                "digest": self.forecast.digest,
                "basis": list(self.forecast.basis),
                "rows": rows,
                "within": sum(row["within"] is True for row in rows),
                "measured": sum(row["within"] is not None for row in rows),
            },
        )
        outside = [row["what"] for row in rows if row["within"] is False]
        self.say(
            f"  forecast settled: {len(rows) - len(outside)} of {len(rows)} within"
            + (f"; outside: {', '.join(outside)}" if outside else "")
        )


def settled_rows(
    forecast: Forecast,
    milestones: Mapping[tuple[str, int], float],
    seconds: float,
    memory_bytes: float,
) -> Iterator[dict[str, Any]]:
    """One row a forecast value: expected, low, high, outcome, residual (a share of the expected,
    positive when more came) and whether the outcome is within; the last three are None for what
    was never measured.
    """
    for milestone in forecast.milestones:
        yield _row(
            "bits_per_byte",
            milestone.bits_per_byte,
            milestones.get((milestone.language, milestone.tokens)),
            language=milestone.language,
            tokens=milestone.tokens,
        )
    if forecast.seconds is not None:
        yield _row("seconds", forecast.seconds, seconds)
    if forecast.memory_bytes is not None:
        yield _row("memory_bytes", forecast.memory_bytes, memory_bytes)
    if forecast.price is not None and forecast.seconds is not None:
        hourly = forecast.price.expected / forecast.seconds.expected
        yield _row("price", forecast.price, seconds * hourly)


def _row(what: str, band: Band, outcome: float | None, **more: Any) -> dict[str, Any]:
    known = outcome is not None and math.isfinite(outcome)
    return {
        "what": what,
        **more,
        **asdict(band),
        "outcome": outcome if known else None,
        "residual": outcome / band.expected - 1 if outcome is not None and known else None,
        "within": band.holds(outcome) if outcome is not None and known else None,
    }
