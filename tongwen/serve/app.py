"""The HTTP server: the interfaces that clients of OpenAI and Anthropic use, and the chat page."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from tongwen import __version__
from tongwen.errors import TongwenError
from tongwen.model.sampler import Sampling
from tongwen.serve.access import Application, Guard, Receive, Scope, Send
from tongwen.serve.answers import Answer, Answers
from tongwen.serve.anthropic import MessagesReply, error_body, parse_messages_request
from tongwen.serve.attachments import AttachmentError, AttachmentReader
from tongwen.serve.engine import ContextLengthError, Engine, EngineBusyError, GrammarError
from tongwen.serve.facts import model_facts
from tongwen.serve.fields import ApiError, Fields, busy
from tongwen.serve.generation import GenerationRequest
from tongwen.serve.keys import Client, Keyring, KeySettings
from tongwen.serve.metrics import Metrics
from tongwen.serve.openai import ChatReply, CompletionReply, chat_prompt, parse_request
from tongwen.serve.openapi import PLACES, description
from tongwen.serve.prompts import ChatMl, ChatPrompt, ChatTemplate
from tongwen.serve.recorder import AccessLog, Recorder
from tongwen.serve.reply import Reply, Usage
from tongwen.serve.request import AnswerRequest, Defaults, check_messages, take_ids
from tongwen.serve.responses import ResponseReply, parse_response_request
from tongwen.serve.settings import ServeSettings
from tongwen.serve.tools import Part, PartReader, ToolUse, parse_tools

STATIC = Path(__file__).parent / "static"

_KEEP_ALIVE_SECONDS = 15.0
_CLIENT_HAS_GONE = 499
_STREAM_HEADERS = {
    # A proxy must neither hold the stream back nor compress it.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_NO_CHAT = "this model knows no dialogues: it has no chat template and its tokenizer no ChatML"
_NO_EMBEDDINGS = (
    "this server makes no embeddings, for its models are trained to continue text: /v1/embeddings "
    "needs an embedding model"
)

Prompts = Sequence[tuple[int, ...]]
Parse = Callable[[object], AnswerRequest]
MakeReply = Callable[[AnswerRequest, Prompts], Reply]


class Server:
    """The routes of one model.

    Args:
        engine: writes the answers.
        name: of the model.
        settings: defaults of requests.
        has_chat: whether the model knows dialogues.
        template: writes them; ChatML when None.
        sampling: the model's own defaults.
        folder: of the model, for its card.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        settings: ServeSettings,
        *,
        has_chat: bool,
        template: ChatTemplate | None = None,
        sampling: Sampling | None = None,
        folder: Path | None = None,
    ) -> None:
        self._engine = engine
        self._name = name
        self._settings = settings
        self._template = template or (ChatMl(engine.tokenizer) if has_chat else None)
        self._sampling = sampling or Sampling()
        self._defaults = Defaults.of(settings, self._sampling)
        self._metrics = Metrics(engine)
        self._created = int(time.time())
        self._folder = folder
        self._attachments = AttachmentReader()

    def application(
        self,
        *,
        api_key: str | None = None,
        hosts: Collection[str] | None,
        keys: Sequence[KeySettings] = (),
    ) -> Application:
        """The ASGI application.

        Args:
            api_key: one key without limits; without it and `keys` everybody may ask.
            hosts: see `Guard`.
            keys: with limits of their own.

        Raises:
            InputError: the access log cannot be written.
        """
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        handlers = self._handlers()
        for place, method in PLACES.items():
            for path in {place, place + "/", place.removeprefix("/v1"), place[3:] + "/"}:
                if path.startswith("/") and path != "/":
                    app.api_route(path, methods=[method])(handlers[place])
        for prefix in ("/v1", ""):
            app.get(f"{prefix}/models/{{name:path}}")(self.show_model)
        app.api_route("/v1/{path:path}", methods=_METHODS)(_not_here)
        app.mount("/", StaticFiles(directory=STATIC, html=True))
        app.add_exception_handler(ApiError, _api_error)
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(Exception, _internal_error)
        if api_key is not None:
            keys = [*keys, KeySettings(name="key", key=api_key)]
        guard = Guard(
            app,
            keyring=Keyring(keys) if keys else None,
            hosts=hosts,
            origins=self._settings.allowed_origins,
        )
        log = self._settings.access_log
        return Recorder(guard, self._metrics, PLACES, None if log is None else AccessLog(Path(log)))

    def _handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "/health": self.health,
            "/metrics": self.metrics,
            "/openapi.json": self.openapi,
            "/v1/models": self.list_models,
            "/v1/chat/completions": self.chat,
            "/v1/completions": self.complete,
            "/v1/responses": self.respond,
            "/v1/messages": self.message,
            "/v1/messages/count_tokens": self.count_tokens,
            "/v1/embeddings": self.embed,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
            "/apply-template": self.apply_template,
            "/model-facts": self.show_facts,
            "/attachments": self.attach,
        }

    async def health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "active_requests": self._engine.active_requests,
        }

    async def metrics(self) -> Response:
        return Response(self._metrics.exposition(), media_type=self._metrics.content_type)

    async def openapi(self) -> dict[str, Any]:
        return description(self._name)

    async def list_models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._model()]}

    async def show_model(self, name: str) -> dict[str, Any]:
        self._check_model(name)
        return self._model()

    async def chat(self, request: Request) -> Response:
        return await self._answer(
            request,
            lambda body: parse_request(
                body, is_chat=True, settings=self._settings, sampling=self._sampling
            ),
            lambda wanted, prompts: ChatReply(wanted, self._engine.tokenizer, len(prompts[0])),
        )

    async def complete(self, request: Request) -> Response:
        return await self._answer(
            request,
            lambda body: parse_request(
                body, is_chat=False, settings=self._settings, sampling=self._sampling
            ),
            lambda wanted, prompts: CompletionReply(wanted, self._engine.tokenizer, prompts),
        )

    async def respond(self, request: Request) -> Response:
        return await self._answer(
            request,
            lambda body: parse_response_request(body, self._defaults),
            lambda wanted, _: ResponseReply(wanted, self._engine.tokenizer),
        )

    async def message(self, request: Request) -> Response:
        return await self._answer(
            request,
            lambda body: parse_messages_request(body, self._defaults),
            lambda wanted, prompts: MessagesReply(wanted, len(prompts[0])),
        )

    async def count_tokens(self, request: Request) -> dict[str, Any]:
        body = await self._json_body(request)
        wanted = parse_messages_request(body, self._defaults, counts=True)
        self._check_model(wanted.model)
        (ids,) = await asyncio.to_thread(self._prompts, wanted)
        return {"input_tokens": len(ids)}

    async def embed(self, request: Request) -> None:
        raise ApiError(404, _NO_EMBEDDINGS, code="not_found")

    async def tokenize(self, request: Request) -> dict[str, Any]:
        """The ids of a text or of messages, by vLLM's or llama.cpp's field names."""
        fields = await self._own_fields(request)
        text = fields.take("prompt", str, None)
        text = fields.take("content", str, text)
        shows_pieces = fields.take("return_token_strs", bool, False)
        shows_pieces = fields.take("with_pieces", bool, shows_pieces)
        reads_special = fields.take("parse_special", bool, True)
        if text is None:
            ids = await asyncio.to_thread(self._encode, self._chat_prompt(fields))
        else:
            try:
                ids = await asyncio.to_thread(
                    self._engine.tokenizer.encode, text, allow_special=reads_special
                )
            except TongwenError as error:
                raise ApiError(400, error.message, param="prompt") from error
        shown = [self._engine.tokenizer.piece(number) for number in ids] if shows_pieces else None
        return {
            "count": len(ids),
            "max_model_len": self._engine.context_tokens,
            "tokens": ids,
            "token_strs": shown,
        }

    async def detokenize(self, request: Request) -> dict[str, Any]:
        """The text of ids, special ones by their names."""
        fields = await self._own_fields(request)
        ids = take_ids(fields, "tokens")
        largest = self._engine.config.vocabulary_size - 1
        if (wrong := next((i for i in ids if i > largest), None)) is not None:
            message = f"tokens holds the id {wrong}; ids are 0 to {largest:,}"
            raise ApiError(400, message, param="tokens")
        try:
            text = self._engine.tokenizer.decode(ids, show_special=True)
        except TongwenError as error:
            raise ApiError(400, error.message, param="tokens") from error
        return {"prompt": text, "content": text}

    async def apply_template(self, request: Request) -> dict[str, Any]:
        """The prompt of messages as text."""
        prompt = self._chat_prompt(await self._own_fields(request))
        template = self._chat_template()
        try:
            return {"prompt": await asyncio.to_thread(template.render, prompt)}
        except TongwenError as error:
            raise ApiError(400, error.message, param="messages") from error

    async def show_facts(self) -> dict[str, Any]:
        """What the model is and what its card says, for the page."""
        facts = await asyncio.to_thread(
            model_facts, self._engine.config, self._folder, has_chat=self._template is not None
        )
        return {"id": self._name, **facts}

    async def attach(self, request: Request) -> dict[str, Any]:
        """The text of a file that somebody wants to ask about, and its tokens."""
        fields = Fields.of_body(await self._json_body(request))
        name, content = fields.required("name", str), fields.required("content", str)
        try:
            found = await self._attachments.read(name, content)
        except AttachmentError as error:
            code, words = f"attachment_{error.problem}", error.message
            hint = f"; {error.hint}" if error.hint else ""
            raise ApiError(400, words + hint, code=code, param="content") from error
        ids = await asyncio.to_thread(self._engine.tokenizer.encode, found.text)
        return {"name": name, "format": found.format, "text": found.text, "tokens": len(ids)}

    async def _own_fields(self, request: Request) -> Fields:
        fields = Fields.of_body(await self._json_body(request))
        model = fields.take("model", str, self._name)
        self._check_model(model)
        return fields

    def _chat_prompt(self, fields: Fields) -> ChatPrompt:
        turns = check_messages(fields.take_any("messages"))
        tools = ToolUse(parse_tools(fields.take("tools", list, [])))
        return chat_prompt(fields, turns, tools)

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "tongwen",
            "context_length": self._engine.context_tokens,
            "max_model_len": self._engine.context_tokens,
        }

    def _check_model(self, name: str) -> None:
        if name != self._name:
            raise ApiError(
                404,
                f"there is no model `{name}`; this server has: {self._name}",
                code="model_not_found",
                param="model",
            )

    def _chat_template(self) -> ChatTemplate:
        if self._template is None:
            raise ApiError(400, f"{_NO_CHAT}; use /v1/completions instead")
        return self._template

    async def _answer(self, http_request: Request, parse: Parse, make_reply: MakeReply) -> Response:
        body = await self._json_body(http_request)
        # A long document takes a while to encode, and a grammar to compile; others go on meanwhile.
        wanted = await asyncio.to_thread(parse, body)
        self._check_model(wanted.model)
        client: Client = http_request.state.client
        prompts, requests = await asyncio.to_thread(self._generation_requests, wanted, client.name)
        reply = make_reply(wanted, prompts)
        account = _Account(http_request, client, sum(map(len, prompts)), len(requests))
        answers = Answers(self._engine, requests)
        reads_calls = bool(wanted.tools.callable_names)
        parts = _Parts(answers, self._metrics, reads_calls=reads_calls)
        ignored = ", ".join(quote(name, errors="replace") for name in wanted.unknown_fields)
        headers = {"X-Ignored-Fields": ignored} if ignored else {}
        if wanted.is_stream:
            self._check_queue()
            account.begin()
            return _Stream(parts, reply, account, headers)
        account.begin()
        try:
            response = await _whole(http_request, parts, reply, account)
        finally:
            self._metrics.tokens(*account.end(answers.completion_tokens))
        response.headers.update(headers)
        return response

    def _generation_requests(
        self, wanted: AnswerRequest, client: str
    ) -> tuple[Prompts, list[GenerationRequest]]:
        """The prompts, and a request for every answer."""
        prompts = self._prompts(wanted)
        requests = []
        try:
            for prompt_ids in prompts:
                request = GenerationRequest(
                    prompt_ids=prompt_ids,
                    max_tokens=wanted.max_tokens,
                    min_tokens=wanted.min_tokens,
                    stop=wanted.stop,
                    stop_ids=wanted.stop_ids,
                    ignores_eos=wanted.ignores_eos,
                    sampling=wanted.sampling,
                    grammar=wanted.grammar,
                    logprobs=wanted.logprobs,
                    scores_prompt=wanted.echoes and wanted.logprobs is not None,
                    reports_progress=wanted.reports_progress and wanted.is_stream,
                    client=client,
                )
                self._engine.check(request)
                requests += [_numbered(request, number) for number in range(wanted.answers)]
        except ContextLengthError as error:
            code, param = "context_length_exceeded", _prompt_field(wanted)
            raise ApiError(400, error.message, code=code, param=param) from error
        except GrammarError as error:
            param = "tools" if wanted.tools.callable_names else "response_format"
            raise ApiError(400, error.message, param=param) from error
        except TongwenError as error:
            raise ApiError(400, error.message, param=_prompt_field(wanted)) from error
        return prompts, requests

    def _prompts(self, wanted: AnswerRequest) -> Prompts:
        """The token ids of every prompt."""
        if wanted.chat is not None:
            return [tuple(self._encode(wanted.chat))]
        tokenizer = self._engine.tokenizer
        try:
            return [
                (
                    *tokenizer.beginning_ids,
                    *tokenizer.encode(prompt, allow_special=wanted.reads_special),
                )
                if isinstance(prompt, str)
                else prompt
                for prompt in wanted.prompts
            ]
        except TongwenError as error:
            raise ApiError(400, error.message, param="prompt") from error

    def _encode(self, prompt: ChatPrompt) -> list[int]:
        template = self._chat_template()
        try:
            return template.encode(prompt)
        except TongwenError as error:
            raise ApiError(400, error.message, param="messages") from error

    def _check_queue(self) -> None:
        """Refuse a stream before its first byte, while the refusal can still be a status."""
        most = self._settings.concurrent_requests + self._settings.waiting_requests
        if self._engine.active_requests >= most:
            raise busy(f"{most} requests are being answered or waiting")

    async def _json_body(self, request: Request) -> object:
        body = bytearray()
        most = self._settings.body_mib << 20
        seconds = self._settings.body_seconds
        try:
            async with asyncio.timeout(seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > most:
                        raise ApiError(413, f"the body is larger than {most >> 20} MiB")
        except TimeoutError as error:
            raise ApiError(
                408,
                f"the body has not arrived within {seconds} s",
                headers={"Connection": "close"},
            ) from error
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"the body is not JSON: {error}") from error


