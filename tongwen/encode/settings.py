"""Settings of the encode stage."""

from dataclasses import dataclass

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class EncodeSettings:
    """From documents to token shards."""

    shard_tokens: int = 100_000_000
    """A training shard ends with the document that reaches this many tokens."""
    validation_share: float = 0.01
    """Share of documents held out for validation, drawn by document id."""

    def __post_init__(self) -> None:
        if self.shard_tokens < 1:
            raise RecipeError(
                f"encode.shard_tokens is {self.shard_tokens}", hint="use 1000000 or more"
            )
        if not 0 <= self.validation_share <= 0.5:
            raise RecipeError(
                f"encode.validation_share is {self.validation_share}",
                hint="use a share from 0 to 0.5, such as 0.01",
            )
