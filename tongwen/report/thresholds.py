"""The values of every rule as a histogram, with its threshold: what a looser one would keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from tongwen.report.words import number

_WIDTH, _HEIGHT = 200, 36


@dataclass(frozen=True)
class RuleValues:
    """One rule.

    Attributes:
        rule: name of its setting; the threshold is what it was set to.
        documents: how many have the value.
        outside: how many the rule would drop if it were the only one.
        alone: how many would stay without the rule.
        alone_characters: of those.
        good_outside: good pages, by the gold labels, among those outside; None without labels.
        chart: the histogram; bars outside the threshold in the colour of what is taken.
        low: value at the left end of the chart.
        high: value at the right end.
    """

    rule: str
    threshold: float
    documents: int
    outside: int
    alone: int
    alone_characters: int
    good_outside: int | None
    chart: Markup
    low: str
    high: str


def build_thresholds(
    rows: Sequence[Mapping[str, Any]], gold: Mapping[str, Any] | None = None
) -> list[tuple[str, list[RuleValues]]]:
    """The rules of `histograms.json` by section, in its order; empty histograms are left out.

    Args:
        rows: of the histograms.
        gold: content of `score.json`, where the crawl has labels.
    """
    measured = [row for row in rows if row["documents"]]
    good = (gold or {}).get("good_outside")
    return [
        (section, [_rule_values(row, good) for row in group])
        for section, group in groupby(measured, key=lambda row: str(row["section"]))
    ]


def _rule_values(row: Mapping[str, Any], good: Mapping[str, int] | None) -> RuleValues:
    counts, edges = row["counts"], row["edges"]
    filled = [place for place, count in enumerate(counts) if count]
    low, high = max(0, filled[0] - 1), min(len(counts), filled[-1] + 2)
    return RuleValues(
        rule=row["rule"],
        threshold=row["threshold"],
        documents=row["documents"],
        outside=row["outside"],
        alone=row.get("alone", 0),
        alone_characters=row.get("alone_characters", 0),
        good_outside=None if good is None else good.get(f"{row['section']}.{row['rule']}", 0),
        chart=_chart(row, low, high),
        low=number(edges[low]),
        high=number(edges[high]),
    )


def _chart(row: Mapping[str, Any], low: int, high: int) -> Markup:
    """Bars of the bins `low` to `high`, heights by their square root so that small ones show."""
    counts, edges, threshold = row["counts"][low:high], row["edges"], row["threshold"]
    is_minimum = row["rule"].startswith("minimum_")
    width = _WIDTH / len(counts)
    most = max(counts) ** 0.5
    bars = []
    for place, count in enumerate(counts):
        first, last = edges[low + place], edges[low + place + 1]
        is_outside = last <= threshold if is_minimum else first >= threshold
        height = _HEIGHT * count**0.5 / most
        bars.append(
            Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
                "taken" if is_outside else "ink",
                f"{place * width:.2f}",
                f"{_HEIGHT - height:.2f}",
                f"{width * 0.9:.2f}",
                f"{height:.2f}",
            )
        )
    return Markup(
        '<svg class="histogram" viewBox="0 0 {} {}" preserveAspectRatio="none" '
        'aria-hidden="true">{}</svg>'
    ).format(_WIDTH, _HEIGHT, Markup("").join(bars))
