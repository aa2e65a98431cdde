"""What the order of a text's sentences shows: shared words of neighbours, and how sentences join.

Works on units (`hashing`). A sentence ends with a mark that ends sentences, or at a line break; a
paragraph is a line.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.scorers.hashing import (
    BREAK,
    CHARACTER,
    END,
    WORD,
    Hashes,
    UnitKinds,
    Units,
    extended,
)
from tongwen.curate.text.hash_table import find_slot, table_slots
from tongwen.curate.text.units import mix
from tongwen.kernels import inner, kernel

Places = npt.NDArray[np.int64]
GAPS = 3
"""Distances at which repetitions are counted: 1, 2, and 3 to 5."""
_FARTHEST = 5
_LENGTH_STEPS = 6  # 3, 6, 12 ... units: from about 200 on all sentences are long
_JUNCTIONS = 6  # hashes a sentence, as written in `junctions`


class Sentences(NamedTuple):
    """Where each sentence begins and ends in the units, and the number of its paragraph."""

    starts: Places
    ends: Places
    paragraphs: Places


@kernel(allocates=True)
def _sentences(kinds: UnitKinds) -> tuple[Places, Places, Places]:
    # One turn past the last unit closes the last sentence. "?!" ends one sentence, not two, and a
    # run of signs without a word or character is none.
    starts = np.empty(len(kinds), np.int64)
    ends = np.empty(len(kinds), np.int64)
    paragraphs = np.empty(len(kinds), np.int64)
    number = paragraph = 0
    start = -1
    has_content = False
    for place in range(len(kinds) + 1):
        is_break = place == len(kinds) or kinds[place] == BREAK
        follows_end = place > 0 and kinds[place - 1] == END
        begins_next = not is_break and follows_end and kinds[place] != END
        if start >= 0 and (is_break or begins_next):
            if has_content:
                starts[number], ends[number], paragraphs[number] = start, place, paragraph
                number += 1
            start = -1
            has_content = False
        if is_break:
            paragraph += 1
            continue
        if start < 0:
            start = place
        has_content = has_content or kinds[place] == WORD or kinds[place] == CHARACTER
    return starts[:number].copy(), ends[:number].copy(), paragraphs[:number].copy()


def sentences_of(units: Units) -> Sentences:
    """The sentences with at least one word or Han character."""
    return Sentences(*_sentences(units.kinds))


@inner(allocates=True)
def _occurrences(
    hashes: Hashes, kinds: UnitKinds, starts: Places, ends: Places, groups: Places
) -> tuple[Places, Places, Places, int]:
    """Words by group: for each occurrence the word's slot, and the distance to the group that had
    it before (0 for the first); for each slot the number of groups; and how many groups there are.
    """
    most = (ends - starts).sum()
    size = table_slots(most)
    keys = np.zeros(size, np.uint64)
    latest = np.full(size, -1, np.int64)
    counts = np.zeros(size, np.int64)
    slots = np.empty(most, np.int64)
    gaps = np.empty(most, np.int64)
    number = group = 0
    for sentence in range(len(starts)):
        if sentence and groups[sentence] != groups[sentence - 1]:
            group += 1
        for place in range(starts[sentence], ends[sentence]):
            if kinds[place] == WORD:
                key = hashes[place]
            elif kinds[place] == CHARACTER and place and kinds[place - 1] == CHARACTER:
                key = extended(hashes[place - 1], hashes[place])
            else:
                continue
            slot = find_slot(keys, key, key)
            keys[slot] = key
            if latest[slot] == group:
                continue
            slots[number] = slot
            gaps[number] = group - latest[slot] if latest[slot] >= 0 else 0
            number += 1
            latest[slot] = group
            counts[slot] += 1
    return slots[:number], gaps[:number], counts, group + 1


@kernel(allocates=True)
def repetition_excess(
    hashes: Hashes, kinds: UnitKinds, starts: Places, ends: Places, groups: Places
) -> npt.NDArray[np.float64]:
    """How many more words recur at each distance than would in a random order, in rough standard
    deviations: shape (GAPS,).

    In a random order a word that k of S groups have recurs at distance g in k (k - 1) (S - g) /
    (S (S - 1)) places on average; in that many of them, times the chance that none of its other
    k - 2 is in between, g is the distance to the next one. Words, in Chinese pairs of characters,
    weigh log(S / k).

    Args:
        hashes: of all units.
        kinds: of all units.
        starts: of the sentences.
        ends: of the sentences.
        groups: ascending number of the group, sentence or paragraph, of every sentence.
    """
    excess = np.zeros(GAPS)
    if len(starts) == 0:
        return excess
    slots, gaps, counts, total = _occurrences(hashes, kinds, starts, ends, groups)
    if total < 3:
        return excess
    found, expected, spread = np.zeros(GAPS), np.zeros(GAPS), np.zeros(GAPS)
    for row in range(len(slots)):
        share = counts[slots[row]]
        if share < 2:
            continue
        weight = np.log(total / share)
        if gaps[row]:
            if gaps[row] <= _FARTHEST:
                found[min(gaps[row], GAPS) - 1] += weight
            continue
        for distance in range(1, min(_FARTHEST, total - 1) + 1):  # once a word
            chance = share * (share - 1) * (total - distance) / (total * (total - 1.0))
            for between in range(1, distance):
                chance *= max(0.0, 1 - (share - 2.0) / max(1.0, total - 1.0 - between))
            expected[min(distance, GAPS) - 1] += weight * chance
            spread[min(distance, GAPS) - 1] += weight * weight * chance
    for gap in range(GAPS):
        excess[gap] = (found[gap] - expected[gap]) / np.sqrt(spread[gap] + 1)
    return excess


@inner
def _step(length: int) -> int:
    step = 0
    while length > 3 and step < _LENGTH_STEPS:
        length //= 2
        step += 1
    return step


@kernel(allocates=True)
def junctions(hashes: Hashes, starts: Places, ends: Places, paragraphs: Places) -> Hashes:
    """Hashes of how each sentence joins the one before: its opening alone and with the other's
    opening and end, whether a paragraph begins, and both lengths.
    """
    found = np.empty(_JUNCTIONS * max(1, len(starts)), np.uint64)
    number = 0
    for sentence in range(len(starts)):
        first = hashes[starts[sentence]]
        second = hashes[min(starts[sentence] + 1, ends[sentence] - 1)]
        opening = extended(first, second)
        place = np.uint64(0)
        if sentence:
            place = np.uint64(1 + (paragraphs[sentence] != paragraphs[sentence - 1]))
        found[number] = mix(extended(first, place + np.uint64(101)))
        found[number + 1] = mix(extended(opening, place + np.uint64(201)))
        number += 2
        if sentence == 0:
            continue
        before = sentence - 1
        last = hashes[ends[before] - 1]
        closing = hashes[max(starts[before], ends[before] - 2)]
        lengths = np.uint64(
            _step(ends[before] - starts[before]) * 10 + _step(ends[sentence] - starts[sentence])
        )
        found[number] = mix(extended(extended(hashes[starts[before]], first), np.uint64(301)))
        found[number + 1] = mix(extended(extended(closing, first), np.uint64(401)))
        found[number + 2] = mix(extended(extended(last, lengths), place + np.uint64(501)))
        found[number + 3] = mix(extended(extended(last, first), place + np.uint64(601)))
        number += 4
    return found[:number].copy()


def rearranged(units: Units, sentences: Sentences, order: Places) -> Units:
    """The text with its sentences in another order; the number of sentences in each paragraph
    stays as it is.
    """
    stop = np.zeros(1, np.uint64)
    mark = np.full(1, BREAK, np.uint8)
    hashes: list[Hashes] = []
    kinds: list[UnitKinds] = []
    for place, sentence in enumerate(order.tolist()):
        if place and sentences.paragraphs[place] != sentences.paragraphs[place - 1]:
            hashes.append(stop)
            kinds.append(mark)
        part = slice(sentences.starts[sentence], sentences.ends[sentence])
        hashes.append(units.hashes[part])
        kinds.append(units.kinds[part])
        # A sentence that ends its line without a mark would run into the next one.
        is_last = place + 1 == len(order)
        joins = not is_last and sentences.paragraphs[place] == sentences.paragraphs[place + 1]
        if joins and units.kinds[sentences.ends[sentence] - 1] != END:
            hashes.append(stop)
            kinds.append(mark)
    return Units(np.concatenate(hashes), np.concatenate(kinds))
