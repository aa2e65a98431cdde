"""Training speed and memory beside Hugging Face Trainer, LitGPT and torchtitan, in one run.

    python bench/train.py [--shapes 25m 110m] [--sequences 1024 4096] [--rounds 2] [--record]

Every trainer gets a Llama of the same shape (64,000 pieces, head tied), the same random token ids,
batches and precision (float32 weights and AdamW; activations bfloat16 where this CPU multiplies it,
else float32), and runs in a process of its own, one after the other, round after round. Reported
are medians of the steps after the first, and the largest resident set. Wall time decides; processor
time, of all threads and in brackets, tells whether something else kept the machine busy.

Peers are installed, pinned, in environments of their own below `--environments`; one that cannot
run on this machine is reported with its error. Compiled rows need a C++ compiler: LitGPT's own
command compiles, the others on request. torchtitan takes only a GPU for its device, so the bench
names the CPU for it. `tongwen` computes the head's gradient in full as the peers do,
`tongwen-sampled` from 256 samples a token (docs/decisions/0005). nanochat is no package: what our
model has of its configuration (Muon for the matrices, QK norm, a head that is not tied) is a row of
ours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from peers import interpreter
from record import append_section, machine

HERE = Path(__file__).resolve().parent
PACKAGES = {
    "hf-trainer": ("transformers==5.23.0", "accelerate==1.15.0"),
    "litgpt": ("litgpt==0.5.13",),
    "torchtitan": ("torchtitan==0.3.0", "triton==3.9.0"),
}
_TORCH = ("torch==2.13.0", "numpy")
PEERS = tuple(f"{peer}{how}" for peer in PACKAGES for how in ("", "-compiled"))
SHAPES = {
    "25m": {"hidden": 256, "intermediate": 704, "layers": 12, "heads": 4, "kv_heads": 2},
    "110m": {"hidden": 640, "intermediate": 1728, "layers": 15, "heads": 10, "kv_heads": 5},
}
VOCABULARY = 64_000

Row = dict[str, Any]
"""What a trainer was given, printed or reached, by the figure's name; or its `error`."""

_FIGURES = ("tokens_per_second", "tokens_per_processor_second", "peak_mib")


def run(trainer: str, python: Path, job: Row, seconds: float) -> Row:
    """Tokens a second of each step and the peak memory, or the error."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if trainer.startswith("tongwen"):
        environment["GOMP_SPINCOUNT"] = "1000"  # as our command sets it
    try:
        ended = subprocess.run(
            [python, HERE / "train_peers.py", trainer, json.dumps(job)],
            capture_output=True, text=True, timeout=seconds, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {seconds:g} s"}
    for line in reversed(ended.stdout.splitlines()):
        if line.startswith("{"):
            result: Row = json.loads(line)
            return result
    lines = (ended.stderr or ended.stdout).strip().splitlines()
    return {"error": lines[-1][:160] if lines else f"exit code {ended.returncode}"}


def measure(options: argparse.Namespace, precision: str) -> list[Row]:
    """One row for each shape, sequence length and trainer."""
    trainers = [(name, Path(sys.executable)) for name in ("tongwen", *options.ours)]
    for peer in options.peers:
        package = peer.removesuffix("-compiled")
        packages = (*_TORCH, *PACKAGES[package])
        trainers.append((peer, interpreter(options.environments / package, packages)))
    rows = []
    for shape in options.shapes:
        for sequence_tokens in options.sequences:
            job = {
                **SHAPES[shape], "vocabulary": VOCABULARY, "sequence_tokens": sequence_tokens,
                "micro_batch_tokens": options.micro_batch_tokens, "precision": precision,
                "batch_tokens": options.batch_tokens, "steps": options.steps,
            }  # fmt: skip
            found: dict[str, list[Row]] = {name: [] for name, _ in trainers}
            for _ in range(options.rounds):
                for name, python in trainers:
                    if any("error" in result for result in found[name]):
                        continue
                    found[name].append(run(name, python, job, options.limit))
                    print(shape, sequence_tokens, name, found[name][-1], file=sys.stderr)
            rows += [
                {"shape": shape, "sequence_tokens": sequence_tokens, "trainer": name}
                | summary(results, options.batch_tokens)
                for name, results in found.items()
            ]
    return rows


def summary(results: list[Row], batch_tokens: int) -> Row:
    """Medians over the rounds, or the first error."""
    for result in results:
        if "error" in result:
            return result
    wall, processor = (
        statistics.median(seconds for result in results for seconds in result[name][1:])
        for name in ("wall_seconds", "processor_seconds")
    )
    return {
        "tokens_per_second": batch_tokens / wall,
        "tokens_per_processor_second": batch_tokens / processor,
        "peak_mib": max(result["peak_mib"] for result in results),
    }


def table(rows: list[Row], ours: Sequence[str]) -> str:
    """The rows as Markdown: how much faster each of `ours` is, by CPU time in brackets, and
    what `tongwen` takes of a row's memory.
    """
    faster = "".join(f" {name} is faster |" for name in ours)
    lines = [
        f"| model | sequence | trainer |{faster} tokens/s | per CPU second | peak MiB "
        "| tongwen takes |",
        "|---" * (len(ours) + 7) + "|",
    ]
    found = {(row["shape"], row["sequence_tokens"], row["trainer"]): row for row in rows}
    for row in rows:
        head = f"| {row['shape']} | {row['sequence_tokens']:,} | {row['trainer']} |"
        if "error" in row:
            lines.append(f"{head} not measured: {row['error']}{' |' * (len(ours) + 4)}")
            continue
        beside = [found[row["shape"], row["sequence_tokens"], name] for name in ours]
        speeds = "".join(
            f" {_ratio(other, row, _FIGURES[0])} ({_ratio(other, row, _FIGURES[1])}) |"
            for other in beside
        )
        numbers = " | ".join(f"{row[name]:,.0f}" for name in _FIGURES)
        lines.append(f"{head}{speeds} {numbers} | {_ratio(beside[0], row, 'peak_mib')} |")
    return "\n".join(lines)


def _ratio(ours: Row, theirs: Row, name: str) -> str:
    """Ours over theirs, a dash where ours could not run."""
    if "error" in ours:
        return "-"
    return f"{ours[name] / theirs[name]:.2f}x"


def precision_here() -> str:
    """The fastest that this CPU has, as training chooses it."""
    from tongwen.model.device import cpu_multiplies_bf16

    return "bf16" if cpu_multiplies_bf16() else "fp32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--sequences", nargs="+", type=int, default=[1024, 4096])
    ours = ["tongwen-compiled", "tongwen-sampled", "tongwen-nanochat"]
    parser.add_argument("--ours", nargs="*", default=ours, choices=ours, help="beside tongwen")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--steps", type=int, default=3, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--micro-batch-tokens", type=int, default=4096)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one trainer")
    parser.add_argument("--environments", type=Path, default=Path("build/bench/train"))
    parser.add_argument("--record", action="store_true", help="append to docs/benchmarks")
    options = parser.parse_args()
    precision = precision_here() if options.precision == "auto" else options.precision
    compared = [name for name in options.ours if name != "tongwen-nanochat"]
    text = table(measure(options, precision), ["tongwen", *compared])
    print(text)
    if options.record:
        passes = f"{options.batch_tokens:,} tokens in passes of {options.micro_batch_tokens:,}"
        steps = f"{options.rounds} rounds of {options.steps - 1} steps"
        append_section(
            "## Training, `python bench/train.py`",
            f"{date.today()}, {machine()}, {precision}. Batches of {passes}, medians of {steps}."
            f"\n\n{text}",
        )


if __name__ == "__main__":
    main()
