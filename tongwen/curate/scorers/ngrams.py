"""A character n-gram model with interpolated modified Kneser-Ney smoothing, quantised into one
flat hash table.

Counting and smoothing follow Chen and Goodman (1998, TR-10-98, section 3) as Heafield et al. (2013,
"Scalable modified Kneser-Ney language model estimation") do it: adjusted counts for lower orders,
three discounts an order, interpolation. N-grams of four and more symbols that occur once are
pruned; their discounted mass goes to the backoff weight, so every context still sums to one.

Symbols are the most frequent characters, few enough that an n-gram of the longest order fits into
56 to 60 bits of a number: 5 of 4,096 for Chinese, 7 of 256 for English. Counting is sorting
numbers, and a look-up takes no wrong n-gram for another. English goes by characters too, 7 of
which hold a word and the end of the one before: no word is unknown, and bits per character need no
vocabulary to be comparable.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.units import mix
from tongwen.kernels import inner, kernel

Keys = npt.NDArray[np.uint64]
Symbols = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float64]

SYMBOL_BITS = {"en": 8, "zh": 12}
ORDER = {"en": 7, "zh": 5}
START, UNKNOWN = 0, 1
"""Symbol before the first character of a text, and that of all rare characters."""
_PRUNED_FROM = 4  # symbols: most n-grams so long occur once, and those go
_STEPS_A_BIT = 128  # 12 bits then reach -log2 of 32; a rounding of 1/256 bit averages out
_LEVELS = 1 << 12
_VALUE_MASK = np.uint64(_LEVELS - 1)
_VALUE_BITS = np.uint64(12)
_PRINT_SHIFT = np.uint64(24)
_FULLEST = 0.6  # linear probing: at 0.6 a miss looks at 3.6 slots, at 0.9 at 50
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class NgramModel:
    """Quantised logarithms, in 1/128 bits.

    Attributes:
        table: open addressing; an entry holds 40 bits of the n-gram's mixed key, 12 bits of
            -log2 of its probability and 12 of -log2 of its backoff weight.
        singles: the same two values for each symbol, shape (symbols, 2).
        symbol_bits: bits of a symbol.
        order: symbols of the longest n-gram.
    """

    table: Keys
    singles: npt.NDArray[np.uint16]
    symbol_bits: int
    order: int

    def bits(self, symbols: Symbols) -> float:
        """Bits that the model needs for the symbols of one text, START first."""
        return float(_text_bits(symbols, self.table, self.singles, self.symbol_bits, self.order))


@dataclass
class NgramOrder:
    """All n-grams of one order, sorted by key: which stay, the probability of the last symbol
    after the others, the backoff weight as a context; and the probability of an unseen symbol.
    """

    keys: Keys
    kept: npt.NDArray[np.bool_]
    chances: Floats
    backoffs: Floats
    unseen: float


def train_ngrams(
    stream: Symbols, *, number_of_symbols: int, symbol_bits: int, order: int
) -> NgramModel:
    """Estimate a model.

    Args:
        stream: symbols of all texts, each beginning with START.
        number_of_symbols: that can occur, START not among them.
        symbol_bits: symbols lie below 2^symbol_bits.
        order: symbols of the longest n-gram.

    Memory: about 100 bytes a symbol of the stream at its highest.
    """
    orders = estimate(
        stream, number_of_symbols=number_of_symbols, symbol_bits=symbol_bits, order=order
    )
    return _quantised(orders, symbol_bits, order)


def estimate(
    stream: Symbols, *, number_of_symbols: int, symbol_bits: int, order: int
) -> list[NgramOrder]:
    """The model before it is quantised, one entry for each order; arguments of `train_ngrams`."""
    bits = np.uint64(symbol_bits)
    counted = [_count(stream, bits, length) for length in range(1, order + 1)]
    orders: list[NgramOrder] = []
    for length, (keys, raw) in enumerate(counted, 1):
        adjusted = raw.copy()
        if length < order:
            mask = np.uint64((1 << (symbol_bits * length)) - 1)
            suffixes, extensions = np.unique(counted[length][0] & mask, return_counts=True)
            places = np.searchsorted(keys, suffixes)
            # What begins a text has nothing to its left and keeps its raw count.
            adjusted[places] = extensions
            begins = (keys >> (bits * np.uint64(length - 1))) == START
            adjusted[begins] = raw[begins]
        kept = raw > 1 if length >= _PRUNED_FROM else np.ones(len(keys), bool)
        orders.append(_smoothed(keys, raw, adjusted, kept, orders, bits, number_of_symbols))
    return orders


def _count(stream: Symbols, bits: np.uint64, length: int) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Sorted n-grams and how often each occurs; none goes over the start of a text."""
    number = len(stream) - length + 1
    keys = np.zeros(max(0, number), np.uint64)
    inside = np.ones(len(keys), bool)
    for offset in range(length if len(keys) else 0):
        part = stream[offset : offset + number]
        keys = (keys << bits) | part
        if offset or length == 1:
            inside &= part != START
    keys, counts = np.unique(keys[inside], return_counts=True)
    return keys, counts.astype(np.int64)