def _prompt_field(wanted: AnswerRequest) -> str:
    return "prompt" if wanted.chat is None else "messages"


def _numbered(request: GenerationRequest, number: int) -> GenerationRequest:
    """The request for one of several answers: a seed gives each of them its own draws."""
    seed = request.sampling.seed
    if seed is None or number == 0:
        return request
    return replace(request, sampling=replace(request.sampling, seed=seed + number))


class _Account:
    """What a request costs its client, counted once when it begins and once when it ends."""

    def __init__(self, request: Request, client: Client, prompt_tokens: int, answers: int) -> None:
        self.prompt_tokens = prompt_tokens
        self._state = request.state
        self._client = client
        self._answers = answers

    def begin(self) -> None:
        """Count it as running.

        Raises:
            ApiError: 429; a limit of the client's key is reached.
        """
        self._client.begin(self._answers, self.prompt_tokens)
        self._state.prompt_tokens = self.prompt_tokens

    def end(self, completion_tokens: int) -> tuple[int, int]:
        """Count what was written; gives the tokens of the prompts and of the answers."""
        self._client.end(self._answers, completion_tokens)
        self._state.completion_tokens = completion_tokens
        return self.prompt_tokens, completion_tokens


class _Parts:
    """The parts of all answers as they come.

    Args:
        answers: to be written.
        metrics: notes how long each new text was waited for.
        reads_calls: whether functions may be called.
    """

    def __init__(self, answers: Answers, metrics: Metrics, *, reads_calls: bool) -> None:
        self.answers = answers
        self.metrics = metrics
        self._readers = [PartReader(reads_calls=reads_calls) for _ in range(answers.count)]
        self._last = [time.monotonic()] * answers.count
        self._has_begun = [False] * answers.count

    async def read(self) -> AsyncIterator[tuple[int, Part] | None]:
        """The answer's index and its next part; None when it was silent for a while.

        Raises:
            ApiError: 500; an answer broke off.
        """
        async for item in self.answers.deltas(_KEEP_ALIVE_SECONDS):
            if item is None:
                yield None
                continue
            index, delta = item
            if delta.error is not None:
                raise ApiError(500, delta.error, kind="server_error")
            if delta.read_tokens is not None:
                yield index, Part("progress", number=delta.read_tokens)
                continue
            now = time.monotonic()
            self.metrics.text(now - self._last[index], is_first=not self._has_begun[index])
            self._last[index], self._has_begun[index] = now, True
            for part in self._readers[index].push(delta):
                yield index, part


