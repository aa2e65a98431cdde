"""Whether the best learning rate of a small model is the best of a wider and of a deeper one.

    python bench/transfer.py DATA [--minutes 10] [--out rows.jsonl] [--table]

DATA is the folder that `bench/ladder.py` prepares. Every way of carrying the rate trains the same
four shapes (two widths, two depths) at the same rates, from the same seed, on the same tokens:

    plain       AdamW, every parameter at the run's rate
    complete-p  AdamW with CompleteP, the smallest shape as base
    muon-h      Hyperball on Muon's directions: the rate is a share of a matrix's norm
    adam-h      the same on Adam's directions

The best rate is the vertex of a parabola through the three lowest losses over ln(rate). "Carried"
is what the smallest shape's best rate costs at the others, over their own best: in percent of the
loss, interpolated. Finished runs are in --out: the same command goes on with what is missing.
"""

import argparse
import contextlib
import json
import math
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.model.config import ModelConfig
from tongwen.model.settings import ModelSettings
from tongwen.progress import Progress
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sources import ShardData
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import METRICS, read_metrics
from tongwen.train.settings import CompletePSettings, PretrainSettings
from tongwen.train.weights import InitialWeights

sys.path.insert(0, str(Path(__file__).parent / "levers"))
import hyperball

SHAPES = {"32 x 2": (32, 2), "32 x 8": (32, 8), "128 x 2": (128, 2), "128 x 8": (128, 8)}
"""Width and layers."""
BASE = "32 x 2"
ADAM_RATE = 8e-3
"""Of what is no matrix of the layers, with Hyperball, whatever the rate of the matrices."""
RATES = {
    "plain": (2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2),
    "complete-p": (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2),
    "muon-h": (1e-2, 2e-2, 4e-2, 8e-2, 1.6e-1),
    "adam-h": (1e-2, 2e-2, 4e-2, 8e-2, 1.6e-1),
}
TOKENS = 32_768
BATCH = 256


def shape(config: dict[str, Any], width: int, layers: int) -> ModelSettings:
    heads = width // config["head_dim"]
    return ModelSettings(
        **{
            **config,
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads if heads % 2 else heads // 2,
        }
    )


def settings_of(way: str, rate: float, base: dict[str, Any]) -> PretrainSettings:
    is_hyperball = way in ("muon-h", "adam-h")
    width, layers = SHAPES[BASE]
    return PretrainSettings(
        **{
            **base,
            "max_tokens": TOKENS,
            "batch_tokens": BATCH,
            "warmup_tokens": 0.1 * TOKENS,
            "validation_tokens": 15_000,
            "peak_learning_rate": ADAM_RATE if is_hyperball else rate,
            "optimizer": "adamw" if way in ("plain", "complete-p") else "muon",
            "complete_p": CompletePSettings(base_hidden_size=width, base_layers=layers)
            if way == "complete-p"
            else None,
        }
    )


def applied(way: str, rate: float) -> AbstractContextManager[None]:
    if way == "muon-h":
        return hyperball.applied(hyperball.MuonHyperball, rate / ADAM_RATE)
    if way == "adam-h":
        return hyperball.applied(hyperball.AdamHyperball, rate / ADAM_RATE)
    return contextlib.nullcontext()


def run(way: str, name: str, rate: float, data: Path) -> dict[str, Any]:
    """One run's row."""
    recipe = tomllib.loads((data / "recipe.toml").read_text("utf-8"))
    settings = settings_of(way, rate, recipe["pretrain"])
    vocabulary = Tokenizer.load(data / "tokenizer").vocabulary_size
    width, layers = SHAPES[name]
    model = shape(recipe["model"], width, layers)
    if way in ("muon-h", "adam-h"):  # a norm that stays must be right from the start
        model = ModelSettings(**{**vars(model), "initializer_range": width**-0.5})
    config = ModelConfig.from_settings(model, vocabulary)
    source = ShardData.open(data / "shards", data / "tokenizer")
    out = Path(tempfile.mkdtemp())
    try:
        with applied(way, rate):
            train(
                Job(
                    name="pretrain",
                    settings=settings,
                    weights=InitialWeights(config, settings),
                    data=source.training_sequences(settings),
                    validation=source.validation_sets(settings),
                    tokenizer_folder=data / "tokenizer",
                    out=out,
                    progress=Progress(),
                    is_kept=False,
                )
            )
        rows = read_metrics(out / METRICS)
    finally:
        shutil.rmtree(out)
    bits = {row["language"]: row["bits_per_byte"] for row in rows if row["kind"] == "validation"}
    return {"way": way, "shape": name, "rate": rate, "tokens": TOKENS, "bits_per_byte": bits}


def mean_bits(row: dict[str, Any]) -> float:
    return float(np.mean([*row["bits_per_byte"].values()]))


def parabola(rows: Sequence[dict[str, Any]]) -> tuple[float, float, Any]:
    """Best rate and its loss, and the curve of the loss over ln(rate), of one shape."""
    rows = sorted(rows, key=lambda row: row["rate"])
    losses = [mean_bits(row) for row in rows]
    place = min(max(int(np.argmin(losses)), 1), len(rows) - 2)
    near = slice(place - 1, place + 2)
    logs = np.log([row["rate"] for row in rows])
    curve = np.poly1d(np.polyfit(logs[near], losses[near], 2))
    vertex = -curve[1] / (2 * curve[2]) if curve[2] > 0 else logs[int(np.argmin(losses))]
    vertex = float(np.clip(vertex, logs[0], logs[-1]))

    def at(rate: float) -> float:
        return float(np.interp(math.log(rate), logs, losses))

    return math.exp(vertex), min(float(curve(vertex)), *losses), at


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Best rate by way and shape, in units of the smallest shape's, and what carrying it costs."""
    names = [name for name in SHAPES if name != BASE]
    yield (
        f"| way | best rate of {BASE} | bits/byte | "
        + " | ".join(f"{name}: best rate, carried" for name in names)
        + " | largest: bits/byte |"
    )
    yield "|" + "---|" * (len(names) + 4)
    for way in RATES:
        found = {
            name: [row for row in rows if row["way"] == way and row["shape"] == name]
            for name in SHAPES
        }
        if any(len(part) < 3 for part in found.values()):
            continue
        best, least, _ = parabola(found[BASE])
        cells = [way, f"{best:.2e}", f"{least:.3f}"]
        for name in names:
            rate, loss, at = parabola(found[name])
            is_edge = rate in (RATES[way][0], RATES[way][-1])
            mark = " (edge)" if is_edge else ""
            cells.append(f"x{rate / best:.2f}{mark}, {at(best) / loss - 1:+.2%}")
        cells.append(f"{parabola(found[names[-1]])[1]:.3f}")
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("transfer.jsonl"))
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    rows = (
        [json.loads(line) for line in options.out.read_text("utf-8").splitlines()]
        if options.out.exists()
        else []
    )
    done = {(row["way"], row["shape"], row["rate"]) for row in rows}
    begun = time.monotonic()
    left = [
        (way, name, rate)
        for place in (2, 1, 3, 0, 4)  # from the middle, so that a part is balanced too
        for way, rates in RATES.items()
        for name in SHAPES
        for rate in rates[place : place + 1]
        if (way, name, rate) not in done
    ]
    for way, name, rate in () if options.table else left:
        if time.monotonic() - begun > 60 * options.minutes:
            print("the same command goes on from here")
            break
        rows.append(run(way, name, rate, options.data))
        print(f"{time.monotonic() - begun:.0f} s: {rows[-1]}", flush=True)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
