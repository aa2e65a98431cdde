"""What a process of `processes.curves` does: train a tiny model once for each layout, in turn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.flow.group import is_first_process
from tongwen.model.config import ModelConfig
from tongwen.progress import Progress
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import read_metrics
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.settings import CompletePSettings, TrainSettings
from tongwen.train.weights import InitialWeights

CONFIG = ModelConfig(
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=8,
    max_position_embeddings=64,
    rope_theta=10_000.0,
    vocabulary_size=96,
    qk_norm=True,
)
SETTINGS = TrainSettings(
    max_tokens=1_024,
    sequence_tokens=64,
    batch_tokens=256,
    micro_batch_tokens=64,
    peak_learning_rate=1e-2,
    warmup_share=0.0,
    gradient_clip=0.5,
    z_loss=1e-4,
    evaluate_every_steps=4,
    checkpoint_every_steps=3,
    device="cpu",
    precision="fp32",
)


def documents() -> Documents:
    """Random ids in documents of 3 to 150 tokens, a quarter of them not to be learnt."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(3, 150, 120)
    starts = np.concatenate([[0], np.cumsum(tokens)[:-1]])
    ids = generator.integers(3, CONFIG.vocabulary_size, int(tokens.sum())).astype(np.uint16)
    wanted = generator.random(len(ids)) < 0.75
    return Documents((ids,), starts, tokens, wanted, "random", utf8_bytes=3 * len(ids))


def run(layout: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """Train with the layout's degrees and other changed settings; the rows of its metrics."""
    changed = {key: value for key, value in layout.items() if key in TrainSettings.__annotations__}
    degrees = {key: layout[key] for key in ParallelSettings.__annotations__ if key in layout}
    settings = replace(SETTINGS, parallel=ParallelSettings(**degrees), **changed)
    if layout.get("scaled"):
        base = CompletePSettings(base_hidden_size=16, base_layers=2)
        settings = replace(settings, complete_p=base)
    return run_with(settings, out, tied=layout.get("tied", False))


def run_with(settings: TrainSettings, out: Path, *, tied: bool = False) -> list[dict[str, Any]]:
    """Train the tiny model; the rows of its metrics."""
    config = replace(CONFIG, tie_word_embeddings=tied)
    data = documents()
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text("{}")
    job = Job(
        "test",
        settings,
        InitialWeights(config, settings),
        PackedSequences(
            data,
            settings.sequence_tokens,
            seed=1,
            separate_documents=settings.separate_documents,
        ),
        {"en": ValidationSet.of(data, settings.sequence_tokens, max_tokens=64 * 7)},
        out,
        out,
        Progress(),
    )
    train(job)
    return read_metrics(out / "metrics.jsonl")


def run_all(out: Path, layouts: list[dict[str, Any]]) -> None:
    """Train once for each layout, and write down the rows of each."""
    found = [run(layout, out / str(number)) for number, layout in enumerate(layouts)]
    if is_first_process():
        (out / "curves.json").write_text(json.dumps(found))
