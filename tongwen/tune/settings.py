"""Settings of the tune stage."""

from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.settings import PathText
from tongwen.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A file whose rows become dialogues of one question and one answer."""

    path: PathText
    """JSON Lines (also `.gz`, `.zst`), a JSON array, CSV, TSV or Parquet; `{crawl}/...` names a
    file of the crawl stage."""
    question: str
    """What the user says; `{field}` stands for a field of the row, as in `"Translate: {en}"`. A
    number is written as text."""
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
    """JSON Lines (also `.gz`, `.zst`), JSON arrays, CSV, TSV or Parquet of dialogues in any common
    layout: `messages`, ShareGPT, Alpaca, prompt/completion, question/answer.

    `{crawl}/...` names a file of the crawl stage.
    """
    pairs: tuple[PairSettings, ...] = ()
    """Files with other rows, and how to read them."""
    documents: tuple[PathText, ...] = ()
    """Markdown or text files, folders or patterns: each heading is asked about, the paragraph below
    it is the answer. A rule, without a model; `tongwen tune make-dialogues` asks one."""
    conversations: bool = False
    """Also learn from general dialogues in both languages that come with Tongwen: greetings,
    refusals, follow-ups, lists."""
    epochs: float | None = None
    """Passes over the dialogues, if `max_tokens` allows them; absent, `max_tokens` decides."""
    held_out_share: float = 0.02
    """Share of the dialogues that are not learnt but measure the loss on answers, drawn by content;
    nothing when that is less than two dialogues."""
    keep_empty_answers: bool = False
    """Learn from answers without a character too: the model learns to end at once."""
    maximum_bad_rows: float = 0.01
    """Share of the rows of a file that may be malformed; they are left out and counted."""

    @property
    def has_dialogues(self) -> bool:
        """Whether anything is named to learn from."""
        return bool(self.dialogues or self.pairs or self.documents or self.conversations)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs is not None and not self.epochs > 0:
            raise RecipeError(f"epochs is {self.epochs}", hint="use a number greater than 0")
        if not 0 <= self.held_out_share <= 0.5:
            raise RecipeError(
                f"held_out_share is {self.held_out_share}", hint="use a number from 0 to 0.5"
            )
        if not 0 <= self.maximum_bad_rows <= 1:
            raise RecipeError(
                f"maximum_bad_rows is {self.maximum_bad_rows}", hint="use a number from 0 to 1"
            )
