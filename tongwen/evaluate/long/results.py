"""Rates of needles found, their intervals, and how long a text the model can use."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from tongwen.evaluate.long.ask import Asked
from tongwen.evaluate.statistics import estimate

THRESHOLD = 0.85
"""A length counts as used where so much is found: about what Hsieh et al. 2024, arXiv:2404.06654,
section 4, ask for, 85.6 %, the rate of Llama-2-7B at 4K."""


def summary(asked: Sequence[Asked], threshold: float = THRESHOLD) -> dict[str, Any]:
    """Rates by language, kind, length and depth, and effective lengths, as JSON values."""
    scored = [row for row in asked if row.score is not None]
    return {
        "questions": len(asked),
        "not_finite": len(asked) - len(scored),
        "threshold": threshold,
        "cells": _rates(scored, ("language", "kind", "length", "cell")),
        "lengths": _rates(scored, ("language", "kind", "length")),
        "effective": _effective(scored, threshold),
    }


def _rates(asked: Iterable[Asked], names: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Asked]] = {}
    for row in asked:
        groups.setdefault(tuple(getattr(row, name) for name in names), []).append(row)
    return [
        {**dict(zip(names, key, strict=True)), **_rate(rows)}
        for key, rows in sorted(groups.items())
    ]


def _rate(rows: Sequence[Asked]) -> dict[str, Any]:
    """Mean share found with its 95 % interval (Wilson's for shares of 0 and 1).

    Questions of one haystack count as one cluster where there are several haystacks. With a single
    one the interval is that of questions about this text.
    """
    texts = [str(row.haystack) for row in rows]
    clusters = texts if len(set(texts)) > 1 else [str(place) for place in range(len(rows))]
    found = estimate([row.score for row in rows if row.score is not None], clusters)
    return {"n": found.n, "haystacks": len(set(texts)), "rate": found.value,
            "interval": found.interval}  # fmt: skip


def _effective(asked: Sequence[Asked], threshold: float) -> list[dict[str, Any]]:
    """For each language and kind the longest length up to which every length asked reaches the
    threshold: by the rate, and by the lower and upper end of its interval. 0 where none does.
    """
    rows = _rates(asked, ("language", "kind", "length"))
    found = []
    for language, kind in sorted({(row["language"], row["kind"]) for row in rows}):
        here = [row for row in rows if (row["language"], row["kind"]) == (language, kind)]
        lows = [(row["length"], (row["interval"] or (0.0, 1.0))[0]) for row in here]
        highs = [(row["length"], (row["interval"] or (0.0, 1.0))[1]) for row in here]
        rates = [(row["length"], row["rate"]) for row in here]
        found.append(
            {
                "language": language,
                "kind": kind,
                "tokens": _reached(rates, threshold),
                "at_least": _reached(lows, threshold),
                "at_most": _reached(highs, threshold),
            }
        )
    return found


def _reached(rates: Sequence[tuple[int, float]], threshold: float) -> int:
    reached = 0
    for length, rate in sorted(rates):
        if rate < threshold:
            break
        reached = length
    return reached


def markdown(found: dict[str, Any]) -> str:
    """The rates by length and the effective lengths as Markdown tables."""
    lengths = sorted({row["length"] for row in found["lengths"]})
    lines = ["| language | kind | " + " | ".join(f"{n:,}" for n in lengths) + " | effective |",
             "|---|---|" + "---|" * (len(lengths) + 1)]  # fmt: skip
    rates = {(row["language"], row["kind"], row["length"]): row for row in found["lengths"]}
    for row in found["effective"]:
        cells = [_percent(rates.get((row["language"], row["kind"], length))) for length in lengths]
        span = f"{row['tokens']:,} ({row['at_least']:,} to {row['at_most']:,})"
        lines.append(f"| {row['language']} | {row['kind']} | {' | '.join(cells)} | {span} |")
    if found["not_finite"]:
        lines.append(f"\n{found['not_finite']:,} of {found['questions']:,} questions got no finite "
                     "number from the model and are in no rate.")  # fmt: skip
    return "\n".join(lines)


def _percent(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    low, high = row["interval"] or (0.0, 1.0)
    return f"{100 * row['rate']:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"


def page(found: dict[str, Any], title: str) -> str:
    """An offline page: a heat map of depth by length for each language and kind."""
    cells = found["cells"]
    lengths = sorted({row["length"] for row in cells})
    depths = sorted({row["cell"] for row in cells})
    rates = {(r["language"], r["kind"], r["cell"], r["length"]): r for r in cells}
    maps = []
    for row in found["effective"]:
        head = "".join(f"<th>{length:,}</th>" for length in lengths)
        body = ""
        for depth in depths:
            name = f"{100 * depth / len(depths):.0f}–{100 * (depth + 1) / len(depths):.0f} %"
            boxes = "".join(
                _box(rates.get((row["language"], row["kind"], depth, length))) for length in lengths
            )
            body += f"<tr><th>{name}</th>{boxes}</tr>"
        maps.append(
            f"<h2>{row['language']} · {row['kind']}</h2><p>Effective length / 有效长度: "
            f"{row['tokens']:,} tokens ({row['at_least']:,}–{row['at_most']:,}).</p>"
            f"<table><tr><th>depth 深度</th>{head}</tr>{body}</table>"
        )
    name = html.escape(title)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Needles: {name}</title><style>body{{font:15px sans-serif;margin:2em;"
        "max-width:70em}table{border-collapse:collapse}td,th{padding:.4em .7em;text-align:center;"
        "border:1px solid #fff}td small{display:block}</style>"
        f"<h1>Needles found 找到的针: {name}</h1><p>Share of what was asked for, with its 95 % "
        "interval, by depth in the text and by its length in tokens. 召回率与95%置信区间，"
        f"按文中位置和长度（token）。</p>{''.join(maps)}</html>\n"
    )


def _box(row: dict[str, Any] | None) -> str:
    if row is None:
        return "<td>–</td>"
    low, high = row["interval"] or (0.0, 1.0)
    hue = 120 * row["rate"]
    return (
        f'<td style="background:hsl({hue:.0f},60%,75%)" title="n = {row["n"]}">'
        f"{100 * row['rate']:.0f} %<small>{100 * low:.0f}–{100 * high:.0f}</small></td>"
    )
