"""What int8 and int4 weights cost: bits per byte and answers before and after, in both languages.

    python bench/quantization.py runs/sample --task sample_answer=runs/sample/stages/crawl/gold
    python bench/quantization.py runs/sample --task ... --record bench/quantization.jsonl

Every variant is made by `tongwen quantize` on the run's validation text, of which every second
document calibrates and the others are measured, and scored by `tongwen evaluate` on a task that is
answered freely. `nearest` rounds each weight to the nearest step, `gptq` makes up for the errors on
calibration text (Frantar et al. 2022); embedding and head are int8 unless the variant says int4.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from record import machine

from tongwen.cli.main import cli
from tongwen.files import read_json
from tongwen.model.config import ModelConfig
from tongwen.stages import find_model_folder

VARIANTS = {
    "int8": ("int8", "nearest", "int8"),
    "int4 nearest": ("int4", "nearest", "int8"),
    "int4 gptq": ("int4", "gptq", "int8"),
    "int4 gptq, edges int4": ("int4", "gptq", "int4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory whose model has plain weights")
    parser.add_argument("--task", required=True, help="NAME=PATH of a generative task")
    parser.add_argument("--limit", type=int, help="items of the task, all of them when absent")
    parser.add_argument("--plain-prompts", action="store_true", help="do not ask in ChatML")
    parser.add_argument("--name", help="of the model in the table; the run's when absent")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    arguments = parser.parse_args()
    folder = find_model_folder(arguments.run)
    config = ModelConfig.from_huggingface(read_json(folder / "config.json"), str(folder))
    with tempfile.TemporaryDirectory() as temporary:
        before: dict[str, Any] = {}
        for variant in VARIANTS:
            quality = quantize(arguments.run, variant, Path(temporary))
            if not before:
                before = {
                    "variant": "plain",
                    "bytes": quality["bytes_before"],
                    "bits_per_byte": figures(quality, "bits_per_byte_before"),
                    "scores": scores(folder, Path(temporary) / "plain", arguments),
                }
                show(before, config, arguments)
            target = Path(temporary) / variant / "model"
            line = {
                "variant": variant,
                "bytes": quality["bytes_after"],
                "bits_per_weight": quality["bits_per_weight"],
                "bits_per_byte": figures(quality, "bits_per_byte_after"),
                "same_greedy_choice_share": figures(quality, "same_greedy_choice_share"),
                "scores": scores(target, Path(temporary) / f"{variant} scores", arguments),
            }
            show(line, config, arguments)


def quantize(run: Path, variant: str, folder: Path) -> dict[str, Any]:
    """Make a variant below a folder; what its `quality.json` says."""
    weights, method, edges = VARIANTS[variant]
    settings = (f"quantize.method={method}", f"quantize.edge_weights={edges}")
    tongwen("quantize", run, "--bits", weights[-1], "--out", folder / variant, settings)
    found: dict[str, Any] = read_json(folder / variant / "quality.json")
    return found


def figures(quality: dict[str, Any], key: str) -> dict[str, float]:
    """A figure of each language."""
    return {language: values[key] for language, values in quality["languages"].items()}


def scores(model: Path, out: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Score, interval and number of items of the task in each language."""
    limit = [] if arguments.limit is None else ["--limit", arguments.limit]
    chat = "--no-chat" if arguments.plain_prompts else "--chat"
    tongwen("evaluate", "run", model, "--task", arguments.task, chat, *limit, "--out", out)
    found = read_json(out / "results.json")["results"]
    return {
        row["language"]: {"value": row["value"], "interval": row["interval"], "n": row["n"]}
        for row in found
    }


def tongwen(*words: Any) -> None:
    """Run a command in this process; a tuple among the words holds settings."""
    command: list[Any] = []
    for word in words:
        command += [part for s in word for part in ("--set", s)] if type(word) is tuple else [word]
    with contextlib.redirect_stdout(sys.stderr):
        cli.main([str(part) for part in command], standalone_mode=False)


def show(line: dict[str, Any], config: ModelConfig, arguments: argparse.Namespace) -> None:
    """Print a line, and add it to the file of `--record`."""
    task = arguments.task.partition("=")[0]
    name = arguments.name or arguments.run.name
    line = {"model": name, "parameters": config.parameters, "task": task, **line}
    print(json.dumps(line), flush=True)
    if arguments.record:
        line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        with arguments.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
