"""How fast one token is written: int4, int8 and bfloat16 weights of ours, and llama.cpp's.

    python bench/decode.py                                   a random model of 1.1 B weights
    python bench/decode.py --shape small                     one of 0.1 B
    python bench/decode.py --model runs/sample               a model of yours
    python bench/decode.py --llama-cpp FOLDER                beside llama.cpp, see below

Everything runs in one process, one after the other. Figures are per CPU second, so that another
program on the machine disturbs them less; "of roof" is the share of the bytes that a plain read by
the same number of threads gets from memory in a CPU second, measured first.

llama.cpp comes prebuilt with the npm package `@node-llama-cpp/linux-x64`, tested with 3.22.1:

    npm install --ignore-scripts @node-llama-cpp/linux-x64@3.22.1
    python bench/decode.py --llama-cpp node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
"""

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode_peers import LlamaCpp, write_weights
from torch import nn

from tongwen.kernels import kernel
from tongwen.model.config import ModelConfig
from tongwen.model.decoding import DecodingBatch, Prefill
from tongwen.model.llama import Llama
from tongwen.model.quantized import grid, paths
from tongwen.model.quantized.folder import (
    dequantize_model,
    load_any_model,
    quantize_model,
    replace,
)
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear
from tongwen.stages import find_model_folder

SHAPES = {
    "1.1b": {
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocabulary_size": 64_000,
    },
    "small": {
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocabulary_size": 16_000,
    },
}
ROWS = (1, 4, 8)
PROMPT_TOKENS = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--model", type=Path, help="folder or run with plain weights")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tokens", type=int, default=16, help="steps that are timed")
    parser.add_argument("--only", nargs="+", default=["int4", "int8", "bf16", "torch"])
    parser.add_argument("--llama-cpp", type=Path, help="folder with libllama.so")
    parser.add_argument("--prompt", type=int, default=PROMPT_TOKENS)
    arguments = parser.parse_args()
    roofs = {threads: read_roof(threads) for threads in arguments.threads}
    print(json.dumps({"paths": paths.available(), "read_gb_per_cpu_s": roofs}))
    int4 = plain_int4(arguments)
    if "int4" in arguments.only:
        report_kernel(int4, arguments, roofs)
    for name, model in models(int4, arguments):
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            path = paths.TORCH if name.endswith("torch") else "auto"
            with paths.forced(path):
                steps = {rows: our_steps(model, rows) for rows in ROWS}
                read_prompt = functools.partial(prefill, model)
                report(name, threads, model, steps, arguments, roofs, read_prompt)
        if arguments.llama_cpp and not name.endswith("torch"):
            peer(name, model, arguments, roofs)


def models(int4: Llama, arguments: argparse.Namespace) -> Iterator[tuple[str, Llama]]:
    """The same weights in every form, one after the other."""
    if "int4" in arguments.only:
        yield "int4", int4
    plain = dequantize_model(int4)
    if "torch" in arguments.only:
        yield "float32 torch", plain.requires_grad_(False)
    if "bf16" in arguments.only:
        halved = dequantize_model(int4).requires_grad_(False)
        for module in halved.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = module.weight.data.bfloat16()
        yield "bf16", halved
    if "int8" in arguments.only:
        quantize_model(plain, 8)
        yield "int8", plain.requires_grad_(False)


def plain_int4(arguments: argparse.Namespace) -> Llama:
    """A model with int4 weights in its layers: the user's, or random ones."""
    if arguments.model:
        model, _ = load_any_model(find_model_folder(arguments.model), torch.float32)
        quantize_model(model, 4)
        return model
    config = ModelConfig(
        **SHAPES[arguments.shape], max_position_embeddings=4096, rope_theta=10_000.0
    )
    with torch.device("meta"):
        model = Llama(config)
    generator = torch.Generator().manual_seed(0)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear):
            matrix = random_matrix(module, 8 if name == "lm_head" else 4, generator)
            replace(model, name, matrix)
    table = nn.Linear(config.hidden_size, config.vocabulary_size, device="meta")
    embedding = QuantizedEmbedding(random_matrix(table, 8, generator), torch.float32)
    model.model.embed_tokens = embedding  # type: ignore[assignment]
    ones = {name: torch.ones(weight.shape) for name, weight in model.named_parameters()}
    model.load_state_dict(ones, assign=True)
    return model.eval().requires_grad_(False)


def random_matrix(
    linear: nn.Linear, bits: grid.Bits, generator: torch.Generator
) -> QuantizedLinear:
    groups = linear.in_features // grid.GROUP
    shape = (linear.out_features, groups, 4 * bits)
    data = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if bits == 8:
        data = data.view(torch.int8).clamp_(-127, 127)
    size = 1 / (4.6 if bits == 4 else 73.6) / linear.in_features**0.5
    scales = torch.full(shape[:2], size, dtype=torch.float16)
    return QuantizedLinear(data, scales, linear.in_features)


