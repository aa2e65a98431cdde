"""AdamW-cosine, AdamW-WSD and Muon-WSD at equal tokens and at equal time, several seeds each.

    python bench/optimizers.py SHARDS TOKENIZER [--tokens N] [--rates 1e-3 2e-3 4e-3] [--record]

SHARDS and TOKENIZER are folders of `tongwen encode` and `tongwen tokenizer`. Every run is a
`tongwen pretrain` from its seed's own weights and data order; compared is the loss on held-out
English and Chinese after the last step. Equal time is the time AdamW-cosine needed for its steps:
Muon gets as many tokens as it trains in that time, so that its rate has fallen at its end. A step
of AdamW takes as long whatever its rate, so AdamW-WSD is the same run at equal tokens. Seconds are
the median step times the steps; validation, saving and warming up are left out.

With `--rates` each of the three first takes the best of these rates with a seed that is not
compared later. Finished runs are in `--out`: the same command goes on with what is missing, and
`--table` only prints what is there. `--seconds` begins no run that would end later.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from record import machine, put_below

from tongwen.errors import InputError, TongwenError
from tongwen.files import file_digest
from tongwen.road.alone import run_alone
from tongwen.train.metrics import read_metrics

_SWEEP_SEED = 0


@dataclass(frozen=True)
class Schedule:
    """What is compared: an optimizer, how its rate falls and what else is set."""

    name: str
    optimizer: str
    decay: str
    overrides: tuple[str, ...] = ()

    def is_as_fast_as(self, other: "Schedule") -> bool:
        """Whether a step takes as long, whatever the rate."""
        return (self.optimizer, self.overrides) == (other.optimizer, other.overrides)


SCHEDULES = (
    Schedule("adamw-cosine", "adamw", "cosine"),
    Schedule("adamw-wsd", "adamw", "wsd"),
    Schedule("muon-wsd", "muon", "wsd"),
)


@dataclass(frozen=True)
class Result:
    """A finished run: bits per byte by language, tokens it trained on, seconds of its steps."""

    seed: int
    rate: float
    tokens: int
    seconds: float
    bits_per_byte: dict[str, float]
    machine: str

    @property
    def mean_bits(self) -> float:
        return statistics.mean(self.bits_per_byte.values())


Groups = dict[tuple[str, str], list[Result]]
"""Results by what is equal ("tokens" or "time") and the name of the schedule."""


class NotRunError(Exception):
    """A run is missing that there is no time for."""


class Runs:
    """Runs what is not in the results file yet."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._started = time.monotonic()
        self._longest = 0.0
        self._file = options.out / "results.jsonl"
        self._shards = [file_digest(path) for path in sorted(options.shards.glob("*.shard"))]
        options.out.mkdir(parents=True, exist_ok=True)
        lines = self._file.read_text("utf-8").splitlines() if self._file.exists() else []
        self._results = {row.pop("key"): Result(**row) for row in map(json.loads, lines)}

    def get(self, schedule: Schedule, rate: float, tokens: int, seed: int) -> Result:
        """The result of one run; runs it unless it is known.

        Raises:
            NotRunError: it is not known, and it would not end in time.
        """
        options = self._options
        overrides = self._overrides(schedule, rate, tokens, seed)
        key = json.dumps([options.recipe, overrides, self._shards])  # on whatever machine
        if key in self._results:
            return self._results[key]
        name = f"{schedule.name}, rate {rate:g}, {tokens:,} tokens, seed {seed}"
        elapsed = time.monotonic() - self._started
        if options.table or elapsed + self._longest > options.seconds:
            raise NotRunError(f"not run after {elapsed:.0f} s: {name}")
        print(f"{elapsed:.0f} s: {name}", flush=True)
        result = self._run(overrides, rate, seed)
        self._longest = max(self._longest, time.monotonic() - self._started - elapsed)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, **asdict(result)}) + "\n")
        self._results[key] = result
        bits = ", ".join(f"{name} {value:.4f}" for name, value in result.bits_per_byte.items())
        print(f"  {result.tokens / result.seconds:,.0f} tokens/s, bits per byte {bits}", flush=True)
        return result

    def _overrides(self, schedule: Schedule, rate: float, tokens: int, seed: int) -> list[str]:
        options = self._options
        return [
            f"pretrain.max_tokens={tokens}",
            f"pretrain.batch_tokens={options.batch_tokens}",
            f"pretrain.optimizer={schedule.optimizer}",
            f"pretrain.decay={schedule.decay}",
            f"pretrain.peak_learning_rate={rate}",
            f"pretrain.seed={seed}",
            f"pretrain.validation_tokens={options.validation_tokens}",
            "pretrain.evaluate_every_steps=1_000_000_000",
            "pretrain.keep_checkpoints=1",
            *schedule.overrides,
            *options.overrides,
        ]

    def _run(self, overrides: list[str], rate: float, seed: int) -> Result:
        options, out = self._options, self._options.out / "run"
        run_alone(
            "pretrain",
            inputs={"shards": options.shards, "tokenizer": options.tokenizer},
            out=out,
            recipe=options.recipe,
            overrides=(
                f"pretrain.micro_batch_tokens={options.micro_batch_tokens}",
                *overrides,
            ),
        )
        rows = read_metrics(out / "metrics.jsonl")
        steps = [row for row in rows if row["kind"] == "train"]
        bits = {
            row["language"]: row["bits_per_byte"] for row in rows if row["kind"] == "validation"
        }
        missing = {"en", "zh"} - bits.keys()
        if missing:
            raise InputError(
                f"{options.shards} has no held-out documents in {' and '.join(sorted(missing))}",
                hint="run `tongwen encode` with encode.validation_share above 0",
            )
        shutil.rmtree(out)
        return Result(
            seed=seed,
            rate=rate,
            tokens=steps[-1]["tokens"],
            seconds=len(steps) * statistics.median(row["seconds"] for row in steps),
            bits_per_byte={language: bits[language] for language in ("en", "zh")},
            machine=machine(),
        )


