"""Documents into fixed-length sequences, and the order they are trained in."""

import bisect
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """Which pieces of documents stand in which sequence.

    Attributes:
        piece_starts: position of each piece in the flat token array, in sequence order.
        piece_tokens: length of each piece.
        piece_is_cut: the document goes on behind the piece, so its last token has a target too.
        sequence_starts: for each sequence its first piece; one more entry closes the last.
    """

    piece_starts: Int64s
    piece_tokens: Int64s
    piece_is_cut: npt.NDArray[np.bool_]
    sequence_starts: Int64s

    @property
    def sequences(self) -> int:
        return len(self.sequence_starts) - 1


def pack(document_starts: Int64s, document_tokens: Int64s, sequence_tokens: int) -> Packing:
    """Best-fit packing (Ding et al. 2024, arXiv:2404.10830): every token stands in one sequence.

    Documents longer than a sequence are cut into full sequences and a rest; then the longest
    pieces come first, each into the fullest sequence that still holds it. No other document is
    cut, and little space is left over.
    """
    starts, tokens, is_cut = _pieces(document_starts, document_tokens, sequence_tokens)
    order = np.argsort(-tokens, kind="stable")
    sequence_of = _best_fit(tokens[order], sequence_tokens)
    by_sequence = order[np.argsort(sequence_of, kind="stable")]
    counts = np.bincount(sequence_of) if len(sequence_of) else np.zeros(0, dtype=np.int64)
    return Packing(
        piece_starts=starts[by_sequence],
        piece_tokens=tokens[by_sequence],
        piece_is_cut=is_cut[by_sequence],
        sequence_starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _pieces(
    document_starts: Int64s, document_tokens: Int64s, sequence_tokens: int
) -> tuple[Int64s, Int64s, npt.NDArray[np.bool_]]:
    pieces = -(-document_tokens // sequence_tokens)
    document = np.repeat(np.arange(len(document_tokens)), pieces)
    number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    left = document_tokens[document] - number * sequence_tokens
    starts = document_starts[document] + number * sequence_tokens
    return starts, np.minimum(left, sequence_tokens), left > sequence_tokens


def _best_fit(descending_tokens: Int64s, sequence_tokens: int) -> Int64s:
    """For each piece the number of its sequence; O(pieces · log(different free spaces))."""
    sequence_of = np.empty(len(descending_tokens), dtype=np.int64)
    with_space: dict[int, list[int]] = defaultdict(list)
    spaces: list[int] = []  # the keys of `with_space`, sorted
    sequences = 0
    for piece, tokens in enumerate(descending_tokens.tolist()):
        place = bisect.bisect_left(spaces, tokens)
        if place == len(spaces):
            space, sequence = sequence_tokens, sequences
            sequences += 1
        else:
            space = spaces[place]
            sequence = with_space[space].pop()
            if not with_space[space]:
                del with_space[space], spaces[place]
        sequence_of[piece] = sequence
        space -= tokens
        if space:
            if space not in with_space:
                bisect.insort(spaces, space)
            with_space[space].append(sequence)
    return sequence_of


_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ROUNDS = 6


def permuted(positions: Int64s, size: int, key: int) -> Int64s:
    """Where `positions` below `size` go in the permutation that `key` names.

    A Feistel network over the next even power of two, walked until it lands below `size`
    (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). It needs no memory and no
    history: any process can ask for the sample at any place of any epoch.
    """
    half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    values = positions.astype(np.uint64)
    outside = np.ones(len(values), dtype=np.bool_)
    while outside.any():
        values[outside] = _feistel(values[outside], half_bits, key)
        outside = values >= size
    return values.astype(np.int64)


def _feistel(values: npt.NDArray[np.uint64], half_bits: np.uint64, key: int) -> Any:
    low_bits = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & low_bits
    for number in range(_ROUNDS):
        # splitmix64 (Steele, Lea and Flood 2014) of the half, the key and the round.
        salt = ((key + 1) * 0x9E3779B97F4A7C15 + number * 0xD1342543DE82EF95) & (2**64 - 1)
        mixed = right + np.uint64(salt)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
        mixed ^= mixed >> np.uint64(31)
        left, right = right, left ^ (mixed & low_bits)
    return (left << half_bits) | right
