"""Log-probabilities of a text as a server scores it: `/v1/completions` with `echo` and `logprobs`.

Servers spell tokens in different ways: a part of a character as `bytes:\\xe4`, as U+FFFD or not at
all, a beginning of text that is not in it, a first piece with a space before it. Where the spelled
tokens make up the text, their bytes say where each ends; else `text_offset` does.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_KEPT_BYTES = 64
"""Before the scored text: enough to see whether tokens there depend on what follows."""
_MOST_MARKS = 2
"""Tokens at a text's beginning that are not of it, such as `<s>`."""
_BYTES = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)")


class NoEchoError(Exception):
    """The answer has no log-probabilities of the text that was sent."""


class UnalignedError(NoEchoError):
    """It has some, and they do not say where in the text their tokens are."""


@dataclass(frozen=True)
class Echo:
    """The last tokens of a text.

    Attributes:
        ends: where each token ends, in bytes of the text.
        log_probabilities: natural logarithms; None of a token that follows nothing.
        is_best: whether no token was likelier.
    """

    ends: list[int]
    log_probabilities: list[float | None]
    is_best: list[bool]

    def scored_from(self, context_bytes: int) -> int:
        """The first token that holds a byte after the context."""
        return sum(end <= context_bytes for end in self.ends[:-1])

    def log_probability(self, first: int) -> float:
        """Of the tokens from `first` on; NaN where one has none."""
        values = self.log_probabilities[first:]
        return math.fsum(math.nan if value is None else value for value in values)


def read_echo(reply: Any, text: str, context_bytes: int = 0) -> Echo:
    """The tokens of `text` in a server's reply, from a little before its context's end on.

    Raises:
        NoEchoError: the reply has no log-probabilities, or not the likeliest tokens.
        UnalignedError: its tokens do not make up the text.
        KeyError, TypeError: the reply is no completion.
    """
    choice = reply["choices"][0]
    if not isinstance(choice["text"], str):
        raise TypeError
    scores = choice.get("logprobs")
    if not isinstance(scores, dict):
        raise NoEchoError("without log-probabilities")
    tokens, values, top = (scores.get(n) for n in ("tokens", "token_logprobs", "top_logprobs"))
    if not (isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values)):
        raise NoEchoError("with log-probabilities of another layout")
    if not isinstance(top, list) or len(top) != len(tokens):
        raise NoEchoError("without the likeliest tokens (`top_logprobs`)")
    ends = _spelled_ends(tokens, text) or _offset_ends(tokens, scores.get("text_offset"), text)
    if ends is None:
        raise UnalignedError("with tokens that do not make up the text (`echo`)")
    first = next(place for place, end in enumerate(ends) if end > context_bytes - _KEPT_BYTES)
    kept = range(first, len(ends))
    log_probabilities = [None if values[n] is None else float(values[n]) for n in kept]
    is_best = [_is_best(value, top[n]) for n, value in zip(kept, log_probabilities, strict=True)]
    return Echo(ends[first:], log_probabilities, is_best)


def shared_end(echoes: Sequence[Echo], context_bytes: int) -> int:
    """Where scoring begins in texts with one context, in bytes: the end of the longest prefix of
    tokens they share inside it.
    """
    first = min(echo.scored_from(context_bytes) for echo in echoes)
    found = -1
    for here in zip(*(echo.ends[:first] for echo in echoes), strict=True):
        if len({*here}) > 1:
            break
        found = here[0]
    return found


def _spelled_ends(tokens: Sequence[Any], text: str) -> list[int] | None:
    """Where tokens end whose bytes make up the text; None where they do not."""
    data = text.encode()
    place, ends = 0, []
    for number, token in enumerate(tokens):
        if place == len(data):
            break  # what the server wrote after the text
        spelled = _token_bytes(token)
        bare = spelled.removeprefix(b" ")
        if data.startswith(spelled, place):
            place += len(spelled)
        elif place == 0 and bare and data.startswith(bare):
            place += len(bare)
        elif place or number >= _MOST_MARKS:
            return None
        ends.append(place)
    return ends if place == len(data) else None


def _token_bytes(token: object) -> bytes:
    if not isinstance(token, str):
        return b"\xff"  # in no text
    if spelled := _BYTES.fullmatch(token):
        return bytes.fromhex(spelled[1].replace("\\x", ""))
    return token.encode("utf-8", "surrogatepass")


def _offset_ends(tokens: Sequence[Any], offsets: object, text: str) -> list[int] | None:
    """Where tokens end that begin at these characters; None where that cannot be."""
    if not isinstance(offsets, list) or len(offsets) != len(tokens):
        return None
    starts = [start for start in offsets if isinstance(start, int) and 0 <= start < len(text)]
    is_whole = starts == offsets[: len(starts)] and starts[:1] == [0]
    if not is_whole or any(one > other for one, other in pairwise(starts)):
        return None
    for token, start in zip(tokens, starts, strict=False):
        spelled = str(token).strip()
        if "�" not in spelled and not text[start:].lstrip().startswith(spelled) and start:
            return None
    bytes_before = [0]
    for character in text:
        bytes_before.append(bytes_before[-1] + len(character.encode("utf-8", "surrogatepass")))
    ends, following = [], len(text)
    for start, next_start in zip(reversed(starts), reversed((*starts[1:], len(text))), strict=True):
        following = next_start if next_start > start else following
        ends.append(bytes_before[following])  # the first bytes of a character end with it
    return ends[::-1]


def _is_best(value: float | None, top: object) -> bool:
    if value is None or not isinstance(top, dict) or not top:
        return False
    return value >= max(map(float, top.values()))
