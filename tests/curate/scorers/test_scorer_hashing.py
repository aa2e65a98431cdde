"""Units: what counts as the same, and where sentences end."""

from tongwen.curate.scorers.cohesion import rearranged, repetition_excess, sentences_of
from tongwen.curate.scorers.hashing import BREAK, CHARACTER, END, SIGN, WORD, scorer_units


def test_case_width_script_and_digits_make_no_difference() -> None:
    first, second = scorer_units("Ｔｏｎｇｗｅｎ 漢語 2023"), scorer_units("tongwen  汉语 1999")
    assert first.hashes.tolist() == second.hashes.tolist()
    assert scorer_units("a b").hashes.tolist() != scorer_units("a c").hashes.tolist()


def test_units_are_words_characters_marks_and_breaks() -> None:
    kinds = scorer_units("It is 3.5 km.\n\n好吗？😀").kinds.tolist()
    assert kinds == [
        WORD, WORD, WORD, SIGN, WORD, WORD, END, BREAK, CHARACTER, CHARACTER, END, SIGN,
    ]  # fmt: skip


def test_no_text_has_no_units() -> None:
    assert len(scorer_units("").hashes) == 0
    assert len(scorer_units(" \n\n ").hashes) == 0


def test_a_sentence_ends_at_its_mark_or_its_line() -> None:
    units = scorer_units("One here. Two!! Three\n四在这里。五")
    sentences = sentences_of(units)
    assert len(sentences.starts) == 5
    assert sentences.paragraphs.tolist() == [0, 0, 0, 1, 1]


def test_the_same_order_gives_the_same_sentences_and_another_one_loses_no_unit() -> None:
    units = scorer_units("One here. Two there! Three\nFour now. Five.")
    sentences = sentences_of(units)
    import numpy as np

    same = rearranged(units, sentences, np.arange(5))
    assert len(sentences_of(same).starts) == 5
    turned = rearranged(units, sentences, np.array([4, 2, 0, 1, 3]))
    assert len(sentences_of(turned).starts) == 5
    words = sorted(units.hashes[units.kinds == WORD].tolist())
    assert sorted(turned.hashes[turned.kinds == WORD].tolist()) == words


def test_neighbours_that_share_words_are_in_excess_of_a_random_order() -> None:
    import numpy as np

    def excess(order: list[int]) -> float:
        text = " ".join(f"word{chr(97 + n)} word{chr(98 + n)} the." for n in order)
        units = scorer_units(text)
        found = sentences_of(units)
        groups = np.arange(len(found.starts))
        return float(
            repetition_excess(units.hashes, units.kinds, found.starts, found.ends, groups)[0]
        )

    assert excess(list(range(12))) > 3
    assert excess([0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]) < 0
