"""How curation did against the gold labels of the sample world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TARGET = 0.95  # of the sample web: what the goals of the project say
_LABELS = ("good", "spam", "duplicate", "foreign", "broken")
_MOST_WRONG = 50  # all are counted; more would make the page slow


@dataclass(frozen=True)
class GoldRow:
    """One label, in all languages or in one.

    Attributes:
        language: empty for all of them.
        share: kept share of good pages, dropped share of the others.
    """

    label: str
    language: str
    pages: int
    share: float

    @property
    def is_met(self) -> bool:
        return self.share >= TARGET


@dataclass(frozen=True)
class Gold:
    """Rows in the order of the labels, each label before its languages."""

    rows: Sequence[GoldRow]
    similarity: Mapping[str, float] | None
    wrong: Sequence[Mapping[str, Any]]
    wrong_count: int

    def row(self, label: str) -> GoldRow | None:
        """The row of a label in all languages."""
        return next((row for row in self.rows if (row.label, row.language) == (label, "")), None)


def build_gold(data: Mapping[str, Any]) -> Gold:
    """The content of `score.json`; labels without pages are left out."""
    rows = []
    for key, value in data.items():
        label, _, language = key.partition(" ")
        if label in _LABELS and value["pages"]:
            share = value.get("kept_share", value.get("dropped_share"))
            rows.append(GoldRow(label, language, value["pages"], share))
    rows.sort(key=lambda row: (_LABELS.index(row.label), row.language))
    similarity = data.get("text_similarity") or {}
    wrong = data.get("wrong", [])
    return Gold(
        rows, similarity if similarity.get("pages") else None, wrong[:_MOST_WRONG], len(wrong)
    )
