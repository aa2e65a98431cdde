"""Running a ladder: sweep, fitted rungs, sealed forecasts, held-out rungs, laws.

In the ladder's folder:

    ladder.json             every finished run with its losses; what is there is not run again
    runs/<trunk>/           checkpoints and metrics of a trunk and its branches
    forecasts/<rung>.json   of each held-out rung, sealed before its first step
    law-fitted.json         laws of the fitted rungs: what was forecast from
    law.json                laws of all rungs, for `tongwen plan --law` and `plan.law`
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.files import read_json, write_json
from tongwen.plan.choice import extrapolation
from tongwen.plan.fit import NAMES, Fit, fit_law
from tongwen.plan.ladder import Climb, Rung, best_of_sweep
from tongwen.plan.law_file import write_laws
from tongwen.plan.laws import LossLaw
from tongwen.progress import Progress
from tongwen.train.data.sources import ShardData
from tongwen.train.forecast import Band, Forecast, Milestone, read_forecast, write_forecasts
from tongwen.train.guard import time_limit
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import METRICS, read_metrics
from tongwen.train.weights import InitialWeights

LADDER = "ladder.json"
LAW = "law.json"
LAW_FITTED = "law-fitted.json"
_SAMPLES_KEPT = 100  # of the bootstrap: enough for 80 % intervals, and the file stays small
_LEAST_DEVIATION = 0.002
"""Of runs around a law: what another seed would change cannot be seen in one run of each rung."""
# Epochs as good as fresh text (Muennighoff et al. 2023, arXiv:2305.16264).
_REPEATS_WORTH_TRAINING = 4
_STAGE = "pretrain"


@dataclass(frozen=True)
class Ground:
    """What a ladder stands on.

    Attributes:
        shards: of the encode stage.
        tokenizer: folder that made them.
        out: the ladder's folder.
        progress: what the user sees.
    """

    shards: Path
    tokenizer: Path
    out: Path
    progress: Progress


class Ascent:
    """One call's share of a ladder.

    Args:
        climb: what is asked.
        ground: data and folders.

    Raises:
        InputError: no shards, no validation shards, or `ladder.json` is damaged.
    """

    def __init__(self, climb: Climb, ground: Ground) -> None:
        self.climb = climb
        self.ground = ground
        self._data = ShardData.open(ground.shards, ground.tokenizer)
        if not self._data.validation:
            raise InputError(
                f"no validation shard (valid-*.shard) in {ground.shards}",
                hint="encode with encode.validation_share=0.01",
            )
        self._rows = _read_rows(ground.out / LADDER)

    @property
    def training_tokens(self) -> int:
        """There are in the shards."""
        return self._data.training.total_tokens

    def row(self, rung: Rung) -> dict[str, Any] | None:
        """What was measured of a rung, if it is done."""
        return self._rows.get(rung.key(self._data.training.digest))

    def rows(self, rungs: Sequence[Rung]) -> list[dict[str, Any]]:
        """Of those that are done, in their order."""
        return [row for rung in rungs if (row := self.row(rung)) is not None]

    def left(self) -> list[Rung]:
        """Runs that are not done, as far as they are known: the sweep decides the rest's rate."""
        sweep = [rung for rung in self.climb.sweep() if self.row(rung) is None]
        return sweep or [rung for rung in self.rungs() if self.row(rung) is None]

    def rungs(self) -> list[Rung]:
        """All but the sweep, with its best rate and batch; every run of it must be done."""
        return self.climb.rungs(*best_of_sweep(self.rows(list(self.climb.sweep()))))

    def run(self, minutes: float | None = None) -> bool:
        """Run what is left, for so many minutes at most; gives whether all is done.

        A run that the time cuts goes on at the next call.
        """
        with time_limit(minutes) as is_over:
            try:
                for rung in self.climb.sweep():
                    self._run(rung)
                for rung in self.rungs():
                    if rung.part == "held out":
                        self._seal(rung)
                    self._run(rung)
            except KeyboardInterrupt:
                if not is_over():
                    raise
                self.ground.progress.say(
                    f"  {minutes:g} minutes are over: run the same command to continue"
                )
                return False
        self._write_laws(self.rungs(), LAW)
        return True

    def _run(self, rung: Rung) -> None:
        if self.row(rung) is not None:
            return
        out = self.ground.out / "runs" / rung.trunk_name
        settings = rung.settings
        self.ground.progress.say(
            f"{rung.part}: {rung.config.parameters:,} parameters, {rung.tokens:,} tokens, rate "
            f"{settings.peak_learning_rate:.3g}, batch {settings.batch_tokens:,}"
        )
        counts = train(
            Job(
                name=_STAGE,
                settings=settings,
                weights=InitialWeights(rung.config, settings),
                data=self._data.training_sequences(settings),
                validation=self._data.validation_sets(settings),
                tokenizer_folder=self.ground.tokenizer,
                out=out,
                progress=self.ground.progress,
                forecast=self._forecast_file(rung) if rung.part == "held out" else None,
            )
        )
        rows = read_metrics(out / METRICS)
        losses = {
            row["language"]: row["bits_per_byte"]
            for row in rows
            if row["kind"] == "validation" and row["step"] == settings.steps
        }
        self._rows[rung.key(self._data.training.digest)] = {
            "part": rung.part,
            "hidden_size": rung.config.hidden_size,
            "layers": rung.config.num_hidden_layers,
            "parameters": rung.config.parameters,
            "non_embedding_parameters": rung.config.non_embedding_parameters,
            "tokens": rung.tokens,
            "epochs": counts["epochs"],
            "flops": rung.flops,
            "rate": settings.peak_learning_rate,
            "batch_tokens": settings.batch_tokens,
            "bits_per_byte": losses,
            "seconds": round(sum(row["seconds"] for row in rows if row["kind"] == "train"), 1),
            "skipped_steps": counts["skipped_steps"],
        }
        write_json(self.ground.out / LADDER, {"runs": self._rows})

    def _forecast_file(self, rung: Rung) -> Path:
        return self.ground.out / "forecasts" / f"{rung.key(self._data.training.digest)}.json"

    def _seal(self, rung: Rung) -> None:
        """Forecast a held-out rung from the fitted ones; once, before its first step."""
        path = self._forecast_file(rung)
        if path.exists() or self.row(rung) is not None:
            return
        laws = self._write_laws(
            [item for item in self.rungs() if item.part == "fitted"], LAW_FITTED
        )
        write_forecasts(path, [forecast_of(rung, laws)])

    def _write_laws(self, rungs: Sequence[Rung], name: str) -> dict[str, LossLaw]:
        laws, unknown = laws_of(self.rows(rungs))
        write_laws(self.ground.out / name, laws, unknown)
        return laws

    def forecasts(self) -> Iterator[tuple[Rung, Milestone, float]]:
        """Every sealed forecast of a held-out rung that has been run, with its outcome."""
        for rung in self.rungs():
            row = self.row(rung)
            if rung.part != "held out" or row is None:
                continue
            forecast = read_forecast(self._forecast_file(rung), _STAGE)
            for milestone in forecast.milestones if forecast else ():
                yield rung, milestone, row["bits_per_byte"][milestone.language]

    def cannot_know(self) -> list[str]:
        """What these runs leave open, in words."""
        done = self.rows(self.rungs())
        _, unknown = laws_of(done)
        said = [f"{language}: {text}" for language, texts in unknown.items() for text in texts]
        largest = max(row["flops"] for row in done)
        said.append(
            "another seed of a run: each was run once, so an interval assumes a deviation of "
            f"{_LEAST_DEVIATION:.1%} at least"
        )
        said.append(f"runs beyond {100 * largest:.2g} FLOPs, 100 times the largest")
        said += self._edges()
        said.append("the best rate at other sizes: swept at the smallest, carried by CompleteP")
        most = max(row["epochs"] for row in done)
        if most > _REPEATS_WORTH_TRAINING:
            said.append(f"fresh data: the longest run repeats its {most:.1f} times")
        return said

    def _edges(self) -> Iterator[str]:
        """Whether the best of the sweep may be beyond it."""
        swept = self.rows(list(self.climb.sweep()))
        best = dict(zip(("rate", "batch_tokens"), best_of_sweep(swept), strict=True))
        for name, value in best.items():
            values = {row[name] for row in swept}
            if value in (min(values), max(values)):
                yield (
                    f"the best {name.replace('_tokens', '')}: {value:g} is at the edge of what was "
                    "swept"
                )


