"""Answers that fit a grammar: a JSON schema, a regular expression, a Lark or a GBNF grammar.

Before each token llguidance says which ones the grammar allows (Moskal et al., "Making structured
output fast"; https://github.com/guidance-ai/llguidance). Two things are ours: blank space between
the parts of JSON is bounded, since a small model fills its limit with newlines otherwise, and an
answer that comes near its limit is closed, so that what was asked to be JSON can be parsed.

Shape suffixes in this file: V vocabulary_size.
"""

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import llguidance
import numpy as np
import torch
from torch import Tensor

from tongwen.errors import InputError
from tongwen.tokenizer.text import Tokenizer

_BLANK = r"( |\n {0,16})?"
"""Between the parts of JSON: nothing, a space, or a new line with its indentation."""

_LARGEST_EXACT = 2**53 - 1
"""Integers without bounds of their own end here: what every reader of JSON holds exactly
(RFC 7493, section 2.2). Without it a small model writes digits for ever."""

# From here to the limit every token costs a look ahead at the shortest end.
_LONGEST_CLOSING_TOKENS = 512
_MOST_GRAMMARS = 64
_MOST_CHARACTERS = 200_000
"""The longest grammar, after a schema is turned into one. Compiling 500,000 characters took 7 s of
one core, 5 million more than a minute (2026-12)."""
_NOT_SCHEMAS = frozenset(("const", "enum", "default", "examples", "example"))
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

# The order in which single bytes are tried to reach the end soonest: within a string and outside.
_CLOSING_STRING = b'"' + b"0a1- .:/@n\\" + bytes(range(0x20, 0x7F))
_CLOSING_VALUE = b'}]",:0n1tf-[{<>/e.' + bytes(range(0x20, 0x7F)) + b"\n"


def json_grammar(schema: object) -> str:
    """The grammar of the JSON texts that fit a schema."""
    return str(llguidance.LLMatcher.grammar_from_json_schema(bounded(schema)))


def regex_grammar(pattern: str) -> str:
    """The grammar of the texts that a regular expression matches in whole."""
    return str(llguidance.LLMatcher.grammar_from_regex(pattern))


def lark_grammar(text: str) -> str:
    """A grammar in Lark's notation, or in llama.cpp's GBNF, which has `::=`."""
    if "::=" in text:
        try:
            text = llguidance.gbnf_to_lark.any_to_lark(text)
        except Exception as error:
            raise InputError(f"the grammar cannot be read as GBNF: {error}") from error
    return str(llguidance.LLMatcher.grammar_from_lark(text))


def choice_grammar(choices: Collection[str]) -> str:
    """The grammar of a few fixed texts."""
    return lark_grammar("start: " + " | ".join(json.dumps(choice) for choice in choices))


def bounded(schema: object) -> dict[str, Any]:
    """The schema with bounded blank space and bounded integers."""
    schema = {} if schema is True else schema
    if not isinstance(schema, dict):
        raise InputError("a JSON schema must be an object")
    try:
        copied: dict[str, Any] = _with_bounds(schema)
    except RecursionError as error:
        raise InputError("the JSON schema is nested too deeply") from error
    own = copied.pop("x-guidance", {})
    own = own if isinstance(own, dict) else {}
    return copied | {"x-guidance": {**own, "whitespace_pattern": _BLANK}}


def _with_bounds(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bounds(item) for item in value]
    if not isinstance(value, dict):
        return value
    copied = {
        key: item if key in _NOT_SCHEMAS else _with_bounds(item) for key, item in value.items()
    }
    if value.get("type") == "integer" and not any(key in value for key in _BOUNDS):
        copied |= {"minimum": -_LARGEST_EXACT, "maximum": _LARGEST_EXACT}
    return copied


