"""The funnel: how many pages and characters each stage took, by reason and language."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tongwen.curate.rules.decide import DROP_STAGES

COUNTS = ("pages", "characters", "raw_bytes")


def funnel(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums the counts of all tasks.

    `read` is everything, `kept` and `dropped` its parts by language (and stage and rule), `stages`
    what goes into and out of each stage in order. Characters are those of the extracted text, so a
    record without text has none; raw bytes are those of the page as it was read.
    """
    sums: dict[tuple[str, str, str], Counter[str]] = {}
    for part in parts:
        key = (part["drop_stage"] or "", part["drop_rule"] or "", part["lang"] or "")
        row = sums.setdefault(key, Counter())
        row.update({name: part[name] for name in COUNTS})
    read = _sum(sums.values())
    remaining = Counter(read)
    stages = []
    for stage in DROP_STAGES:
        dropped = _sum(row for key, row in sums.items() if key[0] == stage)
        before, remaining = remaining, Counter(remaining)
        remaining.subtract(dropped)
        stages.append(
            {"stage": stage, "in": _plain(before), "out": _plain(remaining), "dropped": dropped}
        )
    return {
        "read": read,
        "kept": [
            {"lang": key[2], **_plain(row)} for key, row in sorted(sums.items()) if not key[0]
        ],
        "dropped": [
            {"stage": key[0], "rule": key[1], "lang": key[2], **_plain(row)}
            for key, row in sorted(sums.items(), key=lambda item: _place(item[0]))
            if key[0]
        ],
        "stages": stages,
    }


def _place(key: tuple[str, str, str]) -> tuple[int, str, str]:
    return (DROP_STAGES.index(key[0]) if key[0] else -1), key[1], key[2]


def _plain(row: Mapping[str, int]) -> dict[str, int]:
    return {name: row[name] for name in COUNTS}


def _sum(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    for row in rows:
        total.update(row)
    return _plain(total)
