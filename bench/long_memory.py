"""Peak memory and CPU time of long texts: forward, backward, prefill and decode, beside
transformers on the same weights.

    python bench/long_memory.py                                  # 8,192 and 32,768 tokens
    python bench/long_memory.py --lengths 32768 65536 200000 --record
    python bench/long_memory.py --pieces 4096                    # attention of a prompt in pieces

Random weights of a tiny shape, one row, float32, one thread, a process for each measurement. Memory
is what the process's peak grew by after the model was loaded. Training recomputes whole layers; a
prompt is read in pieces of 1,024, but in one by transformers; decode is the mean of 8 tokens behind
the prompt's cache. A process that needs more than `--most-gib` is ended: it does not fit.
`python tools/long_page.py` makes the pages' table of what was recorded.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "max_position_embeddings": 262_144,
    "rope_theta": 5_000_000.0,
    "tie_word_embeddings": True,
}
VOCABULARY = 4_096
DECODED = 8
WORK = {"forward": ("forward",), "backward": ("backward",), "prompt": ("prefill", "decode")}
"""What one process does -> the passes it measures."""
ENGINES = ("tongwen", "transformers")
ROWS = Path(__file__).with_suffix(".jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=[8_192, 32_768])
    parser.add_argument("--only", choices=ENGINES)
    parser.add_argument("--work", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--repeat", type=int, default=1, help="measurements of each; the median")
    parser.add_argument("--most-gib", type=float, default=6.0)
    parser.add_argument("--record", action="store_true", help=f"add rows to {ROWS.name}")
    parser.add_argument("--pieces", type=int, metavar="TOKENS")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_measure(**json.loads(arguments.child))))
        return
    if arguments.pieces:
        _compare_pieces(arguments.pieces)
        return
    engines = [arguments.only] if arguments.only else ENGINES
    with tempfile.TemporaryDirectory() as folder:
        _write_model(Path(folder))
        for tokens in arguments.lengths:
            for work in arguments.work:
                for engine in engines:
                    most = arguments.most_gib
                    every = [_child(engine, work, tokens, folder, most)
                             for _ in range(arguments.repeat)]  # fmt: skip
                    for row in map(_median, zip(*every, strict=True)):
                        print(json.dumps(row), flush=True)
                        if arguments.record:
                            with ROWS.open("a", encoding="utf-8") as file:
                                file.write(json.dumps(row) + "\n")


def _median(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of one measurement with the medians of all; one that did not fit stays as it is."""
    if any(row["seconds"] is None for row in rows):
        return rows[0]
    middle = {key: statistics.median(row[key] for row in rows) for key in ("seconds", "mib")}
    return rows[0] | middle | {"measurements": len(rows)}


def _compare_pieces(tokens: int, piece: int = 1_024) -> None:
    """CPU time of attention over a prompt: at once, and in pieces with a mask and without."""
    import torch

    from tongwen.model.attention import Visibility, attend

    torch.set_num_threads(1)
    q, k, v = (torch.randn(1, tokens, heads, 32) for heads in (4, 2, 2))
    starts = range(0, tokens, piece)

    def at_once() -> None:
        attend(q, k, v, Visibility(is_causal=True))

    def masked() -> None:
        for start in starts:
            places = torch.arange(start, start + piece)[:, None]
            mask = torch.arange(start + piece) <= places
            here = Visibility(mask=mask[None, None])
            attend(q[:, start : start + piece], k[:, : start + piece], v[:, : start + piece], here)

    def joined() -> None:
        for start in starts:
            here = Visibility(is_causal=True, earlier_keys=start)
            attend(q[:, start : start + piece], k[:, : start + piece], v[:, : start + piece], here)

    with torch.inference_mode():
        for name, work in (("at once", at_once), ("masked", masked), ("joined", joined)):
            work()
            started = time.process_time()
            work()
            print(f"{name:8} {time.process_time() - started:.3f} CPU s")


