"""How fast one token is written: int4, int8 and bfloat16 weights of ours, and llama.cpp's.

    python bench/decode.py                                   a random model of 1.1 B weights
    python bench/decode.py --shape small                     one of 0.1 B
    python bench/decode.py --model runs/sample               a model of yours
    python bench/decode.py --llama-cpp FOLDER                beside llama.cpp, see below
    python bench/decode.py --record bench/decode.jsonl       adds the lines to a file

Everything runs in one process. A plain read of memory, our steps and llama.cpp's take turns, so
that another program on the machine disturbs all alike. Figures are per CPU second: medians of the
turns, and `ours_to_llama_cpp` the median of the ratios within a turn. "of_roof" is the share of the
bytes that a plain read by the same number of threads gets from memory in a CPU second. llama.cpp
starts its threads for each step, as its library does for programs that hand it no pool.

llama.cpp comes prebuilt with the npm package `@node-llama-cpp/linux-x64`, tested with 3.22.1:

    npm install --ignore-scripts @node-llama-cpp/linux-x64@3.22.1
    python bench/decode.py --llama-cpp node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decode_peers import LlamaCpp, write_weights
from record import machine
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
from tongwen.model.quantized.kernels import multiply
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
    "tiny": {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocabulary_size": 16_000,
    },
    "micro": {
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocabulary_size": 4_000,
    },
}
ROWS = (1, 4, 8)
PROMPT_TOKENS = 512
STEPS_IN_A_TURN = 2
PAUSE_SECONDS = 0.005
"""Between turns, so that threads that wait have gone to sleep before the next program starts."""

Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    parser.add_argument("--model", type=Path, help="folder or run with plain weights")
    parser.add_argument("--name", help="of the model in the lines; its folder's when absent")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--only", nargs="+", default=["int4", "int8", "bf16", "torch"])
    parser.add_argument("--llama-cpp", type=Path, help="folder with libllama.so")
    parser.add_argument("--no-prompt", action="store_true", help="leave the prefill out")
    parser.add_argument("--record", type=Path, metavar="FILE", help="add the lines to a file")
    arguments = parser.parse_args()
    int4 = plain_int4(arguments)
    if "int4" in arguments.only:
        for threads in arguments.threads:
            show(kernel_alone(int4, threads, arguments.turns), arguments)
    for name, model in models(int4, arguments):
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            path = paths.TORCH if name == "torch" else "auto"
            with paths.forced(path), ExitStack() as stack:
                engine = peer(name, model, threads, arguments, stack)
                for line in decoding(model, engine, threads, arguments):
                    show({"weights": name, "threads": threads, **line}, arguments)


def show(line: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print a line, and add it to the file of `--record`."""
    folder = arguments.model
    name = arguments.name or (f"shape {arguments.shape}" if folder is None else folder.name)
    line = {"model": name, **line}
    print(json.dumps(line), flush=True)
    if arguments.record:
        line |= {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "path": paths.chosen()}
        with arguments.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def decoding(
    model: Llama, engine: LlamaCpp | None, threads: int, arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A line for each number of rows, and one for a prompt."""
    for rows in ROWS:
        steps = {"roof": read_roof(threads), "ours": our_steps(model, rows)}
        if engine:
            steps["llama_cpp"] = engine.steps(rows)
        found = taken_in_turns(steps, arguments.turns)
        line: dict[str, Any] = {"rows": rows}
        for name in ("ours", "llama_cpp"):
            if name in found:
                line[f"{name}_per_cpu_s"] = round(rows / found[name].cpu_seconds, 2)
        if engine:
            line["ours_to_llama_cpp"] = round(found["llama_cpp"].ratio_to(found["ours"]), 3)
        if rows == 1:
            line |= roof_share(read_bytes(model), found)
            line["ours_per_s"] = round(1 / found["ours"].wall_seconds, 2)
            if engine:
                line["llama_cpp_per_s"] = round(1 / found["llama_cpp"].wall_seconds, 2)
        yield line
    if not arguments.no_prompt:
        steps = {"ours": lambda: prefill(model)}
        if engine:
            steps["llama_cpp"] = lambda: engine.prefill(PROMPT_TOKENS)
        found = taken_in_turns(steps, 2, steps_in_a_turn=1, warm_steps=0)
        line = {"prompt": PROMPT_TOKENS}
        for name, times in found.items():
            line[f"{name}_per_cpu_s"] = round(PROMPT_TOKENS / times.cpu_seconds, 1)
        if engine:
            line["ours_to_llama_cpp"] = round(found["llama_cpp"].ratio_to(found["ours"]), 3)
        yield line


def kernel_alone(int4: Llama, threads: int, turns: int) -> dict[str, Any]:
    """The product alone, over all layers' gates and ups, so that no cache holds them."""
    torch.set_num_threads(threads)
    layers = int4.model.layers
    chain: list[Any] = [
        layer.get_submodule(f"mlp.{name}_proj") for layer in layers for name in ("gate", "up")
    ]
    size = sum(item.packed.nbytes + item.packed_scale.nbytes for item in chain)
    groups, blocks = chain[0].packed.shape[1], chain[0].packed.shape[0]
    rounded = torch.randint(-127, 128, (groups * grid.GROUP,), dtype=torch.int8)
    scales, sums = torch.rand(groups), rounded.view(groups, -1).sum(1, dtype=torch.int32)
    out = torch.empty(blocks * grid.BLOCK)
    activations = tuple(tensor.data_ptr() for tensor in (rounded, scales, sums, out))
    path = paths.NAMES.index(paths.chosen())
    weights = [(item.packed.data_ptr(), item.packed_scale.data_ptr()) for item in chain]

    def task(thread: int, all_threads: int) -> None:
        first, end = paths.share(blocks, thread, all_threads)
        for pair in weights:
            multiply(path, 4, *pair, *activations, 1, groups, blocks * grid.BLOCK, first, end)

    steps = {"roof": read_roof(threads), "ours": lambda: paths.run_on_team(threads, task)}
    found = taken_in_turns(steps, turns)
    return {"kernel": "int4 gate and up of all layers", "threads": threads,
            **roof_share(size, found)}  # fmt: skip


class Times:
    """CPU and wall seconds of steps, turn by turn."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(self.cpu)

    @property
    def wall_seconds(self) -> float:
        return statistics.median(self.wall)

    def ratio_to(self, other: "Times") -> float:
        """Median of the ratios of CPU seconds within the turns."""
        return statistics.median(a / b for a, b in zip(self.cpu, other.cpu, strict=True))


def taken_in_turns(
    steps: dict[str, Step],
    turns: int,
    steps_in_a_turn: int = STEPS_IN_A_TURN,
    warm_steps: int = 2,
) -> dict[str, Times]:
    """Times of several programs that take turns, after some steps that do not count."""
    found = {name: Times() for name in steps}
    for step in steps.values():
        for _ in range(warm_steps):
            step()
    for _ in range(turns):
        for name, step in steps.items():
            time.sleep(PAUSE_SECONDS)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps_in_a_turn):
                step()
            found[name].cpu.append((time.process_time() - cpu) / steps_in_a_turn)
            found[name].wall.append((time.perf_counter() - wall) / steps_in_a_turn)
    return found


def roof_share(size: int, found: dict[str, Times]) -> dict[str, float]:
    """How many of the bytes of a plain read the weights were read with."""
    roof_times, times = found["roof"], found["ours"]
    roofs = [ROOF_BYTES / seconds for seconds in roof_times.cpu]
    shares = [size / ours / roof for ours, roof in zip(times.cpu, roofs, strict=True)]
    return {
        "gb_read": round(size / 1e9, 4),
        "gb_per_cpu_s": round(size / times.cpu_seconds / 1e9, 2),
        "roof_gb_per_cpu_s": round(statistics.median(roofs) / 1e9, 2),
        "of_roof": round(statistics.median(shares), 3),
    }


def models(int4: Llama, arguments: argparse.Namespace) -> Iterator[tuple[str, Llama]]:
    """The same weights in every form, one after the other."""
    if "int4" in arguments.only:
        yield "int4", int4
    if "bf16" in arguments.only:
        halved = dequantize_model(int4).requires_grad_(False)
        for module in halved.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = module.weight.data.bfloat16()
        yield "bf16", halved
        del halved
    if not {"torch", "int8"} & {*arguments.only}:
        return
    plain = dequantize_model(int4).requires_grad_(False)
    if "torch" in arguments.only:
        yield "torch", plain
    if "int8" in arguments.only:
        quantize_model(plain, 8)
        yield "int8", plain.requires_grad_(False)


def plain_int4(arguments: argparse.Namespace) -> Llama:
    """A model with int4 weights in its layers: the user's, or random ones."""
    if arguments.model:
        model, _ = load_any_model(find_model_folder(arguments.model), torch.float32)
        quantize_model(model, 4)
        return model
    shape = SHAPES[arguments.shape]
    return random_int4(ModelConfig(**shape, max_position_embeddings=4096, rope_theta=10_000.0))


def random_int4(config: ModelConfig) -> Llama:
    """Random int4 weights in the layers, int8 in embedding and head."""
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


@kernel
def add_up(numbers: Any, first: int, end: int, sums: Any, place: int) -> None:
    a, b, c, d = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for index in range(first, end, 4):
        a ^= numbers[index]
        b ^= numbers[index + 1]
        c ^= numbers[index + 2]
        d ^= numbers[index + 3]
    sums[place] = a ^ b ^ c ^ d


_ROOF_NUMBERS: Any = np.ones(1 << 25, np.int64)
ROOF_BYTES = _ROOF_NUMBERS.nbytes


def read_roof(threads: int) -> Step:
    """A plain read of 268 MB by so many threads."""
    sums = np.zeros(64, np.int64)

    def task(thread: int, all_threads: int) -> None:
        first, end = paths.share(len(_ROOF_NUMBERS), thread, all_threads)
        add_up(_ROOF_NUMBERS, first, end, sums, thread)

    return lambda: paths.run_on_team(threads, task)


def peer(
    name: str, model: Llama, threads: int, arguments: argparse.Namespace, stack: ExitStack
) -> LlamaCpp | None:
    """llama.cpp with the same weights, until the stack ends; none beside torch."""
    if arguments.llama_cpp is None or name == "torch":
        return None
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    file = Path(folder) / "model.gguf"
    write_weights(file, model)
    engine = LlamaCpp(arguments.llama_cpp, file, threads, max(ROWS))
    stack.callback(engine.close)
    return engine


if __name__ == "__main__":
    main()
