"""Guesses at the next tokens: what followed the last few tokens where they stood before.

Prompt lookup decoding, Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding: an
answer about a document repeats parts of it, and one pass over the weights verifies several tokens.
Guesses are only tried where a pass over some rows costs little more than over one, and as long as
enough of them were right.
"""

from collections.abc import Sequence

ROWS_AT_ONCE = 4
"""Rows of a step that share a read of the weights: on 2 cores of Zen 3 an int4 product of 4 rows
takes 1.4 times as long as that of one row, of 8 rows 2.7 times (docs/experiments/serving.md)."""

_KNOWN_TOKENS = 3
"""That must have stood in the same order before."""

_LEAST_SHARE = 0.3
"""Of the guesses that must be right; a row of a step costs between 0.14 and 0.4 of one alone."""

_WEIGHT = 0.1
"""Of the newest guess in the share that was right."""

_PAUSE_TOKENS = 64
"""Before guessing is tried again."""


class PromptLookup:
    """Guesses for one answer.

    Args:
        prompt_ids: what the answer continues.
    """

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        self._ids = list(prompt_ids)
        self._places: dict[tuple[int, ...], int] = {}
        """Known tokens -> where the token after them is."""
        self._indexed = _KNOWN_TOKENS
        self._share = 0.5
        self._resumes_at = 0
        self.guessed = 0
        """Tokens that were tried."""
        self.right = 0
        """Of these, how many the model wrote."""

    def add(self, token_id: int) -> None:
        """Note the answer's next token."""
        self._ids.append(token_id)

    def guess(self, most: int) -> list[int]:
        """The tokens that may come next, at most so many; none where guessing does not pay."""
        if most < 1 or len(self._ids) < self._resumes_at:
            return []
        ids, places = self._ids, self._places
        for end in range(self._indexed, len(ids)):
            places[tuple(ids[end - _KNOWN_TOKENS : end])] = end
        self._indexed = max(self._indexed, len(ids))
        place = places.get(tuple(ids[-_KNOWN_TOKENS:]))
        if place is None:
            return []
        period = ids[place : place + most]  # what comes again goes on coming again
        return [period[number % len(period)] for number in range(most)]

    def judge(self, guessed: int, right: int) -> None:
        """Learn from what came of a guess."""
        self.guessed += guessed
        self.right += right
        for number in range(guessed):
            self._share += _WEIGHT * ((number < right) - self._share)
        if self._share < _LEAST_SHARE:
            self._share = 0.5
            self._resumes_at = len(self._ids) + _PAUSE_TOKENS
