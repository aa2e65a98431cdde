"""The parts of an answer on their way to the client: as a stream of events, or in one piece."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Protocol, Self

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from tongwen.serve.access import Receive, Scope, Send
from tongwen.serve.answers import Answer, Answers
from tongwen.serve.engine import EngineBusyError
from tongwen.serve.fields import ApiError, busy
from tongwen.serve.keys import Client
from tongwen.serve.metrics import Metrics
from tongwen.serve.reply import Reply, Usage
from tongwen.serve.tools import Part, PartReader

_KEEP_ALIVE_SECONDS = 15.0  # nginx cuts a silent stream after 60
_CLIENT_HAS_GONE = 499  # nginx's; no standard has one
_STREAM_HEADERS = {
    # A proxy must neither hold the stream back nor compress it.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class Source(Protocol):
    """Where the parts of a request's answers come from. They are written while it is entered."""

    count: int
    """How many answers there are."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def read(self) -> AsyncIterator[tuple[int, Part] | None]:
        """The answer's index and its next part; None when it was silent for a while.

        Raises:
            ApiError: an answer broke off.
        """

    @property
    def usage(self) -> Usage:
        """Tokens so far."""


class Parts:
    """The parts of answers that the engine writes.

    Args:
        answers: to be written.
        prompt_tokens: of all prompts.
        metrics: notes how long each new text was waited for.
        reads_calls: whether functions may be called.
    """

    def __init__(
        self, answers: Answers, prompt_tokens: int, metrics: Metrics, *, reads_calls: bool
    ) -> None:
        self.count = answers.count
        self._answers = answers
        self._prompt_tokens = prompt_tokens
        self._metrics = metrics
        self._readers = [PartReader(reads_calls=reads_calls) for _ in range(answers.count)]
        self._last = [time.monotonic()] * answers.count
        self._has_begun = [False] * answers.count

    async def __aenter__(self) -> Self:
        await self._answers.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._answers.__aexit__(kind, error, traceback)

    async def read(self) -> AsyncIterator[tuple[int, Part] | None]:
        """See `Source`."""
        async for item in self._answers.deltas(_KEEP_ALIVE_SECONDS):
            if item is None:
                yield None
                continue
            index, delta = item
            if delta.error is not None:
                raise ApiError(500, delta.error, kind="server_error")
            if delta.read_tokens is not None:
                yield index, Part("progress", number=delta.read_tokens, total=self._prompt_tokens)
                continue
            now = time.monotonic()
            self._metrics.text(now - self._last[index], is_first=not self._has_begun[index])
            self._last[index], self._has_begun[index] = now, True
            for part in self._readers[index].push(delta):
                yield index, part

    @property
    def usage(self) -> Usage:
        """See `Source`."""
        answers = self._answers
        return Usage(self._prompt_tokens, answers.completion_tokens, answers.cached_tokens)


class Account:
    """What a request costs its client, counted once when it begins and once when it ends."""

    def __init__(
        self, request: Request, client: Client, metrics: Metrics, prompt_tokens: int, answers: int
    ) -> None:
        self._state = request.state
        self._client = client
        self._metrics = metrics
        self._prompt_tokens = prompt_tokens
        self._answers = answers

    def begin(self) -> None:
        """Count it as running.

        Raises:
            ApiError: 429; a limit of the client's key is reached.
        """
        self._client.begin(self._answers, self._prompt_tokens)
        self._state.prompt_tokens = self._prompt_tokens

    def end(self, usage: Usage) -> None:
        """Count what was read and written; tools may have made the prompts more."""
        later = usage.prompt_tokens - self._prompt_tokens
        self._client.end(self._answers, later + usage.completion_tokens)
        self._state.prompt_tokens = usage.prompt_tokens
        self._state.completion_tokens = usage.completion_tokens
        self._metrics.tokens(usage.prompt_tokens, usage.completion_tokens)


class EventStream(StreamingResponse):
    """A stream of events that is accounted for even when nobody reads it."""

    def __init__(
        self, parts: Source, reply: Reply, account: Account, headers: dict[str, str]
    ) -> None:
        events = _events(parts, reply)
        super().__init__(events, media_type="text/event-stream", headers=_STREAM_HEADERS | headers)
        self._parts = parts
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._account.end(self._parts.usage)


async def _events(parts: Source, reply: Reply) -> AsyncIterator[str]:
    """Server-sent events. Closing the iterator, as when the client leaves, stops the answers."""
    try:
        async with parts:
            for event in reply.opening():
                yield event.encoded()
            async for item in parts.read():
                if item is None:
                    yield ": keep-alive\n\n"
                    continue
                for event in reply.part(*item):
                    yield event.encoded()
            for event in reply.closing(parts.usage):
                yield event.encoded()
    except EngineBusyError as error:
        for event in reply.failure(busy(error.message)):
            yield event.encoded()
    except ApiError as error:
        for event in reply.failure(error):
            yield event.encoded()


async def whole(
    request: Request, parts: Source, reply: Reply, account: Account, headers: dict[str, str]
) -> Response:
    """The response in one piece; when the client leaves first, the answers are stopped.

    Raises:
        ApiError: an answer broke off, or too many requests are waiting.
    """
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        async with parts:
            collecting = asyncio.ensure_future(_collect(parts))
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                collecting.cancel()
                return Response(status_code=_CLIENT_HAS_GONE)
            value = reply.whole(collecting.result(), parts.usage)
            return JSONResponse(value, headers=headers)
    except EngineBusyError as error:
        raise busy(error.message) from error
    finally:
        leaving.cancel()
        account.end(parts.usage)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _collect(parts: Source) -> list[Answer]:
    answers = [Answer() for _ in range(parts.count)]
    async for item in parts.read():
        if item is not None:
            index, part = item
            answers[index].add(part)
    return answers
