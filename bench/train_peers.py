"""One trainer of `bench/train.py`, in this process: prints its tokens a second and peak memory."""

import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path


def ids_of(job: dict[str, int]):  # type: ignore[no-untyped-def]
    """Random token ids, (sequences of all steps, sequence_tokens)."""
    import numpy

    sequences = job["steps"] * job["batch_tokens"] // job["sequence_tokens"]
    shape = (sequences, job["sequence_tokens"])
    return numpy.random.default_rng(0).integers(3, job["vocabulary"], shape)


def tongwen(job: dict[str, int], optimizer: str = "adamw") -> list[float]:
    import numpy

    from tongwen.model.config import ModelConfig
    from tongwen.model.llama import Llama
    from tongwen.progress import Progress
    from tongwen.train.data import Documents, PackedSequences
    from tongwen.train.loop import Job, train
    from tongwen.train.metrics import read_metrics
    from tongwen.train.settings import TrainSettings

    ids = ids_of(job)
    model = Llama(
        ModelConfig(
            hidden_size=job["hidden"], intermediate_size=job["intermediate"],
            num_hidden_layers=job["layers"], num_attention_heads=job["heads"],
            num_key_value_heads=job["kv_heads"], head_dim=64,
            tie_word_embeddings=True,
            max_position_embeddings=job["sequence_tokens"], vocabulary_size=job["vocabulary"],
        )
    )  # fmt: skip
    model.initialize(0)
    sequences, tokens = ids.shape
    documents = Documents(
        parts=(ids.reshape(-1).astype(numpy.uint16),),
        starts=numpy.arange(sequences) * tokens,
        tokens=numpy.full(sequences, tokens),
        is_target=None,
        digest="random",
    )
    settings = TrainSettings(
        max_tokens=job["steps"] * job["batch_tokens"], sequence_tokens=job["sequence_tokens"],
        batch_tokens=job["batch_tokens"], micro_batch_tokens=job["micro_batch_tokens"],
        optimizer=optimizer, precision="bf16", separate_documents=False,
        checkpoint_every_steps=10**9, evaluate_every_steps=10**9,
    )  # fmt: skip
    data = PackedSequences(documents, job["sequence_tokens"], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "tokenizer.json").write_text("{}")
        train(
            Job("bench", settings, model, data, {}, out, out, Progress())
        )  # fmt: skip
        return [row["tokens_per_second"] for row in read_metrics(out / "metrics.jsonl")
                if row["kind"] == "train"]  # fmt: skip


def tongwen_muon(job: dict[str, int]) -> list[float]:
    return tongwen(job, "muon")


def hf_trainer(job: dict[str, int]) -> list[float]:
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    ids = torch.from_numpy(ids_of(job))
    rows = [{"input_ids": row, "labels": row} for row in ids]
    config = LlamaConfig(
        vocab_size=job["vocabulary"], hidden_size=job["hidden"],
        intermediate_size=job["intermediate"], num_hidden_layers=job["layers"],
        num_attention_heads=job["heads"], num_key_value_heads=job["kv_heads"], head_dim=64,
        max_position_embeddings=job["sequence_tokens"], tie_word_embeddings=True, use_cache=False,
    )  # fmt: skip
    per_pass = job["micro_batch_tokens"] // job["sequence_tokens"]
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):  # type: ignore[no-untyped-def]
            times.append(time.monotonic())

        def on_step_end(self, *_, **__):  # type: ignore[no-untyped-def]
            times.append(time.monotonic())

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, bf16=True, per_device_train_batch_size=per_pass,
            gradient_accumulation_steps=job["batch_tokens"] // job["micro_batch_tokens"],
            max_steps=job["steps"], save_strategy="no", report_to=[], logging_steps=10**9,
            optim="adamw_torch_fused", learning_rate=3e-4, weight_decay=0.1, adam_beta2=0.95,
            dataloader_num_workers=0, disable_tqdm=True,
        )  # fmt: skip
        Trainer(
            model=LlamaForCausalLM(config), args=arguments, train_dataset=rows, callbacks=[Clock()]
        ).train()
    return speeds(job, times)


def litgpt(job: dict[str, int]) -> list[float]:
    """LitGPT's model under the loop of its `pretrain.fit`: Fabric, bf16-mixed, its chunked loss."""
    import lightning
    import torch
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        name="bench", block_size=job["sequence_tokens"], vocab_size=job["vocabulary"],
        padded_vocab_size=job["vocabulary"], n_layer=job["layers"], n_head=job["heads"],
        n_query_groups=job["kv_heads"], n_embd=job["hidden"], head_size=64,
        rotary_percentage=1.0, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP", intermediate_size=job["intermediate"],
    )  # fmt: skip
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    model = fabric.setup(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    optimizer = fabric.setup_optimizers(optimizer)
    ids = torch.from_numpy(ids_of(job))
    rows = job["micro_batch_tokens"] // job["sequence_tokens"]
    passes = job["batch_tokens"] // job["micro_batch_tokens"]
    place, times = 0, []
    for _ in range(job["steps"]):
        times.append(time.monotonic())
        for micro in range(passes):
            batch = ids[place : place + rows]
            place += rows
            with fabric.no_backward_sync(model, enabled=micro < passes - 1):
                logits = model(batch[:, :-1])
                loss = chunked_cross_entropy(logits, batch[:, 1:])
                fabric.backward(loss / passes)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.monotonic())
    return speeds(job, times)


def torchtitan(job: dict[str, int]) -> list[float]:
    """The trainer of torchtitan; it decides itself whether it runs without a GPU."""
    from torchtitan.tools.utils import device_type

    if device_type != "cuda":
        raise SystemExit(f"torchtitan chose the device {device_type!r}; its trainer needs a GPU")
    raise SystemExit("a GPU is here: run torchtitan's own command beside this")


def speeds(job: dict[str, int], times: list[float]) -> list[float]:
    """Tokens a second of each step from its begin and end."""
    return [
        job["batch_tokens"] / (end - begin)
        for begin, end in zip(times[::2], times[1::2], strict=True)
    ]


TRAINERS = {
    "tongwen": tongwen, "tongwen-muon": tongwen_muon, "hf-trainer": hf_trainer, "litgpt": litgpt,
    "torchtitan": torchtitan,
}  # fmt: skip


def peak_mib() -> float:
    """Largest resident set of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1)) / 1024  # type: ignore[union-attr]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    found = TRAINERS[sys.argv[1]](json.loads(sys.argv[2]))
    print(json.dumps({"tokens_per_second": found, "peak_mib": peak_mib()}))
