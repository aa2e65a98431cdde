"""Settings of the whole suite, and a small model that the later stages share."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Our tests' tensors are tiny: a second thread costs more than it gives, and on a busy machine
# forty times more (tests/model/test_generate.py, 2 cores, 2026-11). Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# An example takes as long as the machine's other work lets it; the first may compile a kernel.
hypothesis.settings.register_profile("tongwen", deadline=None)
hypothesis.settings.load_profile("tongwen")

_LONGEST_FILES = (
    "train/test_parallel.py",
    "train/test_resume.py",
    "curate/test_fuzz.py",
    "flow/test_ray.py",
    "encode/test_encode_kill.py",
    "browser/test_chat_page.py",
    "curate/test_replay.py",
    "train/test_sampled_gradient.py",
    "flow/test_versions.py",
    "evaluate/test_evaluate_stage.py",
    "road/test_run_road.py",
    "curate/scorers/test_scoring_any_text.py",
    "curate/test_curate_stage.py",
    "curate/test_decontaminate.py",
    "encode/test_encode_stage.py",
    "tokenizer/test_tokenizer_bulk.py",
)
"""From the longest down, as measured on 2 cores, 2026-11."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first: workers that take a file at a time then end at about the same time."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session")
def run_async() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end in a thread of its own: once a test of the page has run, the
    browser's driver has a loop running in this one.
    """

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, coroutine).result()

    return run


@pytest.fixture(scope="session")
def small_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bilingual tokenizer of 400 pieces, whose rarer characters are spelt in bytes."""
    from tongwen.tokenizer.export import write_tokenizer_folder
    from tongwen.tokenizer.train import train_model

    texts = [
        f"The road number {number} is long, said the old man. 第{number}条路很长，老人说。"
        for number in range(60)
    ]
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_folder(train_model(texts, vocabulary_size=400), folder)
    return folder


@pytest.fixture(scope="session")
def small_model_folder(
    small_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A Hugging Face folder with random float32 weights and a window of 128 tokens."""
    import torch

    from tongwen.model.config import ModelConfig
    from tongwen.model.folder import save_model_folder
    from tongwen.model.llama import Llama

    config = ModelConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        rope_theta=10_000.0,
        initializer_range=0.3,
        vocabulary_size=400,
    )
    model = Llama(config)
    model.initialize(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model_folder(folder, model, small_tokenizer_folder, torch.float32)
    return folder
