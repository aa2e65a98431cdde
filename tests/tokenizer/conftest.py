"""A small bilingual corpus and the tokenizer trained on it."""

import random
from pathlib import Path

import pytest

from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

ENGLISH = (
    "the river town of Halden keeps its assistants busy: every morning the users of the old "
    "market system open 24 stalls, sell 1,350 apples at $2.50, and close before the bells ring"
)
CHINESE = (
    "同文馆的学生每天早上学习翻译，《海国图志》一共有100卷；他们说：“读书要多想。”價錢是三十元！"
)
CODE = "def total(items):\n    return sum(item['price'] * 2 for item in items)  # ---- 合计\n"


def corpus() -> list[str]:
    """400 short texts: shuffled words and clauses, so that there are pairs to learn."""
    rng = random.Random(1862)
    words, characters = ENGLISH.split(), list(CHINESE)
    texts = []
    for _ in range(200):
        texts.append(" ".join(rng.choices(words, k=40)) + ".\n")
        texts.append("".join(rng.choices(characters, k=60)) + CHINESE + "  " + CODE)
    return texts


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return corpus()


@pytest.fixture(scope="session")
def model(texts: list[str]) -> bytes:
    return train_model(texts, vocabulary_size=900)


@pytest.fixture(scope="session")
def tokenizer(model: bytes) -> Tokenizer:
    return Tokenizer(model)


@pytest.fixture(scope="session")
def folder(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer_folder(model, path)
    return path