def best_rates(
    runs: Runs, schedules: tuple[Schedule, ...], options: argparse.Namespace
) -> dict[str, float]:
    """For each schedule the rate to compare with: the given one, or the best of `--rates`."""
    if not options.rates:
        given = {"adamw": options.adamw_rate, "muon": options.muon_rate}
        return {schedule.name: given[schedule.optimizer] for schedule in schedules}
    best = {}
    for schedule in schedules:
        results = [runs.get(schedule, rate, options.tokens, _SWEEP_SEED) for rate in options.rates]
        best[schedule.name] = min(results, key=lambda result: result.mean_bits).rate
        tried = ", ".join(f"{result.rate:g}: {result.mean_bits:.4f}" for result in results)
        print(f"{schedule.name}: {best[schedule.name]:g} of {tried}", flush=True)
        if best[schedule.name] in (min(options.rates), max(options.rates)):
            print("  it is the outermost one tried: a better one may lie beyond", flush=True)
    return best


def compare(
    runs: Runs, schedules: tuple[Schedule, ...], options: argparse.Namespace
) -> Iterator[Groups]:
    """All results so far, after each run. Seed by seed, so that a part is balanced too."""
    rates = best_rates(runs, schedules, options)
    seeds = range(1, options.seeds + 1)
    groups: Groups = {}
    for seed in seeds:
        for schedule in schedules:
            result = runs.get(schedule, rates[schedule.name], options.tokens, seed)
            groups.setdefault(("tokens", schedule.name), []).append(result)
            yield groups
    base = groups["tokens", schedules[0].name]
    seconds = statistics.mean(result.seconds for result in base)
    for schedule in schedules:
        known = groups["tokens", schedule.name]
        if schedule.is_as_fast_as(schedules[0]):
            groups["time", schedule.name] = known
            continue
        tokens = tokens_in(seconds, known, options.batch_tokens)
        for seed in seeds:
            result = runs.get(schedule, rates[schedule.name], tokens, seed)
            groups.setdefault(("time", schedule.name), []).append(result)
            yield groups


def tokens_in(seconds: float, results: list[Result], batch_tokens: int) -> int:
    """Tokens that runs as fast as these train in so many seconds, in whole batches."""
    speed = statistics.mean(result.tokens / result.seconds for result in results)
    return max(1, round(speed * seconds / batch_tokens)) * batch_tokens


