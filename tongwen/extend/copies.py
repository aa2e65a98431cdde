"""Token ids in which everything is said twice: looking back and copying form on them.

Olsson et al. 2022, arXiv:2209.11895, show the heads that do it; text that has little to copy forms
them late. What was seen with these documents: docs/en/long-context.md.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np

from tongwen.train.data.packing import Int64s

_STRETCH_TOKENS = (6, 40)
"""Of a stretch: a name and a number, or a sentence."""
_RANDOM_SHARE = 0.75
"""Of the documents: pieces drawn at random, so that a model cannot know them by heart."""
_FACTS_TOKENS = 256
"""Of the shortest documents with facts or few pieces: a shorter one has room for too few."""
_FACTS_SHARE = 0.5
"""Of the documents: facts in one frame, as in “the number of NAME is VALUE”."""
_FEWEST_PIECES = 12
"""Of a random document: where few pieces come again and again, a single one tells nothing, and
what comes next is found by several before it."""


def said_twice(
    tokens: int,
    pieces: Sequence[int],
    stretch: Callable[[int, random.Random], Int64s],
    generator: random.Random,
) -> Int64s:
    """Stretches of text, or in most documents of pieces drawn at random, each twice and in random
    order. In half of the longer documents all stretches have the same frame around a name and a
    value, so that the token before a value does not tell which one it is.

    Args:
        tokens: of the document.
        pieces: ids that may be drawn.
        stretch: gives so many tokens of running text.
        generator: of all draws; equal draws make equal documents.
    """
    is_random = generator.random() < _RANDOM_SHARE
    drawn = _some(pieces, tokens, generator)

    def draw(fewest: int, most: int) -> Int64s:
        count = generator.randint(fewest, most)
        if is_random:
            return np.array(generator.choices(drawn, k=count), np.int64)
        return stretch(count, generator)

    has_facts = tokens >= _FACTS_TOKENS - 1 and generator.random() < _FACTS_SHARE
    before, between, after = draw(0, 5), draw(1, 3), draw(0, 2)
    stretches: list[Int64s] = []
    left = (tokens + 1) // 2
    while left > 0:
        if has_facts:
            made = np.concatenate([before, draw(1, 6), between, draw(1, 6), after])
        else:
            made = draw(*_STRETCH_TOKENS)
        stretches.append(made[:left])
        left -= len(made)
    order = [*range(len(stretches))] * 2
    generator.shuffle(order)
    said: Int64s = np.concatenate([stretches[number] for number in order])[:tokens]
    return said


def _some(pieces: Sequence[int], tokens: int, generator: random.Random) -> Sequence[int]:
    """A few of the pieces to all: as many documents have 50 to 100 as 500 to 1,000."""
    if tokens < _FACTS_TOKENS - 1:
        return pieces
    few = min(_FEWEST_PIECES, len(pieces))
    return generator.sample(pieces, int(few * (len(pieces) / few) ** generator.random()))
