"""Documents into fixed-length sequences, and the order they are trained in."""

import bisect
from collections.abc import Sequence
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
    is_short = sequence_tokens < 1 << 16  # numpy sorts 16 bits in linear time
    order = np.argsort((sequence_tokens - tokens).astype("u2" if is_short else "i8"), kind="stable")
    sequence_of = _best_fit(tokens[order], sequence_tokens)
    order = order[np.argsort(sequence_of, kind="stable")]
    sequence_starts = np.concatenate([[0], np.cumsum(np.bincount(sequence_of))]).astype(np.int64)
    del sequence_of  # the peak is below: about 50 bytes a piece
    return Packing(starts[order], tokens[order], is_cut[order], sequence_starts)


def joined(packings: Sequence[Packing]) -> Packing:
    """The sequences of all `packings`, one packing after the other."""
    pieces = np.cumsum([0, *(len(packing.piece_starts) for packing in packings)])
    starts = [packing.sequence_starts[:-1] for packing in packings]
    return Packing(
        np.concatenate([packing.piece_starts for packing in packings]),
        np.concatenate([packing.piece_tokens for packing in packings]),
        np.concatenate([packing.piece_is_cut for packing in packings]),
        np.concatenate([*map(np.add, starts, pieces), pieces[-1:]]),
    )


def _pieces(
    document_starts: Int64s, document_tokens: Int64s, sequence_tokens: int
) -> tuple[Int64s, Int64s, npt.NDArray[np.bool_]]:
    pieces = -(-document_tokens // sequence_tokens)
    document = np.repeat(np.arange(len(document_tokens)), pieces)
    offset = np.arange(len(document)) - (np.cumsum(pieces) - pieces)[document]
    offset *= sequence_tokens
    left = document_tokens[document] - offset
    starts = document_starts[document] + offset
    return starts, np.minimum(left, sequence_tokens), left > sequence_tokens


def _best_fit(descending_tokens: Int64s, sequence_tokens: int) -> Int64s:
    """For each piece the number of its sequence.

    Equal pieces are placed together: the fullest sequence that holds one takes as many as fit, for
    what it has left is the smallest space again. So the work grows with the different lengths, not
    with the pieces.
    """
    sequence_of = np.empty(len(descending_tokens), dtype=np.int64)
    with_space: dict[int, list[Int64s]] = {}  # sequences by their free space, the newest last
    spaces: list[int] = []  # the keys of `with_space`, sorted
    sequences, piece = 0, 0
    lengths, counts = np.unique(descending_tokens, return_counts=True)
    for tokens, count in zip(lengths[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = piece + count
        while piece < end:
            place = bisect.bisect_left(spaces, tokens)
            space = spaces[place] if place < len(spaces) else sequence_tokens
            fit = space // tokens
            wanted = -(-(end - piece) // fit)
            if place < len(spaces):
                chosen = _newest(with_space[space], wanted)
                if not with_space[space]:
                    del with_space[space], spaces[place]
            else:
                chosen = np.arange(sequences, sequences + wanted)
                sequences += wanted
            placed = min(end - piece, fit * len(chosen))
            sequence_of[piece : piece + placed] = np.repeat(chosen, fit)[:placed]
            piece += placed
            in_last = placed - fit * (len(chosen) - 1)
            for group, pieces in ((chosen[:-1], fit), (chosen[-1:], in_last)):
                left = space - pieces * tokens
                if left and len(group):
                    if left not in with_space:
                        bisect.insort(spaces, left)
                    with_space.setdefault(left, []).append(group)
    return sequence_of


def _newest(stack: list[Int64s], wanted: int) -> Int64s:
    """Take the last `wanted` sequences, or all, off arrays laid end to end; the last one first."""
    taken = []
    while stack and wanted:
        top = stack.pop()
        if len(top) > wanted:
            stack.append(top[:-wanted])
            top = top[-wanted:]
        taken.append(top[::-1])
        wanted -= len(top)
    return np.concatenate(taken)


def in_epochs(numbers: Int64s, sequences: int, seed: int) -> Int64s:
    """The sequences, `sequences` in all, that come at places `numbers` of an endless course.

    Each epoch goes through all of them in a permutation keyed by (seed, epoch).
    """
    epochs, places = np.divmod(numbers, sequences)
    chosen = np.empty_like(places)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        chosen[here] = permuted(places[here], sequences, seed * 1_000_003 + epoch)
    return chosen


_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_ROUNDS = 6  # four suffice with random functions (Luby and Rackoff 1988); ours only mixes well


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
