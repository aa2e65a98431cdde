"""What each way to tune costs and what it reaches, on a part of the sample world.

    tongwen run sample --until pretrain
    python bench/tune_methods.py runs/sample
    python bench/tune_methods.py --shape 1b

The first prints for full tuning, LoRA, QLoRA, full tuning with replay, and preference tuning after
it: the share of held-out questions that are answered, peak memory over that of the idle process,
and bits per byte of plain text before and after. The second tunes one batch of a random model of
1.1 billion weights with int4 QLoRA and prints its peak memory.
"""

import argparse
import json
import multiprocessing
import shutil
import tempfile
from pathlib import Path
from typing import Any

TOKENS, FACTS, RATE = 122_880, 6, 5e-3
COMMON = (
    "tune.held_out_share=0",
    "tune.batch_tokens=2048",
    "tune.micro_batch_tokens=256",
    "tune.sequence_tokens=256",
    "tune.evaluate_every_steps=1000",
    "tune.checkpoint_every_steps=1000",
    "tune.final_learning_rate_share=0.02",
    "tune.decay='cosine'",
    "tune.weight_decay=0.0",
)
FULL = (f"tune.max_tokens={TOKENS}", "tune.optimizer='muon'", f"tune.peak_learning_rate={RATE}")
LORA = (
    f"tune.max_tokens={TOKENS}",
    "tune.lora.rank=32",
    "tune.lora.alpha=64.0",
    "tune.optimizer='adamw'",
    "tune.peak_learning_rate=5e-3",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, nargs="?", help="run directory of the sample road")
    parser.add_argument("--shape", choices=["1b", "100m"])
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--set", nargs="+", default=[], help="settings for all methods, to try")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shape:
            _measure_shape(arguments.shape, Path(folder))
        else:
            _compare(arguments.run, Path(folder), arguments.methods, arguments.set)


def _compare(run: Path, out: Path, chosen: list[str] | None, extra: list[str]) -> None:
    stages = (run / "stages").resolve()
    gold, base = stages / "crawl/gold", stages / "pretrain/model"
    dialogues, questions = _part(gold, out)
    pairs, held_out = _preferences(dialogues, questions, out)
    inputs = {"model": base, "tokenizer": base, "shards": stages / "encode"}
    tiny = out / "tiny"
    _apart(_make_base, "tiny", tiny)
    named = f"tune.dialogues={json.dumps([str(dialogues)])}"
    methods: dict[str, tuple[dict[str, Path], tuple[str, ...]]] = {
        "full": (inputs, (*FULL, named)),
        "LoRA": (inputs, (*LORA, named)),
        "QLoRA int4": (inputs, (*LORA, "tune.base_weights='int4'", named)),
        "full, replay": (inputs, (*FULL, "tune.replay_share=0.3", named)),
        "LoRA, replay": (inputs, (*LORA, "tune.replay_share=0.3", named)),
        "DPO": (
            {**inputs, "model": base if chosen and "full" not in chosen else out / "full/model"},
            (
                "tune.max_tokens=10240",
                "tune.optimizer='adamw'",
                "tune.peak_learning_rate=1e-3",
                "tune.dpo.beta=0.1",
                f"tune.dialogues={json.dumps([str(pairs)])}",
            ),
        ),
    }
    print(f"{sum(1 for _ in dialogues.open()):,} dialogues")
    print(f"{'':14}{'answers':>9}{'memory MiB':>12}{'seconds':>9}  plain text, bits per byte")
    for name, (given, settings) in methods.items():
        if chosen and name not in chosen:
            continue
        folder = out / name.split(",")[0].replace(" ", "-") if "," not in name else out / "other"
        shutil.rmtree(folder, ignore_errors=True)
        found = _apart(_tune, given, folder, (*COMMON, *settings, *extra), "sample", tiny)
        answers = _apart(_answers, folder / "model", questions, gold)
        text = ", ".join(
            f"{key.removesuffix('_bits_per_byte_before')} {value:.3f} -> "
            f"{found[key.replace('before', 'after')]:.3f}"
            for key, value in found.items()
            if key.endswith("_before")
        )
        print(
            f"{name:14}{answers:>8.1%}{found['peak_bytes'] / 2**20:>12,.0f}"
            f"{found['seconds']:>9.0f}  {text}",
            flush=True,
        )
        if name == "DPO":
            rates = [
                _apart(_preference_rate, model, held_out)
                for model in (given["model"], folder / "model")
            ]
            print(
                f"held-out pairs whose short answer is likelier than the sentence: "
                f"{rates[0]:.1%} before, {rates[1]:.1%} after"
            )


