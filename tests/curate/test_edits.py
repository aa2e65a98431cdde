"""Edits: what is cut and replaced, and the way back to the extracted text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tongwen.curate.records.edits import CUTS, EDIT, KINDS, apply, edits_between, tidy, token_of


def made(*spans: tuple[int, int, str]) -> np.ndarray:
    return np.array([(7, start, end, KINDS.index(kind)) for start, end, kind in spans], EDIT)


def test_a_cut_leaves_nothing_and_personal_data_its_token() -> None:
    text = "版权所有。\n写信给 a@b.cn 吧。"
    edited = apply(text, made((0, 6, "host_template"), (10, 16, "email")))
    assert edited.text == "写信给 [email] 吧。"
    assert edited.to_extracted(4, 11) == (10, 16)
    assert edited.to_extracted(0, 3) == (6, 9)
    assert edited.to_extracted(12, 14) == (17, 19)


def test_overlapping_cuts_are_one_and_win_over_replacements() -> None:
    edits = made((5, 9, "email"), (2, 6, "repeated_span"), (4, 7, "contamination"))
    assert apply("0123456789", edits).text == "01789"


def test_of_overlapping_replacements_the_first_and_longest_stands() -> None:
    edits = made((1, 3, "phone"), (1, 5, "bank_card"), (4, 7, "email"))
    assert apply("0123456789", edits).text == "0[bank-card]56789"


def test_tidy_leaves_one_blank_line_at_most() -> None:
    assert tidy("\n\n一\n\n\n\n二\n") == "一\n\n二"


_SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from(KINDS)), max_size=8
)


@given(st.text(min_size=50, max_size=60), _SPANS)
def test_what_no_edit_touches_stays_and_finds_its_way_back(
    text: str, spans: list[tuple[int, int, str]]
) -> None:
    edited = apply(text, made(*((start, start + size, kind) for start, size, kind in spans)))
    cut = {
        place for start, size, kind in spans if kind in CUTS for place in range(start, start + size)
    }
    for piece, start in enumerate(edited.starts):
        last = piece == len(edited.starts) - 1
        end = len(edited.text) if last else edited.starts[piece + 1]
        low, high = edited.to_extracted(start, end)
        if edited.is_token[piece]:
            assert edited.text[start:end] in {token_of(kind) for kind in KINDS}
        else:
            assert edited.text[start:end] == text[low:high]
            assert cut.isdisjoint(range(low, high))


def test_edits_of_a_range_of_records_come_from_all_files_in_order(tmp_path) -> None:
    first = np.array([(1, 0, 2, 0), (5, 3, 4, 0), (9, 0, 1, 0)], EDIT)
    second = np.array([(5, 1, 2, 1), (6, 0, 1, 1)], EDIT)
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    found = edits_between([tmp_path / "a.npy", tmp_path / "b.npy"], 5, 6)
    assert found["record"].tolist() == [5, 5, 6]
    assert found["start"].tolist() == [1, 3, 0]
