"""The bins that values are counted in fit every rule's threshold."""

from dataclasses import fields

import pytest

from tongwen.curate.outcome.histograms import edges_of
from tongwen.curate.settings import ChineseRules, CodeRules, EnglishRules, TextRules


@pytest.mark.parametrize("rules", [EnglishRules(), ChineseRules(), CodeRules(), TextRules()])
def test_every_threshold_lies_within_the_bins_of_its_value(rules: object) -> None:
    for item in fields(rules):  # type: ignore[arg-type]
        threshold = getattr(rules, item.name)
        if threshold:
            edges = edges_of(item.name.partition("_")[2])
            assert edges[0] < threshold < edges[-1], item.name


def test_rates_and_percentiles_have_even_bins() -> None:
    assert edges_of("newlines_per_character")[[0, -1]].tolist() == [0.0, 1.0]
    assert edges_of("perplexity_percentile")[[0, -1]].tolist() == [0.0, 100.0]
