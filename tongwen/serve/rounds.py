"""An answer with calls of MCP servers' tools: written in rounds, with calls between them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tongwen.serve.answers import Answer, Call
from tongwen.serve.delivery import Holding, Parts
from tongwen.serve.engine import EngineBusyError
from tongwen.serve.fields import ApiError, busy
from tongwen.serve.mcp_servers import McpServers, ToolResult
from tongwen.serve.reply import Usage
from tongwen.serve.request import AnswerRequest
from tongwen.serve.tools import Part, ServerCall

Write = Callable[[AnswerRequest], Parts]
"""Makes the answer to a request; raises ApiError where there cannot be one."""


class Rounds(Holding):
    """The parts of one answer and of the calls in it; a `delivery.Source`.

    The calls of a round are made one after the other, their results join the dialogue, and the
    model writes on. After `most_calls` it has to answer without.

    Args:
        wanted: the request, whose tools are those of the servers.
        first: its first round.
        write: makes another.
        servers: call the tools.
        most_calls: in the whole answer.
    """

    def __init__(
        self,
        wanted: AnswerRequest,
        first: Parts,
        write: Write,
        servers: McpServers,
        most_calls: int,
    ) -> None:
        self.count = 1
        self._wanted = wanted
        self._held = self._parts = first
        self._write = write
        self._servers = servers
        self._calls_left = most_calls
        self._before = Usage(0, 0)
        """Of the rounds that have ended."""

    @property
    def usage(self) -> Usage:
        """Tokens of all rounds; each reads the dialogue again, most of it from the cache."""
        return self._before + self._parts.usage

    async def read(self) -> AsyncIterator[tuple[int, Part] | None]:
        """See `delivery.Source`. Calls come as parts of the kind `server_call`."""
        said = ""
        while True:
            answer = Answer()
            async for item in self._parts.read():
                if item is None:
                    yield None
                    continue
                part = item[1]
                if part.kind == "text" and part.text and said and not answer.text:
                    part = replace(part, text=f"\n\n{part.text}")
                answer.add(part)
                is_last = part.kind == "end" and part.finish != "tool_calls"
                if part.kind in ("text", "progress") or is_last:
                    yield 0, part
            if answer.finish != "tool_calls":
                return
            said += answer.text
            results = []
            for call in answer.calls:
                yield 0, _part(call)
                result = await self._result(call)
                results.append(result)
                yield 0, _part(call, result)
            following = await self._next(answer, results)
            if following is None:
                yield 0, Part("end", finish="length")
                return
            await self._go_on(following)

    async def _result(self, call: Call) -> ToolResult:
        if self._calls_left <= 0:
            return ToolResult("no more tools may be called for this answer", is_error=True)
        self._calls_left -= 1
        return await self._servers.call(call.name, call.arguments)

    async def _next(self, answer: Answer, results: Sequence[ToolResult]) -> Parts | None:
        """The following round; None where the limit of tokens leaves none."""
        wanted = self._wanted
        if wanted.max_tokens is not None:
            left = wanted.max_tokens - self._parts.usage.completion_tokens
            if left < 1:
                return None
            wanted = replace(wanted, max_tokens=left)
        # A call that was required has been made; another would be required for ever.
        may_call = self._calls_left > 0
        names = wanted.tools.callable_names if may_call else frozenset()
        tools = replace(wanted.tools, callable_names=names, is_required=False)
        wanted = replace(wanted, tools=tools, grammar=wanted.answer_format.with_tools(tools))
        try:
            self._wanted = _with_results(wanted, answer, results)
            return await asyncio.to_thread(self._write, self._wanted)
        except ApiError as error:
            if error.body["error"]["code"] != "context_length_exceeded":
                raise
            words = f"the result is too long for the context window: {error}"
            too_long = [ToolResult(words, is_error=True)] * len(results)
            self._wanted = _with_results(wanted, answer, too_long)
            return await asyncio.to_thread(self._write, self._wanted)

    async def _go_on(self, following: Parts) -> None:
        self._before += self._parts.usage
        ended = self._parts
        self._held = self._parts = following
        await ended.__aexit__(None, None, None)
        try:
            await following.__aenter__()
        except EngineBusyError as error:
            raise busy(error.message) from error


def _part(call: Call, result: ToolResult | None = None) -> Part:
    made = ServerCall(call.call_id, call.name, call.arguments, "running")
    if result is not None:
        status: Literal["failed", "completed"] = "failed" if result.is_error else "completed"
        made = replace(made, status=status, result=result.text)
    return Part("server_call", server_call=made)


def _with_results(
    wanted: AnswerRequest, answer: Answer, results: Sequence[ToolResult]
) -> AnswerRequest:
    """The request with a round's text, its calls and their results at the end of its dialogue."""
    assert wanted.chat is not None
    # What is continued is part of the round that continued it.
    turns, begun = wanted.chat.turns, ""
    if wanted.chat.continues:
        turns, begun = turns[:-1], str(turns[-1]["content"])
    said: Mapping[str, Any] = {
        "role": "assistant",
        "content": begun + answer.text.strip("\n"),
        "tool_calls": [call.turn() for call in answer.calls],
    }
    told = [
        {"role": "tool", "tool_call_id": call.call_id, "content": result.text}
        for call, result in zip(answer.calls, results, strict=True)
    ]
    chat = replace(wanted.chat, turns=(*turns, said, *told), continues=False, opens_answer=True)
    return replace(wanted, chat=chat)