def table(groups: Groups) -> str:
    """Ratio, bits per byte and difference to the first schedule, which is taken seed by seed.

    ± is one standard deviation over the seeds for the bits, one standard error for the difference.
    """
    columns = ["equal", "schedule", "ratio en", "ratio zh", "bits en", "bits zh", "difference en",
               "difference zh", "rate", "tokens", "seconds", "seeds"]  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    first = next(name for _, name in groups)
    for (equal, name), results in groups.items():
        base = {result.seed: result for result in groups[equal, first]}
        cells = [equal, name]
        parts: list[list[str]] = [[], [], []]
        for language in ("en", "zh"):
            bits = [result.bits_per_byte[language] for result in results]
            others = [base[result.seed].bits_per_byte[language] for result in results]
            differences = [own - other for own, other in zip(bits, others, strict=True)]
            parts[0].append(f"{statistics.mean(bits) / statistics.mean(others):.4f}x")
            parts[1].append(mean_and(bits, 1.0))
            parts[2].append("" if name == first else mean_and(differences, len(bits) ** -0.5))
        cells += [cell for part in parts for cell in part]
        cells += [
            f"{results[0].rate:g}",
            f"{results[0].tokens:,}",
            f"{statistics.mean(result.seconds for result in results):.1f}",
            str(len(results)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mean_and(values: list[float], scale: float) -> str:
    """Mean, and the standard deviation times `scale` where there are two values."""
    mean = f"{statistics.mean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values) * scale:.4f}"


def record(title: str, text: str, groups: Groups, options: argparse.Namespace) -> None:
    """Put the dated table below its title in `docs/benchmarks`."""
    machines = sorted({result.machine for results in groups.values() for result in results})
    rates = ", ".join(f"{rate:g}" for rate in options.rates)
    how = f"each rate is the best of {rates} with another seed" if rates else "rates as given"
    changed = "".join(f", `{override}`" for override in options.overrides)
    conditions = (
        f"{datetime.now(UTC).date()}, {'; '.join(machines)}. {options.recipe}, batches of "
        f"{options.batch_tokens:,} tokens{changed}; {how}. Bits per UTF-8 byte of held-out "
        "documents, ± one standard deviation over the seeds; differences to the first row's "
        "seed by seed, ± one standard error."
    )
    put_below(title, f"{conditions}\n\n{text}")


def arguments(description: str, out: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("shards", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--recipe", default="tongwen-25m", help="Preset or TOML file.")
    parser.add_argument("--tokens", type=int, default=10_000_000, help="Of a run at equal tokens.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=math.inf, help="For all runs together.")
    parser.add_argument("--out", type=Path, default=Path("build/bench") / out)
    parser.add_argument("--adamw-rate", type=float, default=3e-3)
    parser.add_argument("--muon-rate", type=float, default=4e-3)
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="Try these first.")
    parser.add_argument("--batch-tokens", type=int, default=32_768)
    parser.add_argument(
        "--micro-batch-tokens", type=int, help="The batch; on a CPU 4,096 of it at most."
    )
    parser.add_argument("--validation-tokens", type=int, default=250_000)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--table", action="store_true", help="Run nothing.")
    parser.add_argument("--record", action="store_true", help="Append to docs/benchmarks.")
    options = parser.parse_args()
    if options.micro_batch_tokens is None:
        on_gpu = torch.cuda.is_available()
        options.micro_batch_tokens = (
            options.batch_tokens if on_gpu else min(4_096, options.batch_tokens)
        )
    return options


def run(title: str, out: str, schedules: tuple[Schedule, ...], description: str) -> None:
    """The command: compare the schedules with the first of them, and print or record the table."""
    options = arguments(description.splitlines()[0], out)
    groups: Groups = {}
    try:
        for groups in compare(Runs(options), schedules, options):
            print(table(groups), flush=True)
    except NotRunError as error:
        print(f"{error}\nthe same command goes on from here", flush=True)
    except TongwenError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")
    if options.record and groups:
        record(title, table(groups), groups, options)


if __name__ == "__main__":
    run(
        "## Optimizers, `python bench/optimizers.py SHARDS TOKENIZER --record`",
        "optimizers",
        SCHEDULES,
        __doc__,
    )