def _discounts(adjusted: npt.NDArray[np.int64]) -> Floats:
    """Discounts for n-grams seen once, twice, more often (Chen and Goodman 1998, equation 26);
    0.5, 1, 1.5 where the counts of counts give none, as in KenLM.
    """
    n1, n2, n3, n4 = (int((adjusted == number).sum()) for number in (1, 2, 3, 4))
    fallback = np.array([0.0, 0.5, 1.0, 1.5])
    if not n1 or not n2 or not n3:
        return fallback
    share = n1 / (n1 + 2 * n2)
    found = np.array(
        [0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
    )
    is_usable = (found[1:] > 0).all() and (found[1:] < [1, 2, 3]).all()
    return found if is_usable else fallback


def _smoothed(
    keys: Keys,
    raw: npt.NDArray[np.int64],
    adjusted: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
    lower: list[NgramOrder],
    bits: np.uint64,
    number_of_symbols: int,
) -> NgramOrder:
    """Probabilities of one order's kept n-grams; writes the backoff weights of their contexts."""
    discounted = adjusted - _discounts(adjusted)[np.minimum(adjusted, 3)]
    contexts = keys >> bits
    starts = np.flatnonzero(np.concatenate([[True], contexts[1:] != contexts[:-1]]))
    totals = np.add.reduceat(adjusted, starts).astype(np.float64)
    stays = np.add.reduceat(np.where(kept, discounted, 0.0), starts)
    weights = np.maximum(1 - stays / totals, 0.0)
    places = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(keys))))
    chances = discounted / totals[places]
    if not lower:
        unseen = weights[0] / number_of_symbols
        chances = chances + unseen
    else:
        unseen = lower[0].unseen
        mask = np.uint64((1 << (int(bits) * len(lower))) - 1)
        below = lower[-1].chances[np.searchsorted(lower[-1].keys, keys & mask)]
        chances = chances + weights[places] * below
        _set_backoffs(lower[-1], contexts[starts], weights)
    return NgramOrder(keys, kept, chances, np.ones(len(keys)), float(unseen))


def _set_backoffs(lower: NgramOrder, contexts: Keys, weights: Floats) -> None:
    places = np.searchsorted(lower.keys, contexts)
    places = np.minimum(places, len(lower.keys) - 1)
    known = lower.keys[places] == contexts  # START alone is no n-gram of its own
    lower.backoffs[places[known]] = weights[known]
    if not known.all():
        lower.keys = np.concatenate([contexts[~known], lower.keys])
        lower.kept = np.insert(lower.kept, 0, True)
        lower.chances = np.insert(lower.chances, 0, 0.0)
        lower.backoffs = np.concatenate([weights[~known], lower.backoffs])


