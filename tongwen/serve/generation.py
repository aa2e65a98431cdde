"""One answer on its way: what was asked, and what has been written so far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tongwen.model.sampler import Sampler, Sampling
from tongwen.serve.lookup import PromptLookup
from tongwen.serve.scores import PromptScores, TokenScore, token_scores
from tongwen.serve.stop import StopText
from tongwen.tokenizer.text import StreamingDecoder

if TYPE_CHECKING:
    from tongwen.serve.grammar import GrammarState

FinishReason = Literal["stop", "length", "tool_calls", "error"]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to continue and how.

    Attributes:
        prompt_ids: token ids, at least one.
        max_tokens: longest answer, 0 only reads the prompt; None or more than fits goes on until
            the context window is full.
        min_tokens: before so many no stop id is chosen.
        stop: the answer ends before the first of these strings.
        stop_ids: ends the answer as well as the model's own stop ids.
        ignores_eos: the model's own stop ids do not end it.
        sampling: how tokens are chosen.
        grammar: that the answer has to fit, as `tongwen.serve.grammar` makes it.
        logprobs: how many likeliest tokens to name with each token's score; None: no scores.
        scores_prompt: score the prompt's tokens too.
        reports_progress: tell how much of the prompt has been read.
        client: whose turn it is when several wait.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int | None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignores_eos: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    grammar: str | None = None
    logprobs: int | None = None
    scores_prompt: bool = False
    reports_progress: bool = False
    client: str = ""


@dataclass(frozen=True)
class Delta:
    """New text of an answer; the last one says why the answer ended.

    Attributes:
        text: may be empty.
        finish: `stop` at a stop id or stop string, `length` at a limit, `error` when it broke
            off; None while the answer goes on.
        error: what happened, for `error`.
        is_request_at_fault: it was asked for what cannot be done, for `error`.
        scores: of the tokens whose text this is, where they were asked for.
        prompt_scores: of the prompt's tokens, in the first delta, where they were asked for.
        stop: the stop string that ended the answer.
        read_tokens: of the prompt so far, where that was asked for; such a delta holds no text.
    """

    text: str
    finish: FinishReason | None = None
    error: str | None = None
    is_request_at_fault: bool = False
    scores: tuple[TokenScore, ...] = ()
    prompt_scores: tuple[TokenScore, ...] = ()
    stop: str | None = None
    read_tokens: int | None = None


class Generation:
    """A request in the engine. Only the engine's thread changes it, but for `is_aborted`."""

    def __init__(
        self,
        request: GenerationRequest,
        *,
        max_tokens: int,
        stop_ids: frozenset[int],
        decoder: StreamingDecoder,
        grammar: "GrammarState | None" = None,
        deliver: Callable[[Delta], None],
    ) -> None:
        self.request = request
        self.max_tokens = max_tokens
        self.completion_tokens = 0
        """Tokens of the answer, without a stop id."""
        self.cached_tokens = 0
        """Tokens of the prompt whose keys and values were known from an earlier one."""
        self.last_id = -1
        self.is_aborted = False
        self.lookup = PromptLookup(request.prompt_ids)
        self.prompt_scores: PromptScores | None = None
        own = frozenset() if request.ignores_eos else stop_ids
        self._stop_ids = own | frozenset(request.stop_ids)
        self._decoder = decoder
        self._deliver = deliver
        self._grammar = grammar
        self._sampler = Sampler(request.sampling, request.prompt_ids)
        self._stop_text = StopText(request.stop)
        self._scores: list[tuple[int, TokenScore]] = []
        """Of the tokens whose text was not delivered yet, with where it begins."""
        self._written_characters = 0
        self._shown_characters = 0

    def take(self, logits_V: Tensor) -> bool:
        """Choose the next token and deliver its text; whether the answer goes on after it."""
        if self.prompt_scores is not None:
            self._deliver(Delta("", prompt_scores=tuple(self.prompt_scores.scores)))
            self.prompt_scores = None
        if self.max_tokens == 0:
            return self._end("", "length")
        self.last_id = self._choose(logits_V)
        if self.last_id in self._stop_ids:
            return self._end("", self._natural_end)
        if self._grammar is not None:
            self._grammar.take(self.last_id)
        if self.request.logprobs is not None:
            score = token_scores(logits_V[None], [self.last_id], self.request.logprobs)[0]
            self._scores.append((self._written_characters, score))
        self.completion_tokens += 1
        self.lookup.add(self.last_id)
        new = self._decoder.push(self.last_id)
        self._written_characters += len(new)
        text, is_stopped = self._stop_text.push(new)
        if is_stopped:
            self._send(text, "stop")
            return False
        if self._grammar is not None and self._grammar.is_finished:
            return self._end(text, self._natural_end)
        if self.completion_tokens >= self.max_tokens:
            return self._end(text, "length")
        if text:
            self._send(text)
        return not self.is_aborted

    def guess(self, most: int) -> list[int]:
        """Tokens that may come next, at most so many and none beyond the last."""
        return self.lookup.guess(min(most, self.max_tokens - self.completion_tokens - 1))

    def report(self, read_tokens: int) -> None:
        """Tell how much of the prompt has been read, if that was asked for."""
        if self.request.reports_progress and not self.is_aborted:
            self._deliver(Delta("", read_tokens=read_tokens))

    def fail(self, error: str, *, is_request_at_fault: bool = False) -> None:
        """End the answer because it cannot be written."""
        if not self.is_aborted:
            self._deliver(Delta("", "error", error, is_request_at_fault))

    @property
    def _natural_end(self) -> FinishReason:
        """An answer that a grammar closed because of the limit was shortened, and says so."""
        return "length" if self._grammar is not None and self._grammar.closes_early else "stop"

    def _choose(self, logits_V: Tensor) -> int:
        is_too_early = self.completion_tokens < self.request.min_tokens
        without: Sequence[int] = sorted(self._stop_ids) if is_too_early else ()
        if self._grammar is None:
            return self._sampler.choose(logits_V, without=without)
        masked_V = self._grammar.masked(logits_V)
        if without and self._must_stop(masked_V, without):
            without = ()
        token_id = self._sampler.choose(masked_V, without=without)
        return self._grammar.fitting(token_id, self.max_tokens - self.completion_tokens)

    @staticmethod
    def _must_stop(masked_V: Tensor, stop_ids: Sequence[int]) -> bool:
        """Whether the grammar allows nothing but an end."""
        goes_on_V = masked_V > -torch.inf
        goes_on_V[list(stop_ids)] = False
        return not bool(goes_on_V.any())

    def _end(self, text: str, finish: FinishReason) -> bool:
        rest, is_stopped = self._stop_text.push(self._decoder.flush())
        if not is_stopped:
            rest += self._stop_text.flush()
        self._send(text + rest, "stop" if is_stopped else finish)
        return False

    def _send(self, text: str, finish: FinishReason | None = None) -> None:
        if self.is_aborted:
            return
        self._shown_characters += len(text)
        stop = self._stop_text.found
        # Tokens of a stop string are not shown, so neither are their scores.
        scores = tuple(
            score for start, score in self._scores if stop is None or start < self._shown_characters
        )
        self._scores = []
        self._deliver(Delta(text, finish, scores=scores, stop=stop))