class _Stream(StreamingResponse):
    """A stream of events that is accounted for even when nobody reads it."""

    def __init__(
        self, parts: _Parts, reply: Reply, account: _Account, headers: dict[str, str]
    ) -> None:
        events = _events(parts, reply, account)
        super().__init__(events, media_type="text/event-stream", headers=_STREAM_HEADERS | headers)
        self._parts = parts
        self._account = account

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            completion_tokens = self._parts.answers.completion_tokens
            self._parts.metrics.tokens(*self._account.end(completion_tokens))


async def _events(parts: _Parts, reply: Reply, account: _Account) -> AsyncIterator[str]:
    """Server-sent events. Closing the iterator, as when the client leaves, stops the answers."""
    answers = parts.answers
    try:
        async with answers:
            for event in reply.opening():
                yield event.encoded()
            async for item in parts.read():
                if item is None:
                    yield ": keep-alive\n\n"
                    continue
                for event in reply.part(*item):
                    yield event.encoded()
            usage = _usage(account, answers)
            for event in reply.closing(usage):
                yield event.encoded()
    except EngineBusyError as error:
        for event in reply.failure(busy(error.message)):
            yield event.encoded()
    except ApiError as error:
        for event in reply.failure(error):
            yield event.encoded()


async def _whole(request: Request, parts: _Parts, reply: Reply, account: _Account) -> Response:
    """The response in one piece; when the client leaves first, the answers are stopped."""
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        async with parts.answers:
            collecting = asyncio.ensure_future(_collect(parts))
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                collecting.cancel()
                return Response(status_code=_CLIENT_HAS_GONE)
            whole = collecting.result()
            usage = _usage(account, parts.answers)
            return JSONResponse(reply.whole(whole, usage))
    except EngineBusyError as error:
        raise busy(error.message) from error
    finally:
        leaving.cancel()


