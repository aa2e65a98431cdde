"""Settings of the tokenizer stage."""

from dataclasses import dataclass

from tongwen.errors import RecipeError
from tongwen.settings import PathText

SMALLEST_VOCABULARY = 512  # 14 special pieces and 256 bytes leave 242 to learn


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """SentencePiece BPE to Yi's specification."""

    vocabulary_size: int = 64_000
    """Pieces of the vocabulary, including the 14 special ones and the 256 bytes."""
    sample_bytes: int = 1 << 30
    """UTF-8 bytes of text to train on, at most, drawn by document id."""
    chinese_share: float | None = None
    """Share of Chinese bytes in that text; as in the documents when absent."""
    character_coverage: float = 0.9999
    """Share of the text's characters that get a piece of their own; the rest is spelt in bytes."""
    model: PathText | None = None
    """Folder of a model or tokenizer whose tokenizer is used, ours or any with
    `tokenizer.json`; nothing is trained then. When absent, the tokenizer of `pretrain.base`, if
    there is one."""
    compare_with: tuple[PathText, ...] = ()
    """Folders of other tokenizers or models, measured on the same texts in `report.json`."""

    def __post_init__(self) -> None:
        if self.vocabulary_size < SMALLEST_VOCABULARY:
            raise RecipeError(
                f"tokenizer.vocabulary_size is {self.vocabulary_size}",
                hint=f"use {SMALLEST_VOCABULARY} or more; Yi has 64000",
            )
        if self.sample_bytes < 1:
            raise RecipeError(
                f"tokenizer.sample_bytes is {self.sample_bytes}", hint="use 1000000 or more"
            )
        if self.chinese_share is not None and not 0 <= self.chinese_share <= 1:
            raise RecipeError(
                f"tokenizer.chinese_share is {self.chinese_share}", hint="use a share from 0 to 1"
            )
        if not 0.9 <= self.character_coverage <= 1:
            raise RecipeError(
                f"tokenizer.character_coverage is {self.character_coverage}",
                hint="use a share from 0.9 to 1, such as 0.9999",
            )
