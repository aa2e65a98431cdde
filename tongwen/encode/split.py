"""Which documents are held out for validation."""

from collections.abc import Iterable, Mapping

from tongwen.formats.documents import draw

PURPOSE = "validation"
TRAIN = "train"
_GROUPS = {"zh-Hans": "zh", "zh-Hant": "zh"}


def language_group(language: str) -> str:
    """The language that validation counts a document under: both Chinese scripts are `zh`."""
    return _GROUPS.get(language, language)


def validation_thresholds(
    documents: Iterable[tuple[str, str]], validation_share: float
) -> dict[str, float]:
    """For each language group the draw below which a document is held out.

    It is `validation_share`, so that a document stays on its side when others come or go. Only
    where that would hold out nothing of a language, the document with the smallest draw is
    taken, unless it is the only one.

    Args:
        documents: (doc_id, language) of all documents.
        validation_share: 0 holds out nothing.
    """
    smallest: dict[str, float] = {}
    counts: dict[str, int] = {}
    for doc_id, language in documents:
        group = language_group(language)
        smallest[group] = min(smallest.get(group, 1.0), draw(doc_id, PURPOSE))
        counts[group] = counts.get(group, 0) + 1
    return {
        group: max(validation_share, smallest[group] + 2**-53)
        if counts[group] > 1 and validation_share
        else 0.0
        for group in sorted(counts)
    }


def split_of(doc_id: str, language: str, thresholds: Mapping[str, float]) -> str:
    """`train`, or `valid-LANGUAGE` for a document that is held out."""
    group = language_group(language)
    return f"valid-{group}" if draw(doc_id, PURPOSE) < thresholds[group] else TRAIN
