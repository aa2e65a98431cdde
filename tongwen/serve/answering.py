"""The way of one request: read, checked, encoded, answered as a stream or in one piece."""

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from fastapi import Request, Response

from tongwen.serve.answers import Answers
from tongwen.serve.bodies import read_json
from tongwen.serve.delivery import Account, EventStream, Parts, Source, whole
from tongwen.serve.encoding import PromptEncoder, Prompts
from tongwen.serve.engine import Engine, EngineBusyError
from tongwen.serve.fields import busy
from tongwen.serve.generation import GenerationRequest
from tongwen.serve.keys import Client
from tongwen.serve.mcp_servers import McpServers
from tongwen.serve.metrics import Metrics
from tongwen.serve.reply import Reply
from tongwen.serve.request import AnswerRequest, check_model
from tongwen.serve.rounds import Rounds
from tongwen.serve.settings import ServeSettings

Parse = Callable[[object], AnswerRequest]
MakeReply = Callable[[AnswerRequest, Prompts], Reply]


class Answering:
    """Answers requests of every interface with one model.

    Args:
        engine: writes the answers.
        encoder: encodes the prompts.
        name: of the model.
        settings: limits.
        metrics: counts tokens and times.
        servers: whose tools requests may name.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: PromptEncoder,
        name: str,
        settings: ServeSettings,
        metrics: Metrics,
        servers: McpServers | None,
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._name = name
        self._settings = settings
        self._metrics = metrics
        self._servers = servers

    async def answer(self, request: Request, parse: Parse, make_reply: MakeReply) -> Response:
        """The response to a request.

        Raises:
            ApiError: it is refused, or its answer broke off before a byte of it was sent.
        """
        body = await read_json(request, self._settings)
        # A long document takes a while to encode, and a grammar to compile; others go on meanwhile.
        wanted = await asyncio.to_thread(parse, body)
        check_model(wanted.model, self._name)
        client: Client = request.state.client
        prompts, requests = await asyncio.to_thread(self._encoder.requests, wanted, client.name)
        reply = make_reply(wanted, prompts)
        tokens = sum(map(len, prompts))
        account = Account(request, client, self._metrics, tokens, len(requests))
        parts: Source = self._parts(wanted, prompts, requests)
        if wanted.uses_servers:
            parts = self._rounds(wanted, prompts, requests, client.name)
        ignored = ", ".join(quote(name, errors="replace") for name in wanted.unknown_fields)
        headers = {"X-Ignored-Fields": ignored} if ignored else {}
        if wanted.is_stream:
            self._check_place(requests[0])
            account.begin()
            return EventStream(parts, reply, account, headers)
        account.begin()
        return await whole(request, parts, reply, account, headers)

    def _parts(
        self, wanted: AnswerRequest, prompts: Prompts, requests: list[GenerationRequest]
    ) -> Parts:
        return Parts(
            Answers(self._engine, requests),
            sum(map(len, prompts)),
            self._metrics,
            reads_calls=bool(wanted.tools.callable_names),
        )

    def _rounds(
        self,
        wanted: AnswerRequest,
        prompts: Prompts,
        requests: list[GenerationRequest],
        client: str,
    ) -> Rounds:
        assert self._servers is not None
        first = self._parts(wanted, prompts, requests)

        def write(following: AnswerRequest) -> Parts:
            return self._parts(following, *self._encoder.requests(following, client))

        return Rounds(wanted, first, write, self._servers, self._settings.mcp_calls)

    def _check_place(self, request: GenerationRequest) -> None:
        """Refuse a stream before its first byte, while the refusal can still be a status."""
        try:
            self._engine.check_place(request)
        except EngineBusyError as error:
            raise busy(error.message) from error
