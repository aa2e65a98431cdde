"""The answers to one HTTP request while the engine writes them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tongwen.serve.engine import Engine, EngineBusyError
from tongwen.serve.generation import Delta, FinishReason, Generation, GenerationRequest
from tongwen.serve.scores import TokenScore
from tongwen.serve.tools import Part, ServerCall, function_call


@dataclass
class Call:
    """A call of a function, with its arguments as JSON."""

    call_id: str
    name: str
    arguments: str = ""

    def turn(self) -> dict[str, Any]:
        """The call as OpenAI's chat interface has it."""
        return function_call(self.call_id, self.name, self.arguments)


@dataclass
class Answer:
    """One whole answer, put together from its parts."""

    text: str = ""
    calls: list[Call] = field(default_factory=list)
    server_calls: list[ServerCall] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    prompt_scores: list[TokenScore] = field(default_factory=list)
    finish: FinishReason | None = None
    stop: str | None = None

    def add(self, part: Part) -> None:
        """Take the next part."""
        if part.kind == "text":
            self.text += part.text
            (self.prompt_scores if part.is_prompt else self.scores).extend(part.scores)
        elif part.kind == "call":
            self.calls.append(Call(part.call_id, part.text))
        elif part.kind == "arguments":
            self.calls[-1].arguments += part.text
        elif part.kind == "server_call":
            if part.server_call is not None and part.server_call.status != "running":
                self.server_calls.append(part.server_call)
        elif part.kind == "end":
            self.finish, self.stop = part.finish, part.stop


class Answers:
    """Submits requests when entered and stops what still runs when left, however it is left.

    Of more requests than the engine's queue takes, the rest follow as others end.

    Args:
        engine: writes the answers.
        requests: one for each answer.
    """

    def __init__(self, engine: Engine, requests: Sequence[GenerationRequest]) -> None:
        self._engine = engine
        self._requests = requests
        self._submitted = 0
        self._generations: list[Generation] = []
        self._deltas: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        try:
            self._submit()
        except BaseException:
            self._abort()
            raise
        return self

    def _submit(self) -> None:
        """Give the engine as many of the requests as it takes.

        Raises:
            EngineBusyError: it takes none, and none of ours is in it.
        """
        while self._submitted < len(self._requests):
            receiver = self._receiver(self._submitted)
            try:
                generation = self._engine.submit(self._requests[self._submitted], receiver)
            except EngineBusyError:
                if not self._generations:
                    raise
                return
            self._generations.append(generation)
            self._submitted += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abort()

    async def deltas(self, silence_seconds: float) -> AsyncIterator[tuple[int, Delta] | None]:
        """The answer's index and what is new of it, until all have ended.

        Gives None whenever nothing came for `silence_seconds`.
        """
        running = len(self._requests)
        while running:
            try:
                async with asyncio.timeout(silence_seconds):
                    index, delta = await self._deltas.get()
            except TimeoutError:
                self._submit()
                yield None
                continue
            if delta.finish is not None:
                running -= 1
                self._submit()
            yield index, delta

    @property
    def count(self) -> int:
        """How many answers there will be."""
        return len(self._requests)

    @property
    def completion_tokens(self) -> int:
        return sum(generation.completion_tokens for generation in self._generations)

    @property
    def cached_tokens(self) -> int:
        """Of the prompts, as the first answer to each found them."""
        cached: dict[int, int] = {}
        for generation in self._generations:
            cached.setdefault(id(generation.request.prompt_ids), generation.cached_tokens)
        return sum(cached.values())

    def _receiver(self, index: int) -> Callable[[Delta], None]:
        loop = asyncio.get_running_loop()

        def receive(delta: Delta) -> None:  # called from the engine's thread
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._deltas.put_nowait, (index, delta))

        return receive

    def _abort(self) -> None:
        for generation in self._generations:
            self._engine.abort(generation)
