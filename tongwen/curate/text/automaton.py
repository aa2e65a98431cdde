"""Many terms found in one pass over a text (Aho and Corasick 1975, CACM 18(6))."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tongwen.curate.text.characters import CodePoints
from tongwen.curate.text.traits import TABLE_POINTS
from tongwen.kernels import kernel

Numbers = npt.NDArray[np.int16]


class Automaton(NamedTuple):
    """Terms made ready to be found.

    Attributes:
        letters: by code point its column in `steps`; 0 for what is in no term.
        steps: [states, letters] the next state.
        longest: by state the longest term that ends there, -1 for none.
        shorter: by term the longest other term that it ends with, -1 for none.
        lengths: characters of each term.
    """

    letters: npt.NDArray[np.uint16]
    steps: Numbers
    longest: Numbers
    shorter: Numbers
    lengths: Numbers


def automaton_of(terms: Sequence[str], normal: CodePoints) -> Automaton:
    """An automaton for different `terms`, that takes a text's characters through `normal`, a table
    of `TABLE_POINTS + 1` code points, first.
    """
    columns = {letter: place + 1 for place, letter in enumerate(sorted(set("".join(terms))))}
    steps: list[dict[int, int]] = [{}]
    ending: list[int] = [-1]
    for number, term in enumerate(terms):
        state = 0
        for letter in term:
            column = columns[letter]
            if column not in steps[state]:
                steps[state][column] = len(steps)
                steps.append({})
                ending.append(-1)
            state = steps[state][column]
        ending[state] = number
    assert len(steps) < 1 << 15
    table = np.zeros((len(steps), len(columns) + 1), np.int16)
    longest = np.full(len(steps), -1, np.int16)
    shorter = np.full(len(terms), -1, np.int16)
    queue = deque([(0, 0)])  # a state and the state of its longest proper suffix
    while queue:
        state, suffix = queue.popleft()
        if state:
            table[state] = table[suffix]
            longest[state] = longest[suffix]
        if ending[state] >= 0:
            shorter[ending[state]] = longest[suffix] if state else -1
            longest[state] = ending[state]
        for column, following in steps[state].items():
            queue.append((following, int(table[suffix, column]) if state else 0))
        for column, following in steps[state].items():
            table[state, column] = following
    letters = np.zeros(TABLE_POINTS + 1, np.uint16)
    for letter, column in columns.items():
        letters[normal == ord(letter)] = column
    return Automaton(
        letters, table, longest, shorter, np.array([len(term) for term in terms], np.int16)
    )


@kernel(allocates=True)
def count_terms(points: CodePoints, automaton: Automaton) -> npt.NDArray[np.int64]:
    """How often each term stands in a text, as `str.count` does: no term overlaps itself."""
    letters, steps, longest, shorter, lengths = automaton
    counts = np.zeros(len(lengths), np.int64)
    free = np.zeros(len(lengths), np.int64)
    last = np.uint32(len(letters) - 1)
    state = 0
    for place in range(len(points)):
        letter = letters[min(points[place], last)]
        if letter == 0:
            state = 0
            continue
        state = steps[state, letter]
        term = longest[state]
        while term >= 0:
            if place + 1 - lengths[term] >= free[term]:
                counts[term] += 1
                free[term] = place + 1
            term = shorter[term]
    return counts
