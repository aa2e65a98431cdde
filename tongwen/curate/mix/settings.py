"""Settings of the mix: which documents go into training, how often, and in what proportion."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class WeightSettings:
    """How often documents of one kind are wanted."""

    when: str
    """Expression over attributes, such as `quality_decile >= 9 and language == "zh"`."""
    weight: float
    """Copies wanted: 0.5 is every other document, 2 is two copies, 0 none."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1_000:
            raise RecipeError(
                f"the weight of `{self.when}` is {self.weight}", hint="use a number from 0 to 1000"
            )


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """A column of buckets: scores ranked within each language, the best of several counts."""

    columns: tuple[str, ...]
    """Columns of numbers, such as `["educational_grade", "quality"]`; `-` before a name ranks low
    values high. A document's bucket is the highest that any of them gives it (ensemble by maximum,
    Nemotron-CC, Su et al. 2024, arXiv 2412.02595)."""
    number: int = 20
    """Buckets that hold equally many documents by each column; 1 is the lowest."""

    def __post_init__(self) -> None:
        if not self.columns:
            raise RecipeError("a bucket names no columns", hint='columns = ["quality"]')
        if not 2 <= self.number <= 1_000:
            raise RecipeError(f"number is {self.number}", hint="use 2 to 1000 buckets")


@dataclass(frozen=True, kw_only=True)
class MixSettings:
    """From clean documents to the training mixture, in random order."""

    keep_if: str | None = None
    """Expression over attributes; documents for which it is false are left out."""
    weights: tuple[WeightSettings, ...] = ()
    """The weights of all expressions that hold for a document are multiplied."""
    buckets: Mapping[str, BucketSettings] = field(default_factory=dict)
    """Buckets of scores by name, `[curate.mix.buckets.NAME]`: NAME is a column of numbers for the
    expressions above, and a column that `share_by` may name."""
    weight_by_cluster_size: bool = False
    """Also multiply by 1, 2, 3, 5, 8 and 1 for documents that stand for 1, 2, 3-4, 5-99, 100-999
    and more near duplicates (FineWeb-2, Penedo et al. 2025, arXiv 2506.20920)."""
    share_by: str = "language"
    """Text column whose values are given shares: `language` (en, zh, code), `source`, `topic`;
    or the name of buckets, whose values are "1", "2" and so on, "" without a score."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the tokens for each value of `share_by`; they need not add up to 1."""
    equal_shares: bool = False
    """The same share for every value (UniMax, Chung et al. 2023, arXiv 2304.09151)."""
    tokens: int | None = None
    """Tokens wanted; when absent as many as the weights give."""
    maximum_epochs: float = 4.0
    """No document is used more often than this; other values of `share_by` make up the
    difference."""
    characters_per_token: Mapping[str, float] = field(
        default_factory=lambda: {"en": 4.4, "zh-Hans": 1.5, "zh-Hant": 1.4, "code": 3.2}
    )
    """Characters of a token in each language, for estimating tokens."""
    seed: int = 1862
    """Seed of the draw and of the order."""
    file_bytes: int = 128 << 20
    """Bytes of text in an output file, approximately."""

    def __post_init__(self) -> None:
        for name in self.buckets:
            if not name.isidentifier():
                raise RecipeError(
                    f"curate.mix.buckets has {name!r}", hint="use letters, digits and _"
                )
        if self.equal_shares and self.shares:
            raise RecipeError(
                "curate.mix has both `shares` and `equal_shares`", hint="leave one of them out"
            )
        if self.shares and not sum(self.shares.values()) > 0:
            raise RecipeError("the shares of curate.mix add up to nothing", hint="use numbers > 0")
        for name, values in (("shares", self.shares), ("weight", self.characters_per_token)):
            for key, value in values.items():
                least = 0 if name == "shares" else 0.1
                if not least <= value < float("inf"):
                    raise RecipeError(
                        f"curate.mix has {value} for {key!r}", hint=f"use {least} or more"
                    )
        if self.tokens is not None and self.tokens < 1:
            raise RecipeError(f"curate.mix.tokens is {self.tokens}", hint="use 1 or more")
        if not 0 < self.maximum_epochs <= 1_000:
            raise RecipeError(
                f"curate.mix.maximum_epochs is {self.maximum_epochs}", hint="use 4 or so"
            )
        if self.file_bytes < 1 << 10:
            raise RecipeError(f"curate.mix.file_bytes is {self.file_bytes}", hint="use 134217728")
