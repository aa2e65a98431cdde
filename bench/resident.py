"""Memory that weights and caches take, by formula and as the system counts it.

    python bench/resident.py                                 what fits in 6 GB
    python bench/resident.py --most-gb 20 --record bench/resident.jsonl

Each thing is made in a process of its own, written once from end to end; measured is what the
process's resident memory grew by. A cache of 200,000 tokens has one row.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from decode import SHAPES, random_int4
from record import machine

from tongwen.model.cache import Int8KeyValueCache
from tongwen.model.config import ModelConfig
from tongwen.model.llama import KeyValueCache
from tongwen.plan.inference import cache_bytes, weight_bytes
from tongwen.road.recipe import load_recipe

TOKENS = 200_000
MODELS = ("1.1b", "yi-6b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most-gb", type=float, default=6.0, help="larger things are left out")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(grown(things()[arguments.child][1]))
        return
    for what, (formula, _) in things().items():
        if formula > arguments.most_gb * 1e9:
            print(
                json.dumps({"what": what, "formula_gb": round(formula / 1e9, 3), "measured": "-"})
            )
            continue
        command = [sys.executable, __file__, "--child", what]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        line: dict[str, Any] = {"what": what, "formula_gb": round(formula / 1e9, 3)}
        line["measured_gb"] = round(int(found) / 1e9, 3)
        print(json.dumps(line), flush=True)
        if arguments.record:
            line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
            with arguments.record.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def things() -> dict[str, tuple[int, Callable[[], object]]]:
    """What to make -> its bytes by formula, and what makes it."""
    found: dict[str, tuple[int, Callable[[], object]]] = {}
    for name in MODELS:
        config = config_of(name)
        found[f"{name}, int4"] = (weight_bytes(config, "int4"), lambda c=config: random_int4(c))
        for kind in ("int8", "bfloat16"):
            size = cache_bytes(config, TOKENS, kind)
            what = f"{name}, {kind}, {TOKENS:,}"
            found[what] = (size, lambda c=config, k=kind: written_cache(c, k))
    return found


def config_of(name: str) -> ModelConfig:
    """A shape of `decode.py`, or of a preset with 64,000 tokens in its vocabulary."""
    if name in SHAPES:
        return ModelConfig(**SHAPES[name], max_position_embeddings=TOKENS, rope_theta=10_000.0)
    return ModelConfig.from_settings(load_recipe(name).model, 64_000)


def written_cache(config: ModelConfig, kind: Any) -> object:
    """A cache whose every page was written."""
    if kind == "int8":
        made: KeyValueCache = Int8KeyValueCache(config, 1, TOKENS, torch.float32, "cpu")
    else:
        made = KeyValueCache(config, 1, TOKENS, torch.bfloat16, "cpu")
    for tensor in made.tensors():
        tensor.fill_(1)
    return made


def grown(make: Callable[[], object]) -> int:
    """Bytes by which the resident memory grows when a thing is made, while it is held."""
    process = psutil.Process()
    before = process.memory_info().rss
    held = make()
    after = process.memory_info().rss
    assert held is not None
    return after - before


if __name__ == "__main__":
    main()
