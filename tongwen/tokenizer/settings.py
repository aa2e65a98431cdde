"""Settings of the tokenizer stage."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """SentencePiece BPE to Yi's specification."""

    vocabulary_size: int = 64_000
    sample_bytes: int = 1 << 30
    """UTF-8 bytes of text to train on, at most, drawn by document id."""
    chinese_share: float | None = None
    """Share of Chinese bytes in that text; as in the documents when absent."""
