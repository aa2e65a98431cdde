"""The budget solver: hand-made cases, UniMax of the paper, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.mix.budget import Supply, allot

PLENTY = {"en": [Supply(1, 800)], "zh": [Supply(1, 150)], "code": [Supply(1, 50)]}


def given_tokens(**options):
    options = {"shares": None, "tokens": None, "maximum_epochs": 4, **options}
    return {name: part.given for name, part in allot(PLENTY, **options).items()}


def test_without_shares_and_budget_the_weights_stand() -> None:
    assert given_tokens() == {"en": 800, "zh": 150, "code": 50}
    halved = allot({"a": [Supply(0.5, 100), Supply(2, 10), Supply(0, 7)]},
                   shares=None, tokens=None, maximum_epochs=4)["a"]  # fmt: skip
    assert (halved.given, halved.available, halved.scale) == (70, 110, 1)


def test_a_budget_scales_all_alike() -> None:
    assert given_tokens(tokens=500) == pytest.approx({"en": 400, "zh": 75, "code": 25})


def test_equal_shares_are_unimax() -> None:
    # 300 tokens, 100 each: code has only 50 x 1 epoch, the others share the rest.
    equal = dict.fromkeys(PLENTY, 1.0)
    assert given_tokens(shares=equal, tokens=300, maximum_epochs=1) == pytest.approx(
        {"code": 50, "zh": 125, "en": 125}
    )
    assert given_tokens(shares=equal, tokens=900, maximum_epochs=1) == pytest.approx(
        {"code": 50, "zh": 150, "en": 700}
    )


def test_shares_are_met_where_there_is_enough_and_the_rest_goes_to_the_others() -> None:
    parts = allot(PLENTY, shares={"en": 5, "zh": 4, "code": 1}, tokens=2000, maximum_epochs=4)
    assert {name: part.given for name, part in parts.items()} == pytest.approx(
        {"zh": 600, "en": 1400 * 5 / 6, "code": 200}, rel=0.2
    )
    assert parts["zh"].given == 600
    assert parts["zh"].wanted == 800
    assert parts["zh"].epochs == 4
    assert parts["code"].given == 200
    assert parts["en"].given == 1200


def test_a_group_without_a_share_gives_nothing() -> None:
    parts = allot(PLENTY, shares={"en": 1, "zh": 0}, tokens=100, maximum_epochs=4)
    assert [parts[name].given for name in ("en", "zh", "code")] == [100, 0, 0]


def test_documents_of_high_weight_stop_at_the_epochs_and_the_others_fill_up() -> None:
    part = allot({"a": [Supply(10, 10), Supply(1, 100)]}, shares=None, tokens=90,
                 maximum_epochs=4)["a"]  # fmt: skip
    assert part.given == pytest.approx(90)
    assert part.scale == pytest.approx(0.5)  # 10 x 4 + 100 x 0.5


_SUPPLIES = st.lists(
    st.builds(Supply, st.sampled_from([0.0, 0.2, 1.0, 3.0]), st.integers(1, 10**9)),
    min_size=1, max_size=4,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from("abcdef"), _SUPPLIES, min_size=1),
    st.integers(1, 10**10),
    st.sampled_from([0.5, 1.0, 4.0]),
)
def test_the_budget_is_met_or_everything_is_used_up(groups, tokens, epochs) -> None:
    parts = allot(groups, shares=dict.fromkeys(groups, 1.0), tokens=tokens, maximum_epochs=epochs)
    total = sum(part.given for part in parts.values())
    capacity = sum(part.available for part in parts.values()) * epochs
    assert total == pytest.approx(min(tokens, capacity), rel=1e-9)
    for name, part in parts.items():
        assert part.given <= epochs * part.available * (1 + 1e-9)
        # UniMax: nobody gives less than another one unless it is used up.
        if part.given < epochs * part.available * (1 - 1e-9):
            assert part.given >= max(other.given for other in parts.values()) * (1 - 1e-9), name
