"""What can be set when a scorer is trained."""

from dataclasses import asdict, dataclass
from typing import Any

from tongwen.errors import UsageError

KINDS = (
    "perplexity",
    "quality",
    "coherence",
    "safety",
    "topic",
    "clusters",
    "educational_grade",
    "quality_grade",
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of training; the defaults fit some tens of megabytes of text a class."""

    seed: int = 1862
    characters: int = 20_000_000
    """Taken of each label and language; the rest is left out, and counted."""
    piece_characters: int = 4_000
    """Longer texts are cut into pieces of about this length for training."""
    bucket_bits: int = 18
    """2^bits buckets for hashed n-grams."""
    epochs: int = 8
    fewest_pieces: int = 20
    """A language with fewer training pieces of a class gets no model."""
    crossed_below: int = 3_000
    """With fewer labelled pieces in a language, or a tenth of that in one class, quality and safety
    are calibrated and measured by five-fold cross-fitting, else on parts held out."""
    clusters: int = 64
    """For each language, at most a quarter of its pieces."""
    cluster_samples: int = 20
    """Documents shown for each cluster."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("characters", 1_000, 10**11), ("piece_characters", 200, 10**6),
            ("bucket_bits", 8, 24), ("epochs", 1, 1_000), ("fewest_pieces", 4, 10**9),
            ("crossed_below", 0, 10**9), ("clusters", 2, 100_000), ("cluster_samples", 1, 1_000),
            ("seed", 0, 2**63 - 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(
                    f"{name} is {value}", hint=f"use a whole number from {least} to {most}"
                )

    def to_json(self) -> dict[str, Any]:
        """As written to `scorer.json`."""
        return asdict(self)
