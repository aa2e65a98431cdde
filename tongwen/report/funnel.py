"""The data funnel: what was read, what each reason dropped, what was kept, in both languages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from tongwen.report.charts import stacked_bar

GROUPS = ("english", "chinese", "other")
UNITS = ("pages", "characters", "tokens")


@dataclass(frozen=True)
class Amount:
    """Pages, characters and tokens. Tokens of what was dropped are estimated from its characters
    at the rate of what was kept; None without an encode stage.
    """

    pages: int
    characters: int
    tokens: float | None

    @property
    def is_nothing(self) -> bool:
        return not self.pages and not self.characters


@dataclass(frozen=True)
class Reason:
    """What one rule dropped: by language group, and all together under `all`."""

    rule: str
    amounts: Mapping[str, Amount]


@dataclass(frozen=True)
class Step:
    """One stage of curation: what it dropped in all, why, and what remained after it."""

    stage: str
    dropped: Mapping[str, Amount]
    remaining: Mapping[str, Amount]
    reasons: Sequence[Reason]
    chart: Markup

    @property
    def is_its_own_reason(self) -> bool:
        """Whether the stage has one rule, of the stage's name, as the same text has."""
        return [reason.rule for reason in self.reasons] == [self.stage]


@dataclass(frozen=True)
class Funnel:
    """The whole funnel.

    Attributes:
        unaccounted_pages: read, but neither kept nor dropped; anything but 0 is a fault.
    """

    read: Mapping[str, Amount]
    kept: Mapping[str, Amount]
    steps: Sequence[Step]
    unaccounted_pages: int
    unaccounted_characters: int
    has_tokens: bool


def group_of(language: str | None) -> str:
    """`english`, `chinese` (both scripts) or `other`."""
    if language == "en":
        return "english"
    return "chinese" if language and language.startswith("zh") else "other"


def build_funnel(data: Mapping[str, Any], shards: Mapping[str, Any] | None) -> Funnel:
    """The funnel of `funnel.json`, with tokens when `shards.json` is there."""
    kept_rows, dropped_rows = data["kept"], data["dropped"]
    rates = _tokens_per_character(kept_rows, shards)
    kept = _amounts(kept_rows, rates)
    read = _amounts([*kept_rows, *dropped_rows], rates)
    stages = [row["stage"] for row in data["stages"]]
    steps = []
    for place, stage in enumerate(stages):
        rows = [row for row in dropped_rows if row["stage"] == stage]
        before = [row for row in dropped_rows if row["stage"] in stages[:place]]
        after = [row for row in dropped_rows if row["stage"] in stages[place + 1 :]]
        remaining, dropped = _amounts([*kept_rows, *after], rates), _amounts(rows, rates)
        if not dropped["all"].is_nothing:
            chart = _chart(remaining, dropped, before, read["all"].pages)
            steps.append(Step(stage, dropped, remaining, _reasons(rows, rates), chart))
    return Funnel(
        read=read,
        kept=kept,
        steps=steps,
        unaccounted_pages=data["read"]["pages"] - read["all"].pages,
        unaccounted_characters=data["read"]["characters"] - read["all"].characters,
        has_tokens=bool(rates),
    )


def kept_tokens(shards: Mapping[str, Any] | None) -> dict[str, int]:
    """Tokens in the shards by language group, and `all`."""
    tokens = dict.fromkeys((*GROUPS, "all"), 0)
    for shard in (shards or {}).get("shards", ()):
        tokens["all"] += shard["tokens"]
        for language, counts in shard["languages"].items():
            tokens[group_of(language)] += counts["tokens"]
    return tokens


def _tokens_per_character(
    kept: Iterable[Mapping[str, Any]], shards: Mapping[str, Any] | None
) -> dict[str, float]:
    """Tokens a character by group; a group of which nothing was kept gets the overall rate."""
    characters = dict.fromkeys((*GROUPS, "all"), 0)
    for row in kept:
        for group in (group_of(row["lang"]), "all"):
            characters[group] += row["characters"]
    tokens = kept_tokens(shards)
    if not tokens["all"] or not characters["all"]:
        return {}
    overall = tokens["all"] / characters["all"]
    return {
        group: tokens[group] / characters[group] if characters[group] else overall
        for group in GROUPS
    }


def _amounts(rows: Iterable[Mapping[str, Any]], rates: Mapping[str, float]) -> dict[str, Amount]:
    sums = {group: [0, 0] for group in GROUPS}
    for row in rows:
        sums[group_of(row["lang"])][0] += row["pages"]
        sums[group_of(row["lang"])][1] += row["characters"]
    amounts = {
        group: Amount(pages, characters, rates[group] * characters if rates else None)
        for group, (pages, characters) in sums.items()
    }
    amounts["all"] = Amount(
        sum(amount.pages for amount in amounts.values()),
        sum(amount.characters for amount in amounts.values()),
        sum(amount.tokens or 0 for amount in amounts.values()) if rates else None,
    )
    return amounts


def _reasons(rows: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> list[Reason]:
    rules = {row["rule"]: [one for one in rows if one["rule"] == row["rule"]] for row in rows}
    reasons = [Reason(rule, _amounts(chosen, rates)) for rule, chosen in rules.items()]
    return sorted(reasons, key=lambda reason: -reason.amounts["all"].pages)


def _chart(
    remaining: Mapping[str, Amount],
    dropped: Mapping[str, Amount],
    gone_before: Sequence[Mapping[str, Any]],
    pages: int,
) -> Markup:
    """Pages that remain by language, those this stage dropped, and those dropped before."""
    parts = [(float(remaining[group].pages), group) for group in GROUPS]
    parts.append((float(dropped["all"].pages), "taken"))
    parts.append((float(sum(row["pages"] for row in gone_before)), "rail"))
    return stacked_bar(parts, pages)