def _levels(values: Floats) -> npt.NDArray[np.uint64]:
    """-log2 in steps; what is past the last level is as good as impossible."""
    steps = np.round(-np.log2(np.maximum(values, 1e-30)) * _STEPS_A_BIT)
    return np.clip(steps, 0, _LEVELS - 1).astype(np.uint64)


def _quantised(orders: list[NgramOrder], symbol_bits: int, order: int) -> NgramModel:
    singles = np.zeros((1 << symbol_bits, 2), np.uint16)
    first = orders[0]
    singles[:, 0] = _levels(np.full(len(singles), first.unseen))
    singles[first.keys.astype(np.int64), 0] = _levels(first.chances)
    singles[first.keys.astype(np.int64), 1] = _levels(first.backoffs)
    number = sum(int(item.kept.sum()) for item in orders[1:])
    slots = 1 << max(4, int(np.ceil(np.log2(max(1, number) / _FULLEST))))
    table = np.full(slots, _EMPTY, np.uint64)
    for length, item in enumerate(orders[1:], 2):
        keys = item.keys[item.kept] | np.uint64(length << 60)
        values = (_levels(item.chances[item.kept]) << _VALUE_BITS) | _levels(
            item.backoffs[item.kept]
        )
        _insert(table, keys, values)
    return NgramModel(table, singles, symbol_bits, order)


@kernel
def _insert(table: Keys, keys: Keys, values: Keys) -> None:
    # A slot holds 40 bits of the mixed key and 24 of values: 8 bytes instead of 16, so that twice
    # as many fit a cache.
    mask = np.uint64(len(table) - 1)
    for position in range(len(keys)):
        mixed = mix(keys[position])
        slot = mixed & mask
        while table[slot] != _EMPTY:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = ((mixed >> _PRINT_SHIFT) << _PRINT_SHIFT) | values[position]


@inner
def _find(table: Keys, key: np.uint64) -> np.uint64:
    """Both values of an n-gram, or all ones."""
    mask = np.uint64(len(table) - 1)
    mixed = mix(key)
    slot = mixed & mask
    wanted = mixed >> _PRINT_SHIFT
    while True:
        entry = table[slot]
        if entry == _EMPTY or entry >> _PRINT_SHIFT == wanted:
            return np.uint64(entry)
        slot = (slot + np.uint64(1)) & mask


@kernel
def _text_bits(
    symbols: Symbols, table: Keys, singles: npt.NDArray[np.uint16], symbol_bits: int, order: int
) -> float:
    """The longest known n-gram's bits for each symbol, and the backoff weights passed on the way.

    An n-gram is known only if all its parts are, so the search begins one symbol past what was
    known before, and mostly ends there.
    """
    width = np.uint64(symbol_bits)
    steps = 0
    known = 1
    history = np.uint64(symbols[0])  # the symbols before this one, the latest in the lowest bits
    for position in range(1, len(symbols)):
        symbol = symbols[position]
        joined = (history << width) | np.uint64(symbol)
        length = min(known + 1, order)
        while length > 1:
            mask = (np.uint64(1) << (width * np.uint64(length))) - np.uint64(1)
            entry = _find(table, (joined & mask) | (np.uint64(length) << np.uint64(60)))
            if entry != _EMPTY:
                steps += int((entry >> _VALUE_BITS) & _VALUE_MASK)
                break
            length -= 1
            if length == 1:
                steps += singles[symbols[position - 1], 1]
            else:
                mask >>= width
                context = (history & mask) | (np.uint64(length) << np.uint64(60))
                entry = _find(table, context)
                if entry != _EMPTY:
                    steps += int(entry & _VALUE_MASK)
        if length == 1:
            steps += singles[symbol, 0]
        known = min(length, order - 1)
        history = joined & ((np.uint64(1) << (width * np.uint64(order))) - np.uint64(1))
    return steps / _STEPS_A_BIT


def summary(model: NgramModel) -> dict[str, Any]:
    """Size of a model, for its report."""
    return {
        "ngrams": int((model.table != _EMPTY).sum()),
        "table_bytes": int(model.table.nbytes),
        "order": model.order,
    }