class Grammars:
    """Compiles grammars for one tokenizer, and keeps those used last.

    Args:
        tokenizer: of the model.
        stop_ids: end an answer where the grammar lets it end.
    """

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int]) -> None:
        self._bytes = tokenizer.token_bytes
        self._stop_ids = frozenset(stop_ids)
        self._tokenizer = llguidance.LLTokenizer(
            llguidance.TokenizerWrapper(_Vocabulary(tokenizer, stop_ids)),
            eos_token=sorted(stop_ids),
        )
        self._single_ids = {data: number for number, data in enumerate(self._bytes) if data}
        self._limits = llguidance.LLParserLimits(verbose_errors=False)
        self._compiled = lru_cache(_MOST_GRAMMARS)(self._compile)

    def state(self, grammar: str) -> "GrammarState":
        """The start of an answer.

        Raises:
            InputError: the grammar has an error, or is larger than the library's limits.
        """
        matcher, can_close = self._compiled(grammar)
        return self._start(matcher, can_close=can_close)

    def _start(self, matcher: llguidance.LLMatcher, *, can_close: bool) -> "GrammarState":
        return GrammarState(
            matcher.deep_copy(),
            self._bytes,
            self._single_ids,
            self._stop_ids,
            can_close=can_close,
        )

    def _compile(self, grammar: str) -> tuple[llguidance.LLMatcher, bool]:
        if len(grammar) > _MOST_CHARACTERS:
            raise InputError(
                f"the grammar has {len(grammar):,} characters; the most are {_MOST_CHARACTERS:,}"
            )
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        # The first mask finds out what the compiler leaves for later.
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            words = " ".join(matcher.get_error().split())
            raise InputError(f"the grammar cannot be used: {words[:500]}")
        start = self._start(matcher, can_close=False)
        return matcher, start.tokens_to_end(_LONGEST_CLOSING_TOKENS) is not None


class GrammarState:
    """How far an answer has come in its grammar. Belongs to one answer and one thread."""

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        token_bytes: tuple[bytes, ...],
        single_ids: Mapping[bytes, int],
        stop_ids: Collection[int],
        *,
        can_close: bool,
    ) -> None:
        self._matcher = matcher
        self._stop_ids = stop_ids
        self._token_bytes = token_bytes
        self._single_ids = single_ids
        self._place = _JsonPlace()
        self._can_close = can_close
        self.closes_early = False
        """Whether a token was chosen because the limit was near."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def masked(self, logits_V: Tensor) -> Tensor:
        """The logits with minus infinity for every token that the grammar does not allow here.

        Raises:
            InputError: the grammar needs more work at this place than its limits allow.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        is_allowed_V = np.zeros(len(logits_V), bool)
        unpacked = np.unpackbits(bits, bitorder="little")[: len(self._token_bytes)].view(bool)
        is_allowed_V[: len(unpacked)] = unpacked
        return logits_V.masked_fill(~torch.from_numpy(is_allowed_V).to(logits_V.device), -torch.inf)

    def fitting(self, token_id: int, tokens_left: int) -> int:
        """The token, or the one that leads to an end where this one leaves no room for it.

        Args:
            token_id: chosen from the allowed ones.
            tokens_left: of the answer's limit, this one included.
        """
        if not self._can_close or tokens_left > _LONGEST_CLOSING_TOKENS:
            return token_id
        if token_id in self._stop_ids:
            return token_id
        after = self._copy()
        if after._advance(token_id) and after.tokens_to_end(tokens_left - 1) is not None:
            return token_id
        closing_id = min(self._stop_ids) if self._matcher.is_accepting() else self._closing_id()
        if closing_id is None or self.tokens_to_end(tokens_left) is None:
            self._can_close = False  # the limit is too small for any end
            return token_id
        self.closes_early = True
        return closing_id

    def take(self, token_id: int) -> None:
        """Move on by a token.

        Raises:
            InputError: the grammar does not allow it.
        """
        self._advance(token_id)
        self._check()

    def tokens_to_end(self, most: int) -> int | None:
        """Tokens of a short way to a possible end; None if it needs more than `most`."""
        state = self._copy()
        tokens = 0
        while tokens <= most:
            if state._matcher.is_accepting():
                return tokens
            # All of a text that is forced at once: to ask for it again at each of its tokens takes
            # time that grows as the square of its length.
            forced = state._matcher.compute_ff_tokens()
            if tokens + len(forced) > most:
                return None
            following: list[int | None] = [*map(int, forced)] or [state._closing_id()]
            for token_id in following:
                if token_id is None or not state._advance(token_id):
                    return None
            tokens += len(following)
        return None

    def _closing_id(self) -> int | None:
        """The token that brings the end nearer, by what JSON needs at this place."""
        forced = self._matcher.compute_ff_tokens()
        if forced:
            return int(forced[0])
        allowed = np.unpackbits(
            np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little"
        )
        for byte in _CLOSING_STRING if self._place.is_string else _CLOSING_VALUE:
            token_id = self._single_ids.get(bytes([byte]))
            if token_id is not None and allowed[token_id]:
                return token_id
        ids = np.flatnonzero(allowed[: len(self._token_bytes)])
        return next((int(token_id) for token_id in ids if self._token_bytes[token_id]), None)

    def _advance(self, token_id: int) -> bool:
        if token_id < len(self._token_bytes):
            self._place.push(self._token_bytes[token_id])
        return bool(self._matcher.consume_token(token_id))

    def _copy(self) -> "GrammarState":
        copied = GrammarState(
            self._matcher.deep_copy(),
            self._token_bytes,
            self._single_ids,
            self._stop_ids,
            can_close=False,
        )
        copied._place = self._place.copy()
        return copied

    def _check(self) -> None:
        if self._matcher.is_error():
            words = " ".join(self._matcher.get_error().split())
            raise InputError(f"the grammar cannot continue: {words[:300]}")


