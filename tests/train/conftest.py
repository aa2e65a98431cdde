"""A tiny corpus of shards and a recipe that trains on it in a second."""

import sys
from pathlib import Path

import pytest

from tongwen.formats.shards import shard_writer
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path

RECIPE = """
[run]
name = "tiny"
[model]
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
head_dim = 8
max_position_embeddings = 64
rope_theta = 10_000.0
[pretrain]
max_tokens = 30_720
sequence_tokens = 64
batch_tokens = 512
micro_batch_tokens = 256
peak_learning_rate = 3e-3
checkpoint_every_steps = 5
evaluate_every_steps = 20
[extend]
max_tokens = 5_120
sequence_tokens = 128
batch_tokens = 512
rope_theta = 50_000.0
peak_learning_rate = 1e-3
[tune]
max_tokens = 40_960
sequence_tokens = 64
batch_tokens = 512
peak_learning_rate = 5e-3
"""

TEXTS = {
    "en": [
        f"Road {number} is long, said the old man, and he walked on. 🚶" for number in range(40)
    ],
    "zh": [f"第{number}条路很长，老人说，他继续往前走。“好！”" for number in range(40)],
}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def shards_folder(small_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    folder = tmp_path_factory.mktemp("shards")
    contents = {
        "train-00000": [("en", text) for text in TEXTS["en"][4:]],
        "train-00001": [("zh-Hans", text) for text in TEXTS["zh"][4:]],
        "valid-en-00000": [("en", text) for text in TEXTS["en"][:4]],
        "valid-zh-00000": [("zh-Hans", text) for text in TEXTS["zh"][:4]],
    }
    for name, documents in contents.items():
        with shard_writer(
            folder / f"{name}.shard",
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
        ) as writer:
            for language, text in documents:
                writer.append(
                    [*tokenizer.encode(text), EOS_ID],
                    language=language,
                    utf8_bytes=len(text.encode()),
                )
    return folder
