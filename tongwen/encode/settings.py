"""Settings of the encode stage."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """From documents to token shards."""

    shard_tokens: int = 100_000_000
    validation_share: float = 0.01
    """Share of documents held out for validation, drawn by document id."""