def read_bytes(model: Llama) -> int:
    """Weights that one step reads: all but the embedding, unless the head shares it."""
    total = 0
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear) and name != "model.embed_tokens.matrix":
            total += module.packed.nbytes + module.packed_scale.nbytes
        elif isinstance(module, nn.Linear):
            total += module.weight.nbytes
    return total


def our_steps(model: Llama, rows: int) -> Callable[[], object]:
    batch = DecodingBatch(model)
    for row in range(rows):
        prompt = Prefill(model, [row + 1] * 16)
        prompt.advance()
        batch.append(prompt)
    return lambda: batch.step([5] * rows)


def prefill(model: Llama, tokens: int = PROMPT_TOKENS) -> None:
    prompt = Prefill(model, [1 + number % 300 for number in range(tokens)])
    while prompt.advance() is None:
        pass


def report(
    name: str,
    threads: int,
    model: Llama,
    steps: dict[int, Callable[[], object]],
    arguments: argparse.Namespace,
    roofs: dict[int, float],
    read_prompt: Callable[[], object],
) -> None:
    """One line of figures."""
    line: dict[str, Any] = {"weights": name, "threads": threads}
    for rows, step in steps.items():
        wall, cpu = timed(step, arguments.tokens)
        line[f"tokens_per_cpu_s_{rows}"] = round(rows / cpu, 2)
        if rows == 1:
            line["tokens_per_s_1"] = round(1 / wall, 2)
            line["gb_per_token"] = round(read_bytes(model) / 1e9, 4)
            line["of_roof"] = round(read_bytes(model) / cpu / 1e9 / roofs[threads], 3)
    if arguments.prompt:
        started, started_cpu = time.perf_counter(), time.process_time()
        read_prompt()
        line["prefill_tokens_per_s"] = round(PROMPT_TOKENS / (time.perf_counter() - started), 1)
        line["prefill_per_cpu_s"] = round(PROMPT_TOKENS / (time.process_time() - started_cpu), 1)
    print(json.dumps(line), flush=True)


def timed(step: Callable[[], object], count: int) -> tuple[float, float]:
    """Median seconds of a step, by the clock and of CPU time, after two that do not count."""
    step(), step()
    walls, cpus = [], []
    for _ in range(count):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def report_kernel(int4: Llama, arguments: argparse.Namespace, roofs: dict[int, float]) -> None:
    """The product alone, over all layers' gates, ups and downs so that no cache holds them."""
    layers = int4.model.layers
    chain = [layer.get_submodule(f"mlp.{name}_proj") for layer in layers for name in ("gate", "up")]
    x = torch.randn(1, int4.config.hidden_size)
    size = sum(item.packed.nbytes + item.packed_scale.nbytes for item in chain)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        wall, cpu = timed(lambda: [item(x) for item in chain], 5)
        line = {
            "int4 kernel": "gate and up of all layers",
            "threads": threads,
            "gb_per_s": round(size / wall / 1e9, 2),
            "gb_per_cpu_s": round(size / cpu / 1e9, 2),
            "of_roof": round(size / cpu / 1e9 / roofs[threads], 3),
        }
        print(json.dumps(line), flush=True)


@kernel
def add_up(numbers: Any, first: int, end: int, sums: Any, place: int) -> None:
    a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for index in range(first, end, 4):
        a ^= numbers[index]
        b ^= numbers[index + 1]
        c ^= numbers[index + 2]
        d ^= numbers[index + 3]
    sums[place] = a ^ b ^ c ^ d


def read_roof(threads: int) -> float:
    """GB a CPU second of a plain read of 512 MB by so many threads, the best of eight."""
    numbers = np.ones(1 << 26, np.int64)
    sums = np.zeros(64, np.int64)

    def task(thread: int, all_threads: int) -> None:
        first, end = paths.share(len(numbers), thread, all_threads)
        add_up(numbers, first, end, sums, thread)

    best = 0.0
    for _ in range(8):
        started = time.process_time()
        paths.run_on_team(threads, task)
        best = max(best, numbers.nbytes / (time.process_time() - started) / 1e9)
    return round(best, 2)


def peer(name: str, model: Llama, arguments: argparse.Namespace, roofs: dict[int, float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        write_weights(file, model)
        for threads in arguments.threads:
            engine = LlamaCpp(arguments.llama_cpp, file, threads, max(ROWS))
            steps = {rows: engine.steps(rows) for rows in ROWS}
            report(
                f"{name} llama.cpp", threads, model, steps, arguments, roofs,
                lambda engine=engine: engine.prefill(PROMPT_TOKENS),
            )  # fmt: skip
            engine.close()


if __name__ == "__main__":
    main()
