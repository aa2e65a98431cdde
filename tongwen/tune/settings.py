"""Settings of the tune stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.settings import PathText
from tongwen.train.adapters.settings import LoraSettings
from tongwen.train.settings import TrainSettings
from tongwen.tune.preferences.settings import DpoSettings

_RATES = {
    (False, False): 2e-5,
    (False, True): 2e-4,
    (True, False): 1e-6,
    (True, True): 2e-5,
}
"""Peak learning rate by whether preferences are learnt and whether adapters are trained."""


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
    """What the model should answer, written likewise."""


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TrainSettings):
    """Tuning on dialogues, where the loss counts the answers only, or on preference pairs."""

    # Other defaults than pretraining's: dialogues are few, and a trained model is moved gently.
    batch_tokens: int = 32_768
    peak_learning_rate: float = 0.0
    """Learning rate after warm-up. 0 is 2e-5, with adapters 2e-4; for preference pairs 1e-6, with
    adapters 2e-5."""
    weight_decay: float = 0.0
    dialogues: tuple[PathText, ...] = ()
    """JSON Lines (also `.gz`, `.zst`), JSON arrays, CSV, TSV or Parquet of dialogues in any common
    layout: `messages`, ShareGPT, Alpaca, prompt/completion, question/answer.

    `{crawl}/...` names a file of the crawl stage.
    """
    pairs: tuple[PairSettings, ...] = ()
    """Files with other rows, and how to read them."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """File name -> how often an epoch has each of its dialogues; 1 for files that are not
    named. 0.5 takes every second one, drawn by content; 2 takes all of them twice."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights; an empty `[tune.lora]` takes the defaults."""
    base_weights: Literal["auto", "fp32", "bf16", "int8", "int4"] = "auto"
    """How the frozen weights under adapters are held; `auto` is what `precision` computes in. With
    `int8` and `int4` the layers' projections are rounded (QLoRA, Dettmers et al. 2023,
    arXiv:2305.14314)."""
    dpo: DpoSettings | None = None
    """Learn from preference pairs; `dialogues` then names files of pairs."""
    early_stop: int | None = None
    """Stop after this many measurements of the held-out loss in a row, every
    `evaluate_every_steps`, without a smaller one, and keep the weights with the smallest."""
    plain_text: tuple[PathText, ...] = ()
    """Text files in place of the encode stage's documents: a tenth of them measures what tuning
    forgets, the rest is for `replay_share`."""
    replay_share: float = 0.0
    """Share of the sequences that are plain text and not dialogues, so that less is forgotten."""
    documents: tuple[PathText, ...] = ()
    """Markdown or text files, folders or patterns: each heading is asked about, the paragraph below
    it is the answer. A rule, without a model; `tongwen tune make-dialogues` asks one."""
    conversations: bool = False
    """Also learn from general dialogues in both languages that come with Tongwen: greetings,
    refusals, follow-ups, lists."""
    epochs: float | None = None
    """Passes over the dialogues, within `max_tokens`; when absent, `max_tokens` decides."""
    held_out_share: float = 0.02
    """Share of the dialogues held out to measure the loss on answers, drawn by content; none
    when that is fewer than two dialogues."""
    keep_empty_answers: bool = False
    """Learn from empty answers too: the model learns to end at once."""
    maximum_bad_rows: float = 0.01
    """Share of the rows of a file that may be malformed; they are left out and counted."""

    @property
    def has_dialogues(self) -> bool:
        """Whether anything is named to learn from."""
        return bool(self.dialogues or self.pairs or self.documents or self.conversations)

    def __post_init__(self) -> None:
        if self.peak_learning_rate == 0:
            rate = _RATES[self.dpo is not None, self.lora is not None]
            object.__setattr__(self, "peak_learning_rate", rate)
        super().__post_init__()
        self._check_methods()
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

    def _check_methods(self) -> None:
        """Refuse what does not go together.

        Raises:
            RecipeError: with the keys.
        """
        if self.base_weights != "auto" and self.lora is None:
            raise RecipeError(
                f"base_weights is {self.base_weights!r}, but all weights are trained",
                hint="add [tune.lora] to train adapters on a frozen base",
            )
        if self.lora is not None and self.complete_p is not None:
            raise RecipeError(
                "complete_p scales weights that [tune.lora] does not train",
                hint="leave out one of the two",
            )
        if self.early_stop is not None and self.early_stop < 1:
            raise RecipeError(f"early_stop is {self.early_stop}", hint="use 1 or more")
        if self.early_stop is not None and not self.held_out_share:
            raise RecipeError(
                "early_stop needs held-out dialogues, but held_out_share is 0",
                hint="held_out_share = 0.02",
            )
        if not 0 <= self.replay_share <= 0.9:
            raise RecipeError(
                f"replay_share is {self.replay_share}", hint="use a number from 0 to 0.9"
            )
        for name, weight in self.weights.items():
            if not 0 < weight <= 1_000:
                raise RecipeError(
                    f"weights.{name} is {weight}", hint="use a number greater than 0, such as 2"
                )
        if self.dpo is None:
            return
        for name, is_set in (
            ("pairs", bool(self.pairs)),
            ("replay_share", self.replay_share > 0),
            ("weights", bool(self.weights)),
        ):
            if is_set:
                raise RecipeError(
                    f"{name} is for dialogues, and [tune.dpo] learns from preference pairs",
                    hint=f"leave {name} or [tune.dpo] out",
                )
