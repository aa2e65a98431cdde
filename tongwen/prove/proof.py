"""What the proxies showed: bits per byte with intervals, and whether their order is the score's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongwen.evaluate.statistics import student_quantile

if TYPE_CHECKING:  # the report reads proofs without the packages that make them
    from tongwen.prove.groups import Group, Question

PROOFS = "proofs"
"""Folder in the run directory, or beside a curate stage that ran alone."""
PROOF = "proof.json"
PAGE = "proof.md"


@dataclass(frozen=True)
class Outcome:
    """Of one group in one language.

    Attributes:
        mean: bits per byte over the seeds.
        reach: half the width of the 95 % interval; None with a single seed of every group.
    """

    mean: float
    reach: float | None


def proof_of(
    question: "Question", groups: "Sequence[Group]", rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The result as JSON.

    The deviation of a run is pooled over the groups of a language. `agreement` is Spearman's and
    Kendall's rank correlation of score and loss, counted so that 1 means that every better bucket
    lowers the loss; only a score has it. `difference` is the last group minus the first.
    """
    languages = sorted(rows[0]["bits_per_byte"])
    by_group = {group.name: [row for row in rows if row["group"] == group.name] for group in groups}
    result: dict[str, Any] = {
        "question": {"kind": question.kind, "name": question.name, "threshold": question.threshold},
        "title": question.title,
        "parameters": rows[0]["parameters"],
        "tokens": rows[0]["tokens"],
        "seeds": min(len(found) for found in by_group.values()),
        "languages": {},
    }
    for language in languages:
        values = [
            [row["bits_per_byte"][language] for row in by_group[group.name]] for group in groups
        ]
        outcomes = outcomes_of(values)
        first, last = outcomes[0], outcomes[-1]
        both = None
        if first.reach is not None and last.reach is not None:
            both = math.hypot(first.reach, last.reach)
        result["languages"][language] = {
            "groups": [
                {
                    "name": group.name,
                    "documents": len(group.ids[language]),
                    "score": None if group.score is None else group.score[language],
                    "epochs": max(row["epochs"][language] for row in by_group[group.name]),
                    "bits_per_byte": outcome.mean,
                    "reach": outcome.reach,
                }
                for group, outcome in zip(groups, outcomes, strict=True)
            ],
            "difference": {"value": last.mean - first.mean, "reach": both},
            "agreement": agreement([outcome.mean for outcome in outcomes])
            if question.kind == "score"
            else None,
        }
    return result


def outcomes_of(values: Sequence[Sequence[float]]) -> list[Outcome]:
    """Means of groups with 95 % intervals by Student's t, the deviation pooled over the groups."""
    means = [math.fsum(group) / len(group) for group in values]
    freedom = sum(len(group) - 1 for group in values)
    if not freedom:
        return [Outcome(mean, None) for mean in means]
    squares = math.fsum(
        (value - mean) ** 2 for group, mean in zip(values, means, strict=True) for value in group
    )
    deviation = math.sqrt(squares / freedom)
    reach = student_quantile(0.975, freedom) * deviation
    return [
        Outcome(mean, reach / math.sqrt(len(group)))
        for group, mean in zip(values, means, strict=True)
    ]


def agreement(losses: Sequence[float]) -> dict[str, float]:
    """Rank correlations of buckets, the worst first, with what they save.

    Spearman 1904; Kendall 1938, tau-b.
    """
    from scipy.stats import kendalltau, spearmanr

    places = list(range(len(losses)))
    gains = [-loss for loss in losses]
    return {
        "spearman": float(spearmanr(places, gains).statistic),
        "kendall": float(kendalltau(places, gains).statistic),
    }


def page_of(proof: Mapping[str, Any], command: str) -> str:
    """The result as Markdown.

    Args:
        proof: `proof_of`.
        command: that made it.
    """
    lines = [
        f"# Proof: {proof['title']}",
        "",
        f"Each group trained {proof['seeds']} models of {proof['parameters']:,} parameters on "
        f"{proof['tokens']:,.0f} tokens, half of them in each language. Bits per byte of held-out "
        "text, lower is better, with 95 % intervals (Student's t over the seeds, pooled "
        "deviation). It says what this text does to models of this size, and nothing of larger "
        "ones.",
    ]
    for language, found in proof["languages"].items():
        has_score = found["groups"][0]["score"] is not None
        head = ["group", "documents", *(["mean score"] if has_score else []), "epochs",
                "bits per byte"]  # fmt: skip
        lines += ["", f"## {language}", "", _line(head), _line(["---"] * len(head))]
        for group in found["groups"]:
            score = [f"{group['score']:.3g}"] if has_score else []
            lines.append(
                _line([
                    group["name"], f"{group['documents']:,}", *score, f"{group['epochs']:.2g}",
                    _with_reach(group["bits_per_byte"], group["reach"]),
                ])
            )  # fmt: skip
        difference = found["difference"]
        lines += [
            "",
            f"Last group minus first: {_signed(difference)} bits per byte. {_verdict(difference)}",
        ]
        if found["agreement"]:
            ranks = found["agreement"]
            lines.append(
                f"Rank agreement of score and loss: Spearman {ranks['spearman']:+.2f}, Kendall "
                f"{ranks['kendall']:+.2f} over {len(found['groups'])} groups (1: every better "
                "group lowers the loss)."
            )
    return "\n".join([*lines, "", f"Made by `{command}`.", ""])


def _verdict(difference: Mapping[str, Any]) -> str:
    value, reach = difference["value"], difference["reach"]
    if reach is None:
        return "One seed each: no interval."
    if abs(value) <= reach:
        return "The interval includes zero: no effect is shown."
    return "The last group is better." if value < 0 else "The last group is worse."


def _signed(difference: Mapping[str, Any]) -> str:
    reach = difference["reach"]
    return f"{difference['value']:+.4f}" + ("" if reach is None else f" ± {reach:.4f}")


def _with_reach(value: float, reach: float | None) -> str:
    return f"{value:.4f}" + ("" if reach is None else f" ± {reach:.4f}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
