"""Packing and order: nothing lost, nothing twice, the same for everybody."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.train.data.packing import pack, permuted
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.loss.softmax import IGNORED


def documents_of(lengths: list[int], parts: int = 1) -> Documents:
    """Documents whose tokens count up from 100 over all of them, split over `parts` arrays."""
    tokens = np.array(lengths, dtype=np.int64)
    ends = np.cumsum(tokens)
    flat = np.arange(100, 100 + tokens.sum(), dtype=np.uint16)
    cuts = [int(ends[len(lengths) * part // parts - 1]) for part in range(1, parts)]
    return Documents(
        parts=tuple(np.split(flat, cuts)),
        starts=ends - tokens,
        tokens=tokens,
        is_target=None,
        digest="x",
    )


@given(st.lists(st.integers(1, 70), min_size=1, max_size=60), st.integers(1, 32))
def test_every_token_stands_in_exactly_one_sequence(lengths: list[int], sequence: int) -> None:
    tokens = np.array(lengths, dtype=np.int64)
    packing = pack(np.cumsum(tokens) - tokens, tokens, sequence)
    places = [
        start + offset
        for start, count in zip(packing.piece_starts, packing.piece_tokens, strict=True)
        for offset in range(count)
    ]
    assert sorted(places) == list(range(sum(lengths)))
    for first, last in zip(packing.sequence_starts, packing.sequence_starts[1:], strict=False):
        assert 0 < packing.piece_tokens[first:last].sum() <= sequence


def fullest_that_fits(lengths: list[int], sequence: int) -> list[list[int]]:
    """Best fit piece by piece, as the paper says it: the numbers of the documents of each sequence.

    Of equally full sequences the one that a piece was put into last is taken.
    """
    sequences: list[list[int]] = []
    space: list[int] = []
    changed: list[int] = []
    for time, number in enumerate(sorted(range(len(lengths)), key=lambda n: -lengths[n])):
        fitting = [n for n in range(len(sequences)) if space[n] >= lengths[number]]
        if fitting:
            chosen = min(fitting, key=lambda n: (space[n], -changed[n]))
        else:
            chosen = len(sequences)
            sequences.append([])
            space.append(sequence)
            changed.append(0)
        sequences[chosen].append(number)
        space[chosen] -= lengths[number]
        changed[chosen] = time
    return sequences


@given(st.lists(st.integers(1, 24), max_size=80), st.integers(24, 40))
def test_equal_pieces_placed_together_stand_where_they_would_one_by_one(
    lengths: list[int], sequence: int
) -> None:
    tokens = np.array(lengths, dtype=np.int64)
    starts = np.cumsum(tokens) - tokens
    packing = pack(starts, tokens, sequence)
    ends = packing.sequence_starts.tolist()
    placed = [packing.piece_starts[first:last] for first, last in itertools.pairwise(ends)]
    expected = [starts[numbers] for numbers in fullest_that_fits(lengths, sequence)]
    assert [here.tolist() for here in placed] == [here.tolist() for here in expected]


@given(st.lists(st.integers(1, 16), min_size=1, max_size=60))
def test_a_document_that_fits_is_not_cut(lengths: list[int]) -> None:
    tokens = np.array(lengths, dtype=np.int64)
    packing = pack(np.cumsum(tokens) - tokens, tokens, 16)
    assert sorted(packing.piece_tokens) == sorted(lengths)
    assert not packing.piece_is_cut.any()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(2, 16))
def test_every_token_but_the_first_of_a_document_is_a_target_once(
    lengths: list[int], sequence: int
) -> None:
    documents = documents_of(lengths)
    data = PackedSequences(documents, sequence, seed=1)
    batch = data.batch(0, data.sequences)
    targets = batch.targets_BT[batch.targets_BT != IGNORED].tolist()
    firsts = set((documents.starts + 100).tolist())
    assert sorted(targets) == [
        token for token in range(100, 100 + sum(lengths)) if token not in firsts
    ]
    assert batch.targets == len(targets)
    is_known = batch.targets_BT != IGNORED
    assert (batch.targets_BT[is_known] == batch.token_ids_BT[is_known] + 1).all()


def test_shards_laid_end_to_end_read_as_one() -> None:
    lengths = [5, 9, 3, 20, 7, 7]
    whole = PackedSequences(documents_of(lengths), 16, seed=3).batch(0, 10)
    parts = PackedSequences(documents_of(lengths, parts=3), 16, seed=3).batch(0, 10)
    assert (whole.token_ids_BT == parts.token_ids_BT).all()
    assert (whole.targets_BT == parts.targets_BT).all()


def test_documents_of_a_sequence_are_told_apart_and_their_positions_restart() -> None:
    batch = PackedSequences(documents_of([4, 3]), 8, seed=0).batch(0, 1)
    assert batch.token_ids_BT.tolist() == [[100, 101, 102, 103, 104, 105, 106, 0]]
    assert batch.positions_BT[0, :7].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert batch.documents_BT is not None
    assert batch.documents_BT[0].tolist() == [0, 0, 0, 0, 1, 1, 1, -1]


def test_documents_that_see_each_other_have_running_positions() -> None:
    data = PackedSequences(documents_of([4, 3]), 8, seed=0, separate_documents=False)
    batch = data.batch(0, 1)
    assert batch.positions_BT[0].tolist() == list(range(8))
    assert batch.documents_BT is None


@given(st.integers(1, 3000), st.integers(0, 2**40))
def test_the_order_is_a_permutation(size: int, key: int) -> None:
    assert sorted(permuted(np.arange(size), size, key).tolist()) == list(range(size))


def test_the_order_depends_on_the_key_and_looks_shuffled() -> None:
    first, second = (permuted(np.arange(5000), 5000, key) for key in (1, 2))
    assert (first != second).mean() > 0.99
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.05
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_each_epoch_sees_every_sequence_once_in_another_order() -> None:
    data = PackedSequences(documents_of([8] * 50), 8, seed=5)
    epochs = [data.batch(50 * epoch, 50).token_ids_BT[:, 0].tolist() for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100, 500, 8))
    assert epochs[0] != epochs[1]


def test_a_batch_is_the_same_however_it_is_asked_for() -> None:
    data = PackedSequences(documents_of([3, 8, 5, 2, 9, 30, 4]), 8, seed=5)
    whole = data.batch(0, 30).token_ids_BT
    for first in range(0, 30, 5):
        assert (data.batch(first, 5).token_ids_BT == whole[first : first + 5]).all()


def test_no_token_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="no token to train on"):
        PackedSequences(documents_of([0]), 8, seed=0)
