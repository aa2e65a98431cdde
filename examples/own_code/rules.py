"""A quality rule: a value of one document. The recipe sets its thresholds."""

import re

from tongwen.plugins import Document, rule

_ENDS = re.compile(r"[.!?。！？]+")


@rule(languages=["en", "zh-Hans", "zh-Hant"])
def shouting(document: Document) -> float | None:
    """Share of the sentences that end with an exclamation mark; None without sentences."""
    ends = _ENDS.findall(document.text)
    if not ends:
        return None
    return sum("!" in end or "！" in end for end in ends) / len(ends)
