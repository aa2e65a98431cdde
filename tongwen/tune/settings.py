"""Settings of the tune stage."""

from dataclasses import dataclass

from tongwen.settings import PathText
from tongwen.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A file whose rows become dialogues of one question and one answer."""

    path: PathText
    """JSONL, also `.gz` or `.zst`; `{crawl}/...` names a file of the crawl stage."""
    question: str
    """What the user says; `{field}` stands for a field of the row, as in `"Translate: {en}"`."""
    answer: str
    """What the model is to answer, likewise."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TrainSettings):
    """Supervised fine-tuning on ChatML dialogues; the loss counts the answers only."""

    # Other defaults than pretraining's: dialogues are few, and a trained model is moved gently.
    batch_tokens: int = 32_768
    peak_learning_rate: float = 2e-5
    weight_decay: float = 0.0
    dialogues: tuple[PathText, ...] = ()
    """JSONL files (also `.gz`, `.zst`) of `{"messages": [{"role": ..., "content": ...}, ...]}`.

    `{crawl}/...` names a file of the crawl stage.
    """
    pairs: tuple[PairSettings, ...] = ()
    """Files with other rows, and how to read them."""