def _child(
    engine: str, work: str, tokens: int, folder: str, most_gib: float
) -> list[dict[str, Any]]:
    values = {
        "engine": engine, "work": work, "tokens": tokens, "folder": folder, "most_gib": most_gib,
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(values)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode and "memory" not in run.stderr.lower():
        raise SystemExit(run.stderr)
    nothing = [{"seconds": None, "mib": None}] * len(WORK[work])
    found = nothing if run.returncode else json.loads(run.stdout.splitlines()[-1])
    rows = []
    for name, values in zip(WORK[work], found, strict=True):
        row = {"engine": engine, "pass": name, "tokens": tokens, "shape": SHAPE,
               "vocabulary": VOCABULARY, "most_gib": most_gib, "machine": _machine(),
               "measurements": 1}  # fmt: skip
        rows.append(row | values)
    return rows


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def _write_model(folder: Path) -> None:
    from tongwen.model.config import ModelConfig
    from tongwen.model.llama import Llama

    config = ModelConfig(**SHAPE, vocabulary_size=VOCABULARY)  # type: ignore[arg-type]
    model = Llama(config)
    model.initialize(0)
    from safetensors.torch import save_file

    (folder / "config.json").write_text(json.dumps(config.to_huggingface()))
    names = [name for name in model.state_dict() if name != "lm_head.weight"]
    tensors = {name: model.state_dict()[name].contiguous() for name in names}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _measure(
    engine: str, work: str, tokens: int, folder: str, most_gib: float
) -> list[dict[str, float]]:
    import torch

    torch.set_num_threads(1)
    limit = int(most_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    passes = {"tongwen": _ours, "transformers": _theirs}[engine](tokens, Path(folder))
    before = _peak_mib()
    found = []
    for name in WORK[work]:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        started = time.process_time()
        passes[name]()
        spent = time.process_time() - started
        seconds = spent / DECODED if name == "decode" else spent
        found.append({"seconds": seconds, "mib": _peak_mib() - before})
    return found


def _peak_mib() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _ids(tokens: int) -> Any:
    import torch

    return torch.randint(3, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(1))


def _ours(tokens: int, folder: Path) -> dict[str, Callable[[], None]]:
    import torch
    from safetensors.torch import load_file

    from tongwen.model.config import ModelConfig
    from tongwen.model.decoding import DecodingBatch, Prefill
    from tongwen.model.llama import Llama
    from tongwen.train.data.sequences import Batch
    from tongwen.train.parallel.recompute import recompute_activations
    from tongwen.train.passes import add_gradients

    model = Llama(ModelConfig(**SHAPE, vocabulary_size=VOCABULARY))  # type: ignore[arg-type]
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)  # the head is tied
    ids_BT = _ids(tokens)

    def forward() -> None:
        with torch.inference_mode():
            model.logits(model(ids_BT)[:, -1])

    def backward() -> None:
        recompute_activations(model, "layer")
        positions_BT = torch.arange(tokens)[None]
        add_gradients(
            model, Batch(ids_BT, ids_BT.roll(-1, 1), positions_BT, None, tokens), torch.float32
        )

    batch = DecodingBatch(model)

    def read() -> None:
        prefill = Prefill(model, ids_BT[0].tolist())
        while prefill.advance() is None:
            pass
        batch.append(prefill)

    def decode() -> None:
        for _ in range(DECODED):
            batch.step([5])

    return {"forward": forward, "backward": backward, "prefill": read, "decode": decode}


def _theirs(tokens: int, folder: Path) -> dict[str, Callable[[], None]]:
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids_BT = _ids(tokens)

    def forward() -> None:
        with torch.inference_mode():
            model(ids_BT, use_cache=False, logits_to_keep=1)

    def backward() -> None:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model(ids_BT, labels=ids_BT, use_cache=False).loss.backward()

    caches: list[Any] = []

    def read() -> None:
        with torch.inference_mode():
            caches.append(model(ids_BT, use_cache=True, logits_to_keep=1).past_key_values)

    def decode() -> None:
        with torch.inference_mode():
            for _ in range(DECODED):
                model(torch.tensor([[5]]), past_key_values=caches[0], use_cache=True)

    return {"forward": forward, "backward": backward, "prefill": read, "decode": decode}


if __name__ == "__main__":
    main()
