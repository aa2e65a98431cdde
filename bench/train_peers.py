"""One trainer of `bench/train.py`, in this process: prints its steps' times and peak memory."""

import json
import re
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path


def ids_of(job: dict[str, int]):  # type: ignore[no-untyped-def]
    """Random token ids, (sequences of all steps, sequence_tokens)."""
    import numpy

    sequences = job["steps"] * job["batch_tokens"] // job["sequence_tokens"]
    shape = (sequences, job["sequence_tokens"])
    return numpy.random.default_rng(0).integers(3, job["vocabulary"], shape)


class Clock:
    """Wall and CPU time of steps."""

    def __init__(self) -> None:
        self.wall_seconds: list[float] = []
        self.processor_seconds: list[float] = []

    def begin(self) -> None:
        self._begun = time.monotonic(), time.process_time()

    def end(self) -> None:
        self.wall_seconds.append(time.monotonic() - self._begun[0])
        self.processor_seconds.append(time.process_time() - self._begun[1])


def tongwen(
    job: dict[str, int],
    *,
    samples: int | None = None,
    is_nanochat: bool = False,
    is_compiled: bool = False,
) -> Clock:
    """Ours; with the head's gradient from samples; with what it has of nanochat's configuration:
    Muon, QK norm, a head of its own; or compiled.
    """
    import numpy

    from tongwen.model.config import ModelConfig
    from tongwen.progress import Progress
    from tongwen.train.data.sequences import Documents, PackedSequences
    from tongwen.train.job import Job
    from tongwen.train.loop import train
    from tongwen.train.settings import TrainSettings
    from tongwen.train.weights import InitialWeights

    clock = Clock()

    class Marks(Progress):
        def start(self) -> None:
            clock.begin()

        def update(self, *_: object) -> None:
            clock.end()
            clock.begin()

    ids = ids_of(job)
    config = ModelConfig(
        hidden_size=job["hidden"], intermediate_size=job["intermediate"],
        num_hidden_layers=job["layers"], num_attention_heads=job["heads"],
        num_key_value_heads=job["kv_heads"], head_dim=64,
        tie_word_embeddings=not is_nanochat, qk_norm=is_nanochat,
        max_position_embeddings=job["sequence_tokens"], vocabulary_size=job["vocabulary"],
    )  # fmt: skip
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
        optimizer="muon" if is_nanochat else "adamw", precision=job["precision"],
        device="cpu", separate_documents=False, head_gradient_samples=samples,
        compile="yes" if is_compiled else "no",
        checkpoint_every_steps=10**9, evaluate_every_steps=10**9,
    )  # fmt: skip
    data = PackedSequences(documents, job["sequence_tokens"], seed=0, separate_documents=False)
    weights = InitialWeights(config, settings)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (out / "tokenizer.json").write_text("{}")
        train(Job("bench", settings, weights, data, {}, out, out, Marks(), is_kept=False))
    return clock


def hf_trainer(job: dict[str, int], *, is_compiled: bool = False) -> Clock:
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
    clock = Clock()

    class Marks(TrainerCallback):
        def on_step_begin(self, *_, **__):  # type: ignore[no-untyped-def]
            clock.begin()

        def on_step_end(self, *_, **__):  # type: ignore[no-untyped-def]
            clock.end()

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, use_cpu=True, bf16=job["precision"] == "bf16",
            torch_compile=is_compiled, per_device_train_batch_size=per_pass,
            gradient_accumulation_steps=job["batch_tokens"] // job["micro_batch_tokens"],
            max_steps=job["steps"], save_strategy="no", report_to=[], logging_steps=10**9,
            optim="adamw_torch_fused", learning_rate=3e-4, weight_decay=0.1, adam_beta2=0.95,
            dataloader_num_workers=0, disable_tqdm=True,
        )  # fmt: skip
        Trainer(
            model=LlamaForCausalLM(config), args=arguments, train_dataset=rows, callbacks=[Marks()]
        ).train()
    return clock


def litgpt(job: dict[str, int], *, is_compiled: bool = False) -> Clock:
    """LitGPT's model under the loop of its `pretrain.fit`: Fabric and its chunked loss.

    Its own command compiles the model, always.
    """
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
    precision = "bf16-mixed" if job["precision"] == "bf16" else "32-true"
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision=precision)
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    if is_compiled:
        model = torch.compile(model)
    model = fabric.setup(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    optimizer = fabric.setup_optimizers(optimizer)
    ids = torch.from_numpy(ids_of(job))
    rows = job["micro_batch_tokens"] // job["sequence_tokens"]
    passes = job["batch_tokens"] // job["micro_batch_tokens"]
    place, clock = 0, Clock()
    for _ in range(job["steps"]):
        clock.begin()
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
        clock.end()
    return clock


def torchtitan(job: dict[str, int], *, is_compiled: bool = False) -> Clock:
    import torch
    from train_torchtitan import run

    clock = Clock()
    run(job, torch.from_numpy(ids_of(job)), clock.begin, clock.end, is_compiled=is_compiled)
    return clock


TRAINERS = {
    "tongwen": tongwen,
    "tongwen-compiled": partial(tongwen, is_compiled=True),
    "tongwen-sampled": partial(tongwen, samples=256),
    "tongwen-nanochat": partial(tongwen, is_nanochat=True),
    "hf-trainer": hf_trainer,
    "hf-trainer-compiled": partial(hf_trainer, is_compiled=True),
    "litgpt": litgpt,
    "litgpt-compiled": partial(litgpt, is_compiled=True),
    "torchtitan": torchtitan,
    "torchtitan-compiled": partial(torchtitan, is_compiled=True),
}


def peak_mib() -> float:
    """Largest resident set of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text()).group(1)) / 1024  # type: ignore[union-attr]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    clock = TRAINERS[sys.argv[1]](json.loads(sys.argv[2]))
    times = {name: getattr(clock, name) for name in ("wall_seconds", "processor_seconds")}
    print(json.dumps({**times, "peak_mib": peak_mib()}))