def _usage(account: _Account, answers: Answers) -> Usage:
    return Usage(account.prompt_tokens, answers.completion_tokens, answers.cached_tokens)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _collect(parts: _Parts) -> list[Answer]:
    answers = [Answer() for _ in range(parts.answers.count)]
    async for item in parts.read():
        if item is not None:
            index, part = item
            answers[index].add(part)
    return answers


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = dict(error.headers) if error.headers else None
    is_anthropic = "/messages" in request.url.path
    body = error_body(error) if is_anthropic else error.body
    return JSONResponse(body, error.status, headers)


_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


async def _not_here(request: Request) -> None:
    """The answer for every place below /v1 that this server does not have."""
    raise HTTPException(404)


async def _http_error(request: Request, error: Exception) -> Response:
    """Say which places there are, or which method one of them takes."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"
    place = request.url.path.rstrip("/")
    method = PLACES.get(place) or PLACES.get(f"/v1{place}")
    if method is not None and error.status_code in (404, 405):
        shown = ApiError(405, f"{place} takes {method}, not {request.method}")
        return JSONResponse(shown.body, 405, {"Allow": method})
    # Of the page's files 405 means that whatever is asked for is not there.
    status = 404 if error.status_code == 405 else error.status_code
    known = ", ".join(f"{method} {place}" for place, method in PLACES.items())
    words = f"this server has no {asked}; it has {known}" if status == 404 else error.detail
    code = "not_found" if status == 404 else None
    return JSONResponse(ApiError(status, words, code=code).body, status)


async def _internal_error(_: Request, __: Exception) -> Response:
    error = ApiError(500, "the server failed; see its log", kind="server_error")
    return JSONResponse(error.body, 500)
