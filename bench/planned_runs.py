"""Time and memory that `plan` forecasts, beside what the runs then take, each alone.

    python bench/planned_runs.py DATA [--only NAME ...] [--tuning] [--out rows.jsonl]

DATA is the folder that `bench/ladder.py` prepares. Five runs of different shape (width, depth,
window, batch, passes, optimizer, recomputation); each is planned and sealed in one process and
trained in a fresh one, about half a minute. `--tuning` takes four other shapes instead: the
estimator may be mended on those, never on the five. Seconds are the run's wall-clock from its first
step to its end, memory is its process's largest resident set.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from record import machine

from tongwen.files import read_json, write_json
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.plan.forecast import forecasts
from tongwen.plan.plan import add_times, make_plan
from tongwen.plan.settings import PlannedRun, PlanSettings
from tongwen.progress import Progress
from tongwen.road.alone import run_loaded
from tongwen.road.recipe import Recipe, load_recipe
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.forecast import PLANNED_FORECASTS, SETTLEMENT, write_forecasts
from tongwen.train.metrics import read_metrics

Values = dict[str, Any]
FIVE: dict[str, tuple[Values, Values]] = {
    "small": (
        {"hidden_size": 128, "num_hidden_layers": 4},
        {"sequence_tokens": 256, "batch_tokens": 4_096},
    ),
    "middle": (
        {"hidden_size": 384, "num_hidden_layers": 6},
        {"sequence_tokens": 512, "batch_tokens": 8_192, "micro_batch_tokens": 4_096},
    ),
    "deep": (
        {"hidden_size": 256, "num_hidden_layers": 12},
        {"sequence_tokens": 1_024, "batch_tokens": 4_096, "micro_batch_tokens": 2_048,
         "optimizer": "muon"},
    ),
    "wide": (
        {"hidden_size": 640, "num_hidden_layers": 4},
        {"sequence_tokens": 128, "batch_tokens": 16_384, "micro_batch_tokens": 8_192},
    ),
    "recomputed": (
        {"hidden_size": 320, "num_hidden_layers": 8},
        {"sequence_tokens": 256, "batch_tokens": 8_192, "recompute": "layer"},
    ),
}  # fmt: skip
TUNING: dict[str, tuple[Values, Values]] = {
    "t-small": (
        {"hidden_size": 96, "num_hidden_layers": 6},
        {"sequence_tokens": 128, "batch_tokens": 2_048},
    ),
    "t-middle": (
        {"hidden_size": 448, "num_hidden_layers": 5},
        {"sequence_tokens": 256, "batch_tokens": 8_192, "micro_batch_tokens": 2_048},
    ),
    "t-long": (
        {"hidden_size": 256, "num_hidden_layers": 6},
        {"sequence_tokens": 2_048, "batch_tokens": 4_096},
    ),
    "t-muon": (
        {"hidden_size": 512, "num_hidden_layers": 6},
        {"sequence_tokens": 512, "batch_tokens": 4_096, "optimizer": "muon"},
    ),
}  # fmt: skip
WORTH_FLOPS = 2.0e12
"""Of each run: about half a minute on two cores in float32."""


def recipe_of(data: Path, name: str) -> Recipe:
    """The run as a recipe: the bench's own, changed."""
    model, pretrain = (FIVE | TUNING)[name]
    loaded = load_recipe(str(data / "recipe.toml"))
    heads = model["hidden_size"] // 32
    shape = replace(
        loaded.model,
        **model,
        intermediate_size=model["hidden_size"] * 8 // 3 // 16 * 16,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2 if heads % 2 == 0 else heads,
        head_dim=32,
        max_position_embeddings=2_048,
    )
    assert loaded.pretrain is not None
    config = ModelConfig.from_settings(shape, Tokenizer.load(data / "tokenizer").vocabulary_size)
    a_token = flops_per_token(config, pretrain["sequence_tokens"]).full
    steps = max(8, round(WORTH_FLOPS / a_token / pretrain["batch_tokens"]))
    settings = replace(
        loaded.pretrain,
        **pretrain,
        max_tokens=steps * pretrain["batch_tokens"],
        peak_learning_rate=2e-3,
        validation_tokens=20_000,
        checkpoint_every_steps=max(2, steps // 3),
    )
    return replace(loaded, model=shape, pretrain=settings)


def plan(data: Path, name: str, out: Path) -> None:
    """Seal the forecast of a run."""
    recipe = recipe_of(data, name)
    counts = read_json(data / "data.json")
    listed = [
        {"split": part.rsplit("-", 1)[0], "tokens": tokens} for part, tokens in counts.items()
    ]
    vocabulary = Tokenizer.load(data / "tokenizer").vocabulary_size
    write_json(out / "shards.json", {"vocabulary_size": vocabulary, "shards": listed})
    planned = PlannedRun(
        plan=PlanSettings(),
        model=recipe.model,
        vocabulary_size=vocabulary,
        pretrain=recipe.pretrain,
    )
    found = make_plan(planned, out, out)
    add_times(found, planned, out)
    write_json(out / "plan.json", found)
    write_forecasts(out / PLANNED_FORECASTS, forecasts(found, planned, {}))


def train(data: Path, name: str, out: Path) -> None:
    """The run itself."""
    inputs = {"shards": data / "shards", "tokenizer": data / "tokenizer"}
    run_loaded("pretrain", recipe_of(data, name), inputs=inputs, out=out, progress=Progress())


def row_of(name: str, out: Path) -> Values:
    """Forecast and outcome of a finished run."""
    settled = {row["what"]: row for row in read_json(out / SETTLEMENT)["rows"]}
    found = read_json(out / "plan.json")
    steps = [row for row in read_metrics(out / "metrics.jsonl") if row["kind"] == "train"]
    seconds = [row["seconds"] for row in steps]
    return {
        "run": name,
        "parameters": found["model"]["parameters"],
        "steps": found["stages"]["pretrain"]["steps"],
        **{
            f"{what}_{part}": settled[what][key]
            for what in ("seconds", "memory_bytes")
            for part, key in (("forecast", "expected"), ("outcome", "outcome"))
        },
        "within": [row["within"] for row in settled.values()],
        "memory": found["stages"]["pretrain"]["memory"],
        "step_seconds_forecast": found["stages"]["pretrain"]["seconds_per_step"],
        "step_seconds_median": statistics.median(seconds),
        "step_seconds_mean": statistics.mean(seconds),
        "step_seconds_first": seconds[0],
        "goodput": read_json(out / "manifest.json")["counts"],
        "machine": machine(),
    }


def lines(rows: list[Values]) -> list[str]:
    """The table: errors are outcome over forecast."""
    said = [
        "| run | parameters | steps | seconds: error | forecast | outcome | memory: error "
        "| forecast, MiB | outcome |",
        "|" + "---|" * 9,
    ]
    for row in rows:
        cells = [row["run"], f"{row['parameters']:,}", f"{row['steps']:,}"]
        for what, unit, form in (("seconds", 1, ".1f"), ("memory_bytes", 2**20, ",.0f")):
            forecast, outcome = row[f"{what}_forecast"], row[f"{what}_outcome"]
            cells += [
                f"{outcome / forecast - 1:+.1%}",
                format(forecast / unit, form),
                format(outcome / unit, form),
            ]
        said.append("| " + " | ".join(cells) + " |")
    for what in ("seconds", "memory_bytes"):
        errors = [abs(row[f"{what}_outcome"] / row[f"{what}_forecast"] - 1) for row in rows]
        said.append(f"{what}: median {statistics.median(errors):.1%}, largest {max(errors):.1%}")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--out", type=Path, help="append the rows to this file")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part, name, out = options.part
        {"plan": plan, "train": train}[part](options.data, name, Path(out))
        return
    names = options.only or [*(TUNING if options.tuning else FIVE)]
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name in names:
            out = Path(work) / name
            out.mkdir()
            for part in ("plan", "train"):
                command = [sys.executable, __file__, str(options.data), "--part", part, name]
                subprocess.run([*command, str(out)], check=True, stdout=subprocess.DEVNULL)
            rows.append(row_of(name, out))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print("\n".join(lines(rows)))


if __name__ == "__main__":
    main()