def laws_of(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, LossLaw], dict[str, list[str]]]:
    """A law for each language, and what the runs do not determine of it.

    N is counted with or without embeddings, whichever comes nearer to the runs.

    Raises:
        InputError: too few runs for a law.
    """
    laws, unknown = {}, {}
    for language in sorted(rows[0]["bits_per_byte"]) if rows else ():
        losses = [row["bits_per_byte"][language] for row in rows]
        tokens = [row["tokens"] for row in rows]
        fits = {
            counted: fit_law([row[counted] for row in rows], tokens, losses)
            for counted in ("parameters", "non_embedding_parameters")
        }
        counted = min(fits, key=lambda name: fits[name].objective)
        laws[language] = _law(language, rows, fits[counted], counted)
        unknown[language] = list(fits[counted].unknown)
    if not laws:
        raise InputError("no run is done yet", hint="run the ladder first")
    return laws, unknown


def _law(language: str, rows: Sequence[Mapping[str, Any]], fit: Fit, counted: str) -> LossLaw:
    flops = [row["flops"] for row in rows]
    sizes, tokens = ([row[name] for row in rows] for name in ("parameters", "tokens"))
    constants: dict[str, Any] = dict(zip(NAMES, fit.constants, strict=True))
    return LossLaw(
        language=language,
        name=f"a ladder of {len(rows)} runs",
        references=(
            f"{_short(min(sizes))} to {_short(max(sizes))} parameters, {_short(min(tokens))} to "
            f"{_short(max(tokens))} tokens"
        ),
        largest_flops=max(flops),
        smallest_flops=min(flops),
        relative_deviation=max(_LEAST_DEVIATION, fit.deviation),
        samples=tuple(tuple(map(float, sample)) for sample in fit.samples[:_SAMPLES_KEPT]),  # type: ignore[misc]
        counts_embeddings=counted == "parameters",
        **constants,
    )


def forecast_of(rung: Rung, laws: Mapping[str, LossLaw]) -> Forecast:
    """Loss of a rung at its end, in each language."""
    milestones = []
    for language, law in laws.items():
        size = (
            rung.config.parameters
            if law.counts_embeddings
            else rung.config.non_embedding_parameters
        )
        low, high = law.interval(size, rung.tokens, extrapolation(law, rung.flops))
        band = Band(law.bits_per_byte(size, rung.tokens), low, high)
        milestones.append(Milestone(rung.tokens, language, band))
    return Forecast(
        stage=_STAGE,
        steps=rung.settings.steps,
        milestones=tuple(milestones),
        basis=tuple(f"{law.name}: {law.references}" for law in laws.values()),
    )


def _short(value: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def _read_rows(path: Path) -> dict[str, dict[str, Any]]:
    try:
        rows = read_json(path)["runs"]
        if not all({"part", "tokens", "bits_per_byte"} <= set(row) for row in rows.values()):
            raise KeyError("a run lacks a value")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: {error}", hint="remove it; finished trunks are then read again"
        ) from error
    return dict(rows)
