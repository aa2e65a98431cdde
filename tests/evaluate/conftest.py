"""A tiny random model with a bilingual tokenizer."""

from pathlib import Path

import pytest
import torch

from tongwen.model.config import ModelConfig
from tongwen.model.folder import save_model_folder
from tongwen.model.llama import Llama
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

TEXTS = [
    "The river town of Halden sells 1,350 apples and opens before the bells ring. Answer: yes.\n",
    "Question: where does the old market close? Goal: how do you carry water uphill?\n",
    "问题：同文馆的学生每天早上学习什么？答案：翻译。他们说：“读书要多想。”價錢是三十元！\n",
] * 30


@pytest.fixture(scope="session")
def tokenizer_bytes() -> bytes:
    return train_model(TEXTS, vocabulary_size=420)


@pytest.fixture(scope="session")
def tokenizer(tokenizer_bytes: bytes) -> Tokenizer:
    return Tokenizer(tokenizer_bytes)


@pytest.fixture(scope="session")
def model(tokenizer: Tokenizer) -> Llama:
    config = ModelConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=160,
        initializer_range=0.3,
        vocabulary_size=tokenizer.vocabulary_size,
    )
    model = Llama(config)
    model.initialize(seed=7)
    return model.eval()


@pytest.fixture(scope="session")
def model_folder(
    model: Llama, tokenizer_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("evaluate")
    write_tokenizer_folder(tokenizer_bytes, root / "tokenizer")
    save_model_folder(root / "model", model, root / "tokenizer", dtype=torch.float32)
    return root / "model"
