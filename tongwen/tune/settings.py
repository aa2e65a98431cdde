"""Settings of the tune stage."""

from dataclasses import dataclass

from tongwen.recipe.types import PathText
from tongwen.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TrainSettings):
    """Supervised fine-tuning on ChatML dialogues; the loss counts the answers only."""

    dialogues: tuple[PathText, ...] = ()
    """JSONL files of `{"messages": [{"role": ..., "content": ...}, ...]}`.

    `{crawl}/...` names a file of the crawl stage.
    """
