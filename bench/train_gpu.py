"""Training speed on a GPU: tokens a second, MFU in both conventions and memory, beside HF Trainer.

    python bench/train_gpu.py [--shapes 1b 6b] [--sequence 4096] [--peers hf-trainer] [--record]

Random token ids; each row in a process of its own. MFU is against the data sheet's dense bfloat16
rate (989 TFLOP/s for H100 and H200). `full` counts attention over all pairs of tokens, as
torchtitan and nanochat do, `causal` the half that is computed. Medians leave out three steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path

from record import append_section, machine

HERE = Path(__file__).resolve().parent
VOCABULARY = 64_000
SHAPES = {
    "1b": {"hidden": 2048, "intermediate": 5632, "layers": 18, "heads": 16, "kv_heads": 4},
    "6b": {"hidden": 4096, "intermediate": 11008, "layers": 32, "heads": 32, "kv_heads": 4},
}


def tongwen(job):  # type: ignore[no-untyped-def]
    """Rows of the metrics of a run of ours."""
    import tempfile

    import numpy
    import torch

    from tongwen.model.config import ModelConfig
    from tongwen.model.llama import Llama
    from tongwen.progress import Progress
    from tongwen.train.data.sequences import Documents, PackedSequences
    from tongwen.train.job import Job
    from tongwen.train.loop import train
    from tongwen.train.metrics import read_metrics
    from tongwen.train.settings import TrainSettings
    from tongwen.train.weights import WeightSource

    class TiledWeights(WeightSource):
        """Random numbers repeated: drawing billions would take longer than the steps."""

        def __init__(self, config: ModelConfig) -> None:
            self.config = config

        def digest(self) -> str:
            return "tiled"

        def tensors(self):  # type: ignore[no-untyped-def]
            some = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)) * 0.02
            with torch.device("meta"):
                model = Llama(self.config)
            for name, parameter in model.named_parameters():
                if parameter.dim() == 1:
                    yield name, torch.ones(parameter.shape)
                else:
                    times = -(-parameter.numel() // len(some))
                    yield name, some.repeat(times)[: parameter.numel()].view(parameter.shape)

    settings = TrainSettings(
        max_tokens=job["steps"] * job["batch_tokens"], sequence_tokens=job["sequence"],
        batch_tokens=job["batch_tokens"], micro_batch_tokens=job["micro_batch_tokens"],
        optimizer=job["optimizer"], recompute=job["recompute"], device="cuda", precision="bf16",
        separate_documents=job["document_tokens"] > 0, evaluate_every_steps=10**9,
        checkpoint_every_steps=10**9, spike_sigmas=None,
        head_gradient_samples=job["head_gradient_samples"],
    )  # fmt: skip
    generator = numpy.random.default_rng(0)
    tokens = settings.max_tokens
    ids = generator.integers(3, VOCABULARY, tokens).astype(numpy.uint16)
    length = job["document_tokens"] or job["sequence"]
    starts = numpy.arange(0, tokens, length)
    documents = Documents((ids,), starts, numpy.diff(starts, append=tokens), None, "random")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "tokenizer.json").write_text("{}")
        weights = TiledWeights(config_of(job, ModelConfig))
        data = PackedSequences(
            documents, job["sequence"], seed=0, separate_documents=settings.separate_documents
        )
        run = Job("bench", settings, weights, data, {}, out, out, Progress(), is_kept=False)
        train(run)
        return read_metrics(out / "metrics.jsonl")


def config_of(job, kind):  # type: ignore[no-untyped-def]
    return kind(
        hidden_size=job["hidden"], intermediate_size=job["intermediate"],
        num_hidden_layers=job["layers"], num_attention_heads=job["heads"],
        num_key_value_heads=job["kv_heads"], head_dim=128, vocabulary_size=VOCABULARY,
        max_position_embeddings=job["sequence"],
    )  # fmt: skip


def hf_trainer(job):  # type: ignore[no-untyped-def]
    """Times of Hugging Face Trainer's steps, as rows."""
    import tempfile
    import time

    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )  # fmt: skip

    torch.backends.cuda.matmul.allow_tf32 = True
    generator = torch.Generator().manual_seed(0)
    sequences = job["steps"] * job["batch_tokens"] // job["sequence"]
    ids = torch.randint(3, VOCABULARY, (sequences, job["sequence"]), generator=generator)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=job["hidden"], intermediate_size=job["intermediate"],
        num_hidden_layers=job["layers"], num_attention_heads=job["heads"],
        num_key_value_heads=job["kv_heads"], head_dim=128, use_cache=False,
        max_position_embeddings=job["sequence"], tie_word_embeddings=False,
    )  # fmt: skip
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):  # type: ignore[no-untyped-def]
            torch.cuda.synchronize()
            times.append(time.monotonic())

        def on_step_end(self, *_, **__):  # type: ignore[no-untyped-def]
            torch.cuda.synchronize()
            times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, bf16=True, torch_compile=True, max_steps=job["steps"],
            per_device_train_batch_size=job["micro_batch_tokens"] // job["sequence"],
            gradient_accumulation_steps=job["batch_tokens"] // job["micro_batch_tokens"],
            save_strategy="no", report_to=[], logging_steps=10**9, optim="adamw_torch_fused",
            learning_rate=3e-4, weight_decay=0.1, disable_tqdm=True,
            gradient_checkpointing=job["recompute"] == "layer",
        )  # fmt: skip
        with torch.device("cuda"):
            model = LlamaForCausalLM(config)
        rows = [{"input_ids": row, "labels": row} for row in ids]
        Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    memory = torch.cuda.max_memory_allocated()
    return [
        {"kind": "train", "peak_memory_bytes": memory,
         "tokens_per_second": job["batch_tokens"] / (end - begin)}
        for begin, end in zip(times[::2], times[1::2], strict=True)
    ]  # fmt: skip


