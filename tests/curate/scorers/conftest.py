"""Files of small texts to train scorers on."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for scorer_texts; importlib mode adds no path

from scorer_texts import made_text, write_texts

TopicFile = Callable[..., Path]


@pytest.fixture
def topic_file(tmp_path: Path) -> TopicFile:
    """`topic_file(topic, number)`: a JSONL file of texts on one topic in both languages."""

    def make(topic: str, number: int = 80, name: str | None = None) -> Path:
        rows: list[dict[str, object]] = [
            {"text": made_text(language, topic, place), "lang": tag, "label": topic}
            for language, tag in (("en", "en"), ("zh", "zh-Hans"))
            for place in range(number)
        ]
        return write_texts(tmp_path / f"{name or topic}.jsonl", rows)

    return make
