"""What int8 and int4 weights cost: bits per byte and answers before and after, in both languages.

    python bench/quantization.py runs/sample --task sample_answer=runs/sample/stages/crawl/gold
    python bench/quantization.py runs/sample --task ... --record bench/quantization.jsonl
    python bench/quantization.py runs/sample --task ... --random --tokens 1024 --limit 20

With `--random` the model is one of 25 M random weights, with the run's tokenizer and text: what
rounding does to weights that know nothing.

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
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from record import machine

from tongwen.cli.main import cli
from tongwen.files import read_json
from tongwen.model.config import ModelConfig
from tongwen.model.folder import save_model_folder
from tongwen.model.llama import Llama
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
    parser.add_argument("--random", action="store_true", help="25 M random weights instead")
    parser.add_argument("--tokens", type=int, help="of each language to measure and calibrate on")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--plain-prompts", action="store_true", help="do not ask in ChatML")
    parser.add_argument("--name", help="of the model in the table; the run's when absent")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = find_model_folder(arguments.run)
        if arguments.random:
            folder = random_folder(folder, Path(temporary) / "random")
        compare(folder, Path(temporary), arguments)


def compare(folder: Path, temporary: Path, arguments: argparse.Namespace) -> None:
    """A line for the model as it is, and one for each variant."""
    config = ModelConfig.from_huggingface(read_json(folder / "config.json"), str(folder))
    before: dict[str, Any] = {}
    for variant in arguments.variants:
        quality = quantize(folder, variant, temporary, arguments)
        if not before:
            before = {
                "variant": "plain",
                "bytes": quality["bytes_before"],
                "bits_per_byte": figures(quality, "bits_per_byte_before"),
                "scores": scores(folder, temporary / "plain", arguments),
            }
            show(before, config, arguments)
        target = temporary / variant / "model"
        line = {
            "variant": variant,
            "bytes": quality["bytes_after"],
            "bits_per_weight": quality["bits_per_weight"],
            "bits_per_byte": figures(quality, "bits_per_byte_after"),
            "same_greedy_choice_share": figures(quality, "same_greedy_choice_share"),
            "scores": scores(target, temporary / f"{variant} scores", arguments),
        }
        show(line, config, arguments)


def random_folder(source: Path, folder: Path) -> Path:
    """A model of 25 M random weights with the tokenizer of another."""
    found = ModelConfig.from_huggingface(read_json(source / "config.json"), str(source))
    model = Llama(
        replace(
            found, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
            num_attention_heads=8, num_key_value_heads=2, head_dim=64,
        )
    )  # fmt: skip
    model.initialize(0)
    save_model_folder(folder, model, source, torch.float32)
    return folder


def quantize(
    model: Path, variant: str, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Make a variant below a folder; what its `quality.json` says."""
    weights, method, edges = VARIANTS[variant]
    settings = [f"quantize.method={method}", f"quantize.edge_weights={edges}"]
    if arguments.tokens:
        names = ("quality_tokens", "calibration_tokens")
        settings += [f"quantize.{name}={arguments.tokens}" for name in names]
    words = ("--shards", arguments.run / "stages" / "encode", "--out", folder / variant)
    tongwen("quantize", model, "--bits", weights[-1], *words, tuple(settings))
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