def measure(trainer: str, job: dict[str, object], seconds: float) -> dict[str, object]:
    """The row of one trainer at one shape, run in a process of its own."""
    words = [sys.executable, str(HERE / "train_gpu.py"), "--run", trainer, json.dumps(job)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"trainer": trainer, **job, "error": f"took longer than {seconds:g} s"}
    lines = [line for line in ended.stdout.splitlines() if line.startswith("[")]
    if not lines:
        last = (ended.stderr.strip().splitlines() or ["no output"])[-1]
        print(ended.stderr[-3000:], file=sys.stderr, flush=True)
        return {"trainer": trainer, **job, "error": last[:200]}
    rows = [row for row in json.loads(lines[-1]) if row["kind"] == "train"][3:]
    return {
        "trainer": trainer,
        **job,
        "tokens_per_second": statistics.median(row["tokens_per_second"] for row in rows),
        "peak_gib": max(row["peak_memory_bytes"] for row in rows) / 2**30,
    }


def report(row: dict[str, object]) -> str:
    """One line of the table."""
    from tongwen.model.config import ModelConfig
    from tongwen.model.flops import flops_per_token

    head = (
        f"| {row['shape']} | {row['sequence']:,} | {row['trainer']} | {row['optimizer']} "
        f"| {row['recompute']} | {row['micro_batch_tokens']:,} | {row['document_tokens'] or '-'} "
        f"| {row['head_gradient_samples'] or '-'} |"
    )
    if "error" in row:
        return f"{head} not measured: {row['error']} | | | |"
    flops = flops_per_token(
        config_of(row, ModelConfig),  # type: ignore[arg-type]
        int(row["sequence"]),  # type: ignore[call-overload]
        has_head_gradient=row["head_gradient_samples"] is None,
    )
    speed = float(row["tokens_per_second"])  # type: ignore[arg-type]
    full, causal = (100 * speed * each / 989e12 for each in (flops.full, flops.causal))
    return f"{head} {speed:,.0f} | {full:.1f} % | {causal:.1f} % | {row['peak_gib']:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("TRAINER", "JOB"), help=argparse.SUPPRESS)
    parser.add_argument("--shapes", nargs="+", default=["1b"], choices=list(SHAPES))
    parser.add_argument("--peers", nargs="*", default=[], choices=["hf-trainer"])
    parser.add_argument("--sequence", type=int, default=4096)
    parser.add_argument("--batch-tokens", type=int, default=131_072)
    parser.add_argument("--micro-batch-tokens", type=int, default=16_384)
    parser.add_argument("--document-tokens", type=int, default=0, help="0: one a sequence")
    parser.add_argument("--optimizer", default="adamw", choices=["adamw", "muon"])
    parser.add_argument("--recompute", default="none", choices=["none", "cheap", "layer"])
    parser.add_argument("--head-gradient-samples", type=int, help="for ours; else in full")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--limit", type=float, default=240, help="seconds for one row")
    parser.add_argument("--record", action="store_true", help="append to docs/benchmarks")
    options = parser.parse_args()
    if options.run:
        trainer = {"tongwen": tongwen, "hf-trainer": hf_trainer}[options.run[0]]
        print(json.dumps(trainer(json.loads(options.run[1]))))
        return
    names = ("sequence", "batch_tokens", "micro_batch_tokens", "document_tokens", "optimizer",
             "recompute", "head_gradient_samples", "steps")  # fmt: skip
    lines = [
        "| shape | sequence | trainer | optimizer | recomputed | micro-batch | document | samples "
        "| tokens/s | MFU full | MFU causal | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for shape in options.shapes:
        job = {"shape": shape, **SHAPES[shape], **{name: getattr(options, name) for name in names}}
        for trainer in ("tongwen", *options.peers):
            if trainer != "tongwen":
                job["head_gradient_samples"] = None  # theirs is in full
            lines.append(report(measure(trainer, job, options.limit)))
            print(lines[-1], flush=True)
    print("\n".join(lines), flush=True)
    if options.record:
        append_section(
            "## Training on a GPU, `python bench/train_gpu.py`",
            f"{date.today()}, one {machine()}.\n\n" + "\n".join(lines),
        )


if __name__ == "__main__":
    main()
