"""Settings of the tune stage."""

from dataclasses import dataclass

from tongwen.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TrainSettings):
    """Supervised fine-tuning on ChatML dialogues; the loss counts the answers only."""

    dialogues: tuple[str, ...] = ()
    """JSONL files of `{"messages": [{"role": ..., "content": ...}, ...]}`; `{crawl}/...` is allowed."""
