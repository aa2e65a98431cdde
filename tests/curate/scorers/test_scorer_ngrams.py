"""The character model: a probability distribution, equal to one worked out another way."""

import math

import numpy as np
import pytest

from tongwen.curate.scorers.ngrams import START, train_ngrams


def stream(texts: list[str]) -> np.ndarray:
    parts = [[START, *(ord(letter) - ord("a") + 2 for letter in text)] for text in texts]
    return np.array([symbol for part in parts for symbol in part], np.uint16)


def trained(texts: list[str], order: int = 3):
    return train_ngrams(stream(texts), number_of_symbols=5, symbol_bits=8, order=order)


TEXTS = ["abacabad", "abcd", "dabba", "aaab", "cabdab"] * 2 + ["badcab", "dd"]


def test_the_probabilities_of_all_symbols_after_any_text_add_up_to_one() -> None:
    model = trained(TEXTS, order=5)
    for before in ("", "a", "ab", "aba", "abac", "ddd", "cabda", "bbbbb"):
        start = model.bits(stream([before]))
        following = [
            model.bits(np.append(stream([before]), np.uint16(symbol))) for symbol in range(1, 6)
        ]
        total = sum(2 ** -(bits - start) for bits in following)
        assert total == pytest.approx(1, abs=0.03)  # steps of 1/128 bit


def test_a_bigram_model_is_the_one_worked_out_by_hand() -> None:
    # Counts of "ab" + "ac": (start a) 2, (a b) 1, (a c) 1. Too few counts for estimated
    # discounts: 0.5 off what occurs once, 1 off what occurs twice.
    # A unigram counts its different left neighbours: one each for a, b and c, and 0.5 off.
    model = trained(["ab", "ac"], order=2)
    single = 0.5 / 3 + 0.5 / 5
    after_start = (2 - 1) / 2 + 0.5 * single
    after_a = 0.5 / 2 + 0.5 * single
    expected = -math.log2(after_start) - math.log2(after_a)
    assert model.bits(stream(["ab"])) == pytest.approx(expected, abs=0.02)
    unseen = 0.5 / 5
    expected = -math.log2(after_start) - math.log2(0.5 * unseen)
    assert model.bits(stream(["ad"])) == pytest.approx(expected, abs=0.02)


def test_text_like_the_training_text_takes_fewer_bits() -> None:
    model = trained(TEXTS, order=4)
    assert model.bits(stream(["abacab"])) < model.bits(stream(["ddccba"]))


def test_the_same_stream_gives_the_same_table() -> None:
    first, second = trained(TEXTS), trained(TEXTS)
    assert (first.table == second.table).all()
    assert (first.singles == second.singles).all()
