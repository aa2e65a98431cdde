"""How the values of each rule are spread, beside its threshold: what a looser one would give."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tongwen.curate.rules.decide import (
    OWN_STAGES,
    column_values,
    own_rules,
    rule_sets,
    section_outcomes,
)
from tongwen.curate.rules.rule import Rule

BINS = 40  # as many as a small chart can show; moving a threshold needs no finer ones
_COUNTED = ("documents", "outside", "alone", "alone_characters")
_COUNT_EXPONENTS = (-1.0, 7.0)


def edges_of(value: str) -> np.ndarray[Any, Any]:
    """The bins of a value, of shape (BINS + 1,): even ones from 0 to 1 for shares, rates and
    probabilities and to 100 for percentiles, powers of ten from 0.1 to 10 million for counts and
    lengths. The first and last take in what lies outside.
    """
    if value.endswith("_percentile"):
        return np.linspace(0.0, 100.0, BINS + 1)
    if "_per_" in value or value.endswith(("_share", "_score", "quality", "coherence")):
        return np.linspace(0.0, 1.0, BINS + 1)
    return np.logspace(*_COUNT_EXPONENTS, BINS + 1)


def histograms(attributes: pa.Table, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each rule of each section of the settings how many documents lie in each bin.

    Counts all documents with a text in a language that is kept, whatever their decision.

    Args:
        attributes: the joined table of some records.
        parameters: those of the decisions (`rules.decision_parameters`).
    """
    attributes = attributes.filter(pc.field("problem").is_null())
    chosen = rule_sets(attributes, parameters)
    characters = column_values(attributes, "characters")
    rows = []
    for section in sorted(set(chosen.tolist())):
        here = chosen == section
        for outcome in section_outcomes(section, attributes, parameters):
            alone = here & outcome.alone
            rows.append(
                _row(section, outcome.rule, outcome.values[here])
                | {"alone": int(alone.sum()), "alone_characters": int(characters[alone].sum())}
            )
    return rows + [
        _row(section, rule, column_values(attributes, rule.value))
        for section in OWN_STAGES
        for rule in own_rules(parameters[section])
    ]


def _row(section: str, rule: Rule, values: npt.NDArray[np.float64]) -> dict[str, Any]:
    values = values[~np.isnan(values)]
    edges = edges_of(rule.value)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    return {
        "section": section,
        "rule": rule.name,
        "threshold": rule.threshold,
        "documents": len(values),
        "outside": int(rule.is_outside(values).sum()),
        "alone": 0,
        "alone_characters": 0,
        "counts": counts.tolist(),
    }


def merged_histograms(parts: Iterable[Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The sums over all tasks, in the order of section and rule; with the bins' edges."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for part in parts:
        for row in part:
            whole = sums.setdefault(
                (row["section"], row["rule"]),
                {**row, **dict.fromkeys(_COUNTED, 0), "counts": [0] * BINS},
            )
            for name in _COUNTED:
                whole[name] += row[name]
            pairs = zip(whole["counts"], row["counts"], strict=True)
            whole["counts"] = [first + second for first, second in pairs]
    return [
        {**row, "edges": edges_of(row["rule"].partition("_")[2]).tolist()}
        for _, row in sorted(sums.items())
    ]
