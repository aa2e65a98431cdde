"""Settings of the whole suite, and a small model that the later stages share."""

import os
from pathlib import Path

import pytest

# Our tests' tensors are tiny: a second thread costs more than it gives, and on a busy machine
# forty times more (tests/model/test_generate.py, 2 cores, 2026-11). Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
