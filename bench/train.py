"""Training speed and memory beside Hugging Face Trainer, LitGPT and torchtitan, in one run.

    python bench/train.py [--shapes 25m 110m] [--sequences 1024 4096] [--steps 6] [--record]

Every trainer gets a Llama of the same shape (64,000 pieces, head tied), the same random token ids,
batches and precision (bfloat16 activations, float32 weights, AdamW), and runs in a process of its
own, one after the other. Reported is the median of the steps after the first, and the
largest resident set. Peers are installed, pinned, in environments of their own below
`--environments`; one that cannot run on this machine is reported with its error. nanochat cannot be
installed as a package: its optimizer (Muon for the matrices) is a row of ours.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = {
    "hf-trainer": ("transformers==5.23.0", "accelerate==1.15.0"),
    "litgpt": ("litgpt==0.5.13",),
    "torchtitan": ("torchtitan==0.3.0",),
}
SHAPES = {
    "25m": {"hidden": 256, "intermediate": 704, "layers": 12, "heads": 4, "kv_heads": 2},
    "110m": {"hidden": 640, "intermediate": 1728, "layers": 15, "heads": 10, "kv_heads": 5},
}
VOCABULARY = 64_000


def python_of(peer: str, environments: Path) -> Path:
    """The interpreter of a peer's environment, made when it is not there."""
    folder = environments / peer
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        torch = ["torch==2.13.0", "numpy"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *torch], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[peer]], check=True)
    return python


def run(trainer: str, python: Path, job: dict[str, object], seconds: float) -> dict[str, object]:
    """Tokens a second of each step and the peak memory, or the error."""
    environment = {**os.environ, "GOMP_SPINCOUNT": "1000", "TOKENIZERS_PARALLELISM": "false"}
    try:
        ended = subprocess.run(
            [python, HERE / "train_peers.py", trainer, json.dumps(job)],
            capture_output=True, text=True, timeout=seconds, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {seconds:g} s"}
    for line in reversed(ended.stdout.splitlines()):
        if line.startswith("{"):
            result: dict[str, object] = json.loads(line)
            return result
    lines = (ended.stderr or ended.stdout).strip().splitlines()
    return {"error": lines[-1][:160] if lines else f"exit code {ended.returncode}"}


def measure(options: argparse.Namespace) -> list[dict[str, object]]:
    """One row for each shape, sequence length and trainer."""
    environments = options.environments.absolute()
    trainers = [("tongwen", Path(sys.executable)), ("tongwen-muon", Path(sys.executable))]
    trainers += [(peer, python_of(peer, environments)) for peer in options.peers]
    rows = []
    for shape in options.shapes:
        for sequence_tokens in options.sequences:
            job = {
                **SHAPES[shape], "vocabulary": VOCABULARY, "sequence_tokens": sequence_tokens,
                "micro_batch_tokens": options.micro_batch_tokens,
                "batch_tokens": options.batch_tokens, "steps": options.steps,
            }  # fmt: skip
            for name, python in trainers:
                result = run(name, python, job, options.limit)
                row = {
                    "shape": shape,
                    "sequence_tokens": sequence_tokens,
                    "trainer": name,
                    **result,
                }
                if "tokens_per_second" in result:
                    speeds = result["tokens_per_second"]
                    row["tokens_per_second"] = statistics.median(speeds[1:])  # type: ignore[index]
                rows.append(row)
                print(json.dumps(row), file=sys.stderr)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown, ours first, with ratios."""
    lines = [
        "| model | sequence | trainer | ours is faster | tokens/s | peak MiB | ours takes |",
        "|---|---|---|---|---|---|---|",
    ]
    ours: dict[tuple[object, object], dict[str, object]] = {}
    for row in rows:
        key = row["shape"], row["sequence_tokens"]
        head = f"| {key[0]} | {key[1]:,} | {row['trainer']} |"
        if row["trainer"] == "tongwen":
            ours[key] = row
        if "error" in row:
            lines.append(f"{head} | not measured: {row['error']} | | |")
            continue
        mine = ours[key]
        ratio = float(mine["tokens_per_second"]) / float(row["tokens_per_second"])  # type: ignore[arg-type]
        share = float(mine["peak_mib"]) / float(row["peak_mib"])  # type: ignore[arg-type]
        lines.append(
            f"{head} {ratio:.2f}x | {row['tokens_per_second']:,.0f} | {row['peak_mib']:,.0f} "
            f"| {share:.2f}x |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--sequences", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--micro-batch-tokens", type=int, default=4096)
    parser.add_argument("--limit", type=float, default=900, help="seconds for one trainer")
    parser.add_argument("--environments", type=Path, default=Path("build/bench/train"))
    parser.add_argument("--record", action="store_true", help="append to docs/benchmarks.md")
    options = parser.parse_args()
    text = table(measure(options))
    print(text)
    if options.record:
        machine = (
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        )
        with (HERE.parent / "docs" / "benchmarks.md").open("a", encoding="utf-8") as file:
            file.write(
                f"\n## Training, `python bench/train.py`\n{date.today()}, {machine}. Batches of "
                f"{options.batch_tokens:,} tokens in passes of {options.micro_batch_tokens:,}, "
                f"median of {options.steps - 1} steps.\n\n{text}\n"
            )


if __name__ == "__main__":
    main()