def _part(gold: Path, out: Path) -> tuple[Path, Path]:
    """Dialogues and questions of every 24th fact."""
    facts = [json.loads(line)["fact_id"] for line in (gold / "facts.jsonl").open(encoding="utf-8")]
    chosen = set(facts[::FACTS])
    paths = []
    for name in ("dialogues.jsonl", "questions.jsonl"):
        rows = [json.loads(line) for line in (gold / name).open(encoding="utf-8")]
        kept = [row for row in rows if row.get("fact_id") in chosen]
        paths.append(out / name)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        paths[-1].write_text("".join(lines), encoding="utf-8")
    return paths[0], paths[1]


def _preferences(dialogues: Path, questions: Path, out: Path) -> tuple[Path, Path]:
    """Pairs that prefer the bare answer to the sentence that the dialogues teach; every fifth fact
    is held out.
    """
    short = {}
    for line in questions.open(encoding="utf-8"):
        row = json.loads(line)
        short[row["fact_id"], row["lang"]] = row["answer"]
    held = set(sorted({fact for fact, _ in short})[::5])
    paths = out / "pairs.jsonl", out / "held-out.jsonl"
    files = [path.open("w", encoding="utf-8") for path in paths]
    for line in dialogues.open(encoding="utf-8"):
        row = json.loads(line)
        chosen, sentence = short.get((row["fact_id"], row["lang"])), row["messages"][-1]["content"]
        if chosen is None or chosen == sentence or len(row["messages"]) != 2:
            continue
        pair = {"prompt": row["messages"][:-1], "chosen": chosen, "rejected": sentence}
        files[row["fact_id"] in held].write(json.dumps(pair, ensure_ascii=False) + "\n")
    for file in files:
        file.close()
    return paths


def _preference_rate(model: Path, pairs: Path) -> float:
    """Share of pairs whose better answer has the larger probability."""
    import numpy as np
    import torch

    from tongwen.model.folder import load_model_folder
    from tongwen.tokenizer.text import Tokenizer
    from tongwen.tune.preferences.data import PreferenceSequences, read_pairs
    from tongwen.tune.preferences.objective import answer_log_probabilities, margins

    data = read_pairs([pairs], Tokenizer.load(model), 256).training
    data.references[:] = 0
    sequences = PreferenceSequences(data, 256, seed=0)
    loaded, _ = load_model_folder(model)
    preferred = 0
    with torch.inference_mode():
        for number in range(sequences.sequences):
            batch = sequences.sequences_at(np.array([number]))
            assert batch.references_BA is not None
            sums = answer_log_probabilities(loaded, batch, torch.float32)
            preferred += int((margins(sums, batch.references_BA, 1.0) > 0).sum())
    return preferred / data.pairs


