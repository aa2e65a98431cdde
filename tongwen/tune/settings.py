"""Settings of the tune stage."""

from dataclasses import dataclass

from tongwen.errors import RecipeError
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
    """What the model shall answer, likewise."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TrainSettings):
    """Supervised fine-tuning on ChatML dialogues; the loss counts the answers only."""

    dialogues: tuple[PathText, ...] = ()
    """JSONL files (also `.gz`, `.zst`) of `{"messages": [{"role": ..., "content": ...}, ...]}`.

    `{crawl}/...` names a file of the crawl stage.
    """
    pairs: tuple[PairSettings, ...] = ()
    """Files with other rows, and how to read them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixture is not None:
            raise RecipeError(
                f"tune.mixture is {dict(self.mixture)}, but dialogues have no known language",
                hint="leave it out",
            )
