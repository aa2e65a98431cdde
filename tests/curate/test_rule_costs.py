"""What the rules cost in good text: the labelled sample, each rule alone and all together."""

from collections import Counter
from typing import Any

import pytest
from labelled_texts import BAD, GOOD

from tongwen.curate.rules.decide import rule_set
from tongwen.curate.rules.measures import measure
from tongwen.curate.rules.rule import rules_of
from tongwen.curate.rules.weak import failed_rules
from tongwen.curate.settings import CurateSettings

SETTINGS = CurateSettings()


def held(lang: str, text: str) -> tuple[str, list[Any], dict[str, float]]:
    section = rule_set(lang, False, "pages")
    values = measure(text, lang) | {"characters": len(text)}
    return section, list(rules_of(vars(getattr(SETTINGS, section)))), values


@pytest.mark.parametrize("kind", GOOD)
def test_good_texts_of_every_kind_stay(kind: str) -> None:
    assert failed_rules(*held(*GOOD[kind])) == set()


@pytest.mark.parametrize("kind", BAD)
def test_pages_that_are_no_text_are_dropped(kind: str) -> None:
    assert failed_rules(*held(*BAD[kind]))


def costs() -> Counter[str]:
    """How many of the good texts each rule alone would cost."""
    found: Counter[str] = Counter()
    for lang, text in GOOD.values():
        _, rules, values = held(lang, text)
        found.update({rule.name for rule in rules if rule.fails(values.get(rule.value))})
    return found


def test_no_rule_alone_would_cost_a_third_of_the_good_texts() -> None:
    for rule, cost in costs().items():
        assert cost <= len(GOOD) / 3, rule


def test_every_rule_alone_would_cost_more_than_weak_ones_together() -> None:
    for lang, text in GOOD.values():
        section, rules, values = held(lang, text)
        alone = failed_rules(section, rules, values, are_weak_rules_weak=False)
        together = failed_rules(section, rules, values)
        assert together == set()
        assert alone <= set(costs())
    assert costs().total() > 0, "the sample has kinds that single rules would drop"