class _JsonPlace:
    """Whether a text is within a JSON string. A tag begins a new JSON text."""

    def __init__(self) -> None:
        self.is_string = False
        self._is_escaped = False
        self._last = b""

    def push(self, data: bytes) -> None:
        for byte in data:
            if self._is_escaped:
                self._is_escaped = False
            elif self.is_string and byte == 0x5C:
                self._is_escaped = True
            elif byte == 0x22:
                self.is_string = not self.is_string
            self._last = (self._last + bytes([byte]))[-len(_TAG) :]
            if self._last == _TAG:
                self.is_string = self._is_escaped = False

    def copy(self) -> "_JsonPlace":
        copied = _JsonPlace()
        copied.is_string, copied._is_escaped = self.is_string, self._is_escaped
        copied._last = self._last
        return copied


_TAG = b"<tool_call>"


class _Vocabulary:
    """A tokenizer as llguidance asks for one."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: Collection[int]) -> None:
        self.eos_token_id = min(stop_ids)
        self.bos_token_id = None
        self.tokens = [
            data or tokenizer.piece(number).encode()
            for number, data in enumerate(tokenizer.token_bytes)
        ]
        self.special_token_ids = sorted(tokenizer.special_ids.values())
        self._tokenizer = tokenizer
        self._ids = {data: number for number, data in enumerate(tokenizer.token_bytes) if data}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes | str) -> list[int]:
        """Ids of exactly these bytes.

        A tokenizer that writes a space before each text, as Llama 2's does, has none of its own for
        them: then the longest tokens that spell them.
        """
        data = text if isinstance(text, bytes) else text.encode()
        ids = self._tokenizer.encode(data.decode("utf-8", "replace"))
        if b"".join(self._tokenizer.token_bytes[number] for number in ids) == data:
            return ids
        return self._longest_first(data)

    def _longest_first(self, data: bytes) -> list[int]:
        ids: list[int] = []
        start = 0
        while start < len(data):
            lengths = range(min(self._longest, len(data) - start), 0, -1)
            found = next((n for n in lengths if data[start : start + n] in self._ids), None)
            if found is None:
                break  # a byte that no token holds: the library goes on from there
            ids.append(self._ids[data[start : start + found]])
            start += found
        return ids