def _apart(function: Any, *arguments: Any) -> Any:
    """What a function gives in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _tune(
    inputs: dict[str, Path],
    out: Path,
    settings: tuple[str, ...],
    recipe: str = "sample",
    tiny: Path | None = None,
) -> dict[str, float]:
    """What the stage counts, its seconds, and its peak memory over that of the idle process.

    With `tiny`, the idle process has tuned that model in the same way before, so that libraries and
    kernels, which are the same for all methods, do not count.
    """
    import time

    import psutil

    import tongwen.train.loop
    import tongwen.tune.stage  # noqa: F401 - loaded before memory is measured
    from tongwen.road.alone import run_alone

    if tiny is not None:
        few = ("tune.max_tokens=512", "tune.batch_tokens=256", "tune.replay_share=0")
        same = {"model": tiny, "tokenizer": tiny}
        first = out.parent / "first"
        shutil.rmtree(first, ignore_errors=True)
        run_alone("tune", inputs=same, out=first, recipe=recipe, overrides=(*settings, *few))
    idle = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: proc(5)
    started = time.monotonic()
    manifest = run_alone("tune", inputs=inputs, out=out, recipe=recipe, overrides=settings)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert manifest is not None
    return {
        **manifest.counts,
        "peak_bytes": peak - idle,
        "seconds": time.monotonic() - started,
    }


def _answers(model: Path, questions: Path, gold: Path) -> float:
    from tongwen.road.alone import run_alone

    task = {"name": "sample_answer", "path": str(questions)}
    with tempfile.TemporaryDirectory() as out:
        shutil.copy(gold / "facts.jsonl", questions.parent / "facts.jsonl")
        run_alone(
            "evaluate",
            inputs={"model": model},
            out=Path(out),
            recipe="sample",
            overrides=(f"evaluate.tasks=[{_toml(task)}]",),
        )
        rows = json.loads((Path(out) / "results.json").read_text("utf-8"))["results"]
    values = [row["value"] for row in rows if row["task"] == "sample_answer"]
    return float(sum(values) / len(values))


def _measure_shape(name: str, out: Path) -> None:
    """Peak memory of one batch of LoRA on a random model."""
    base = out / "base"
    _apart(_make_base, name, base)
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(400)]
    dialogues = out / "dialogues.jsonl"
    dialogues.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        "tune.max_tokens=512",
        "tune.batch_tokens=256",
        "tune.micro_batch_tokens=256",
        "tune.sequence_tokens=256",
        "tune.held_out_share=0",
        "tune.recompute='layer'",
        "tune.lora.rank=16",
        "tune.base_weights='int4'",
        f"tune.dialogues={json.dumps([str(dialogues)])}",
    )
    found = _apart(_tune, {"model": base, "tokenizer": base}, out / "tuned", settings, "defaults")
    print(
        f"{found['parameters']:,.0f} weights in int4, {found['trained_parameters']:,.0f} trained: "
        f"peak {found['peak_bytes'] / 2**30:.2f} GiB over the idle process, "
        f"{found['seconds']:.0f} s for {found['steps']:.0f} steps of 256 tokens"
    )


def _make_base(name: str, folder: Path) -> None:
    """Random bfloat16 weights; those of one layer are those of all."""
    import torch

    from tongwen.model.config import ModelConfig
    from tongwen.model.folder import write_model_folder
    from tongwen.model.llama import Llama
    from tongwen.tokenizer.export import write_tokenizer_folder
    from tongwen.tokenizer.train import train_model

    texts = [f"The road number {n} is long. 第{n}条路很长。" for n in range(60)]
    tokenizer = folder.parent / "tokenizer"
    write_tokenizer_folder(train_model(texts, vocabulary_size=350), tokenizer)
    width, inner, layers, heads = {
        "1b": (2048, 5632, 22, 32),
        "100m": (768, 2048, 12, 12),
        "tiny": (64, 128, 2, 4),
    }[name]
    config = ModelConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        vocabulary_size=32_000 if name != "tiny" else 512,
    )
    with torch.device("meta"):
        shapes = {name: item.shape for name, item in Llama(config).named_parameters()}

    def read(names: Any) -> dict[str, Any]:
        return {
            name: torch.ones(shapes[name]).bfloat16()
            if len(shapes[name]) == 1
            else torch.randn(shapes[name]).mul_(0.02).bfloat16()
            for name in names
        }

    write_model_folder(folder, config, read, tokenizer, torch.bfloat16, file_bytes=200_000_000)


def _toml(table: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


if __name__ == "__main__":
    main()
