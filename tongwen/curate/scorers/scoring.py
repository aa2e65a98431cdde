"""All scorers on one text: the hashing pass is made once and shared."""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from tongwen.curate.scorers.clusters import ClusterScorer
from tongwen.curate.scorers.coherence import CoherenceScorer
from tongwen.curate.scorers.folder import ScorerFolder, refuse_twins
from tongwen.curate.scorers.grades import GRADED, GradeScorer
from tongwen.curate.scorers.hashing import Units, scorer_units
from tongwen.curate.scorers.perplexity import PerplexityScorer
from tongwen.curate.scorers.quality import QualityScorer
from tongwen.curate.scorers.safety import SafetyScorer
from tongwen.curate.scorers.samples import language_group
from tongwen.curate.scorers.topic import TopicScorer
from tongwen.curate.text.prose import prose

SCORE_SCHEMA = pa.schema(
    [
        ("perplexity", pa.float64()),  # 2^(bits per character)
        ("perplexity_percentile", pa.float64()),  # 0 to 100, of reference text of that length
        ("quality", pa.float64()),  # probability, 0 to 1
        ("coherence", pa.float64()),  # probability, 0 to 1
        ("safety_level", pa.int8()),  # 0 to 3, 3 is worst
        ("safety_score", pa.float64()),  # 0 to 1, 1 is worst
        ("topic", pa.string()),
        ("topic_confidence", pa.float64()),  # probability, 0 to 1
        ("cluster", pa.int32()),
        *((name, pa.float64()) for name in GRADED),  # 0 to 5
    ]
)
"""The values of all scorers; null where a text is not scored."""

_CLASSES: dict[str, Any] = {
    "perplexity": PerplexityScorer,
    "quality": QualityScorer,
    "coherence": CoherenceScorer,
    "safety": SafetyScorer,
    "topic": TopicScorer,
    "clusters": ClusterScorer,
    **dict.fromkeys(GRADED, GradeScorer),
}


class Scorer(Protocol):
    """What every kind of scorer offers."""

    def score(self, text: str, units: Units, language: str) -> dict[str, Any]:
        """Columns of `SCORE_SCHEMA` for one text, as many as can be told."""
        ...


def scorer_of(folder: ScorerFolder) -> Scorer:
    """The scorer of a folder, ready to score."""
    scorer: Scorer = _CLASSES[folder.kind](folder)
    return scorer


class Scorers:
    """Scorers of different kinds.

    Raises:
        UsageError: two are of one kind and would write the same columns.
    """

    def __init__(self, folders: Sequence[ScorerFolder]) -> None:
        refuse_twins(folders)
        self._scorers = [scorer_of(folder) for folder in folders]

    def score(self, text: str, lang: str) -> dict[str, Any]:
        """The values for one text in `lang` (`en`, `zh-Hans`, `zh-Hant`); none for any other."""
        language = language_group(lang)
        if language is None or not text.strip():
            return {}
        text = prose(text)
        units = scorer_units(text)
        values: dict[str, Any] = {}
        for scorer in self._scorers:
            values |= scorer.score(text, units, language)
        return values
