"""One answer on its way: what was asked, and what has been written so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from tongwen.model.sampler import Sampler, Sampling
from tongwen.serve.stop import StopText
from tongwen.tokenizer.text import StreamingDecoder

FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What to continue and how.

    Attributes:
        prompt_ids: token ids, at least one.
        max_tokens: longest answer; None or more than fits goes on until the context window is full.
        min_tokens: before so many no stop id is chosen.
        stop: the answer ends before the first of these strings.
        stop_ids: ends the answer as well as the model's own stop ids.
        ignores_eos: the model's own stop ids do not end it.
        sampling: how tokens are chosen.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int | None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignores_eos: bool = False
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Delta:
    """New text of an answer; the last one says why the answer ended.

    Attributes:
        text: may be empty.
        finish: `stop` at a stop id or stop string, `length` at a limit, `error` when it broke
            off; None while the answer goes on.
        error: what happened, for `error`.
    """

    text: str
    finish: FinishReason | None = None
    error: str | None = None


class Generation:
    """A request in the engine. Only the engine's thread changes it, but for `is_aborted`."""

    def __init__(
        self,
        request: GenerationRequest,
        *,
        max_tokens: int,
        stop_ids: frozenset[int],
        decoder: StreamingDecoder,
        deliver: Callable[[Delta], None],
    ) -> None:
        self.request = request
        self.completion_tokens = 0
        """Tokens of the answer, without a stop id."""
        self.last_id = -1
        self.is_aborted = False
        self._max_tokens = max_tokens
        own = frozenset() if request.ignores_eos else stop_ids
        self._stop_ids = own | frozenset(request.stop_ids)
        self._decoder = decoder
        self._deliver = deliver
        self._sampler = Sampler(request.sampling, request.prompt_ids)
        self._stop_text = StopText(request.stop)

    def take(self, logits_V: Tensor) -> bool:
        """Choose the next token and deliver its text; whether the answer goes on after it."""
        is_too_early = self.completion_tokens < self.request.min_tokens
        self.last_id = self._sampler.choose(
            logits_V, without=sorted(self._stop_ids) if is_too_early else ()
        )
        if self.last_id in self._stop_ids:
            return self._end("", "stop")
        self.completion_tokens += 1
        text, is_stopped = self._stop_text.push(self._decoder.push(self.last_id))
        if is_stopped:
            self._send(Delta(text, "stop"))
            return False
        if self.completion_tokens >= self._max_tokens:
            return self._end(text, "length")
        if text:
            self._send(Delta(text))
        return not self.is_aborted

    def fail(self, error: str) -> None:
        """End the answer because it cannot be written."""
        self._send(Delta("", "error", error))

    def _end(self, text: str, finish: FinishReason) -> bool:
        rest, is_stopped = self._stop_text.push(self._decoder.flush())
        if not is_stopped:
            rest += self._stop_text.flush()
        self._send(Delta(text + rest, "stop" if is_stopped else finish))
        return False

    def _send(self, delta: Delta) -> None:
        if not self.is_aborted:
            self._deliver(delta)
