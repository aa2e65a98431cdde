"""The HTTP server: OpenAI's chat and completions interface, and the chat page."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection, Mapping
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
from tongwen.serve.access import Guard
from tongwen.serve.answers import Answers
from tongwen.serve.engine import ContextLengthError, Engine, EngineBusyError
from tongwen.serve.generation import GenerationRequest
from tongwen.serve.openai import AnswerRequest, ApiError, Reply, parse_request, usage_of
from tongwen.serve.settings import ServeSettings

STATIC = Path(__file__).parent / "static"

_MOST_BODY_BYTES = 32 << 20
_KEEP_ALIVE_SECONDS = 15.0
_CLIENT_HAS_GONE = 499
_STREAM_HEADERS = {
    # A proxy must neither hold the stream back nor compress it.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class Server:
    """The routes of one model.

    Args:
        engine: writes the answers.
        name: of the model.
        settings: defaults of requests.
        has_chat: whether the model knows dialogues.
    """

    def __init__(
        self, engine: Engine, name: str, settings: ServeSettings, *, has_chat: bool
    ) -> None:
        self._engine = engine
        self._name = name
        self._settings = settings
        self._has_chat = has_chat
        self._created = int(time.time())

    def application(self, *, api_key: str | None, hosts: Collection[str] | None) -> Guard:
        """The ASGI application; the arguments are `Guard`'s."""
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        for prefix in ("/v1", ""):
            for end in ("", "/"):
                app.get(f"{prefix}/models{end}")(self.list_models)
                app.post(f"{prefix}/chat/completions{end}")(self.chat)
                app.post(f"{prefix}/completions{end}")(self.complete)
            app.get(f"{prefix}/models/{{name:path}}")(self.show_model)
        app.get("/health")(self.health)
        app.api_route("/v1/{path:path}", methods=_METHODS)(_not_here)
        app.mount("/", StaticFiles(directory=STATIC, html=True))
        app.add_exception_handler(ApiError, _api_error)
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(Exception, _internal_error)
        origins = self._settings.allowed_origins
        return Guard(app, api_key=api_key, hosts=hosts, origins=origins)

    async def health(self) -> dict[str, Any]:
        return {
            "status": "ok",
            "version": __version__,
            "active_requests": self._engine.active_requests,
        }

    async def list_models(self) -> dict[str, Any]:
        return {"object": "list", "data": [self._model()]}

    async def show_model(self, name: str) -> dict[str, Any]:
        self._check_model(name)
        return self._model()

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, is_chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, is_chat=False)

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "tongwen",
            "context_length": self._engine.context_tokens,
        }

    def _check_model(self, name: str) -> None:
        if name != self._name:
            raise ApiError(
                404,
                f"there is no model `{name}`; this server has: {self._name}",
                code="model_not_found",
                param="model",
            )

    async def _answer(self, http_request: Request, *, is_chat: bool) -> Response:
        body = await _json_body(http_request)
        wanted = parse_request(body, is_chat=is_chat, settings=self._settings)
        self._check_model(wanted.model)
        if is_chat and not self._has_chat:
            raise ApiError(
                400,
                "this model's tokenizer has no ChatML markers and no chat template; use "
                "/v1/completions instead",
            )
        # A long document takes a while to encode; other answers go on meanwhile.
        requests, prompt_tokens = await asyncio.to_thread(self._generation_requests, wanted)
        reply = Reply(self._name, is_chat=is_chat)
        answers = Answers(self._engine, requests)
        ignored = {
            "X-Ignored-Fields": ", ".join(
                quote(name, errors="replace") for name in wanted.unknown_fields
            )
        }
        headers = ignored if wanted.unknown_fields else {}
        if wanted.is_stream:
            self._check_queue()
            events = _events(answers, reply, prompt_tokens, wants_usage=wanted.wants_usage)
            return StreamingResponse(
                events, media_type="text/event-stream", headers=_STREAM_HEADERS | headers
            )
        response = await _whole(http_request, answers, reply, prompt_tokens)
        response.headers.update(headers)
        return response

    def _generation_requests(self, wanted: AnswerRequest) -> tuple[list[GenerationRequest], int]:
        """A request for every answer, and the number of prompt tokens."""
        tokenizer = self._engine.tokenizer
        param = "prompt" if wanted.messages is None else "messages"
        try:
            if wanted.messages is not None:
                ids, _ = tokenizer.encode_dialogue(wanted.messages, add_generation_prompt=True)
                prompts = [tuple(ids)]
            else:
                prompts = [
                    (
                        *tokenizer.beginning_ids,
                        *tokenizer.encode(prompt, allow_special=wanted.reads_special),
                    )
                    if isinstance(prompt, str)
                    else prompt
                    for prompt in wanted.prompts
                ]
            requests = []
            for prompt_ids in prompts:
                request = GenerationRequest(
                    prompt_ids=prompt_ids,
                    max_tokens=wanted.max_tokens,
                    min_tokens=wanted.min_tokens,
                    stop=wanted.stop,
                    stop_ids=wanted.stop_ids,
                    ignores_eos=wanted.ignores_eos,
                    sampling=wanted.sampling,
                )
                self._engine.check(request)
                requests += [_numbered(request, number) for number in range(wanted.answers)]
        except ContextLengthError as error:
            raise ApiError(
                400, error.message, code="context_length_exceeded", param=param
            ) from error
        except TongwenError as error:
            raise ApiError(400, error.message, param=param) from error
        return requests, sum(map(len, prompts))

    def _check_queue(self) -> None:
        """Refuse a stream before its first byte, while the refusal can still be a status."""
        most = self._settings.concurrent_requests + self._settings.waiting_requests
        if self._engine.active_requests >= most:
            raise _busy(f"{most} requests are being answered or waiting")


def _numbered(request: GenerationRequest, number: int) -> GenerationRequest:
    """The request for one of several answers: a seed gives each of them its own draws."""
    seed = request.sampling.seed
    if seed is None or number == 0:
        return request
    return replace(request, sampling=replace(request.sampling, seed=seed + number))


async def _json_body(request: Request) -> object:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {_MOST_BODY_BYTES >> 20} MiB")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}") from error


async def _events(
    answers: Answers, reply: Reply, prompt_tokens: int, *, wants_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events. Closing the iterator, as when the client leaves, stops the answers."""
    opened = set()
    try:
        async with answers:
            async for item in answers.deltas(_KEEP_ALIVE_SECONDS):
                if item is None:
                    yield ": keep-alive\n\n"
                    continue
                index, delta = item
                if delta.error is not None:
                    error = ApiError(500, delta.error, kind="server_error")
                    yield _event(error.body)
                    return
                opening = None if index in opened else reply.opening(index)
                opened.add(index)
                if opening is not None:
                    yield _event(opening)
                yield _event(reply.chunk(index, delta))
            if wants_usage:
                usage = usage_of(prompt_tokens, answers.completion_tokens)
                yield _event(reply.usage_chunk(usage))
            yield "data: [DONE]\n\n"
    except EngineBusyError as error:
        yield _event(_busy(error.message).body)


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def _whole(request: Request, answers: Answers, reply: Reply, prompt_tokens: int) -> Response:
    """The response in one piece; when the client leaves first, the answers are stopped."""
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        async with answers:
            collecting = asyncio.ensure_future(_collect(answers))
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                collecting.cancel()
                return Response(status_code=_CLIENT_HAS_GONE)
            texts = collecting.result()
            usage = usage_of(prompt_tokens, answers.completion_tokens)
            return JSONResponse(reply.whole(texts, usage))
    except EngineBusyError as error:
        raise _busy(error.message) from error
    finally:
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _collect(answers: Answers) -> list[tuple[str, str]]:
    texts: dict[int, str] = {}
    finishes: dict[int, str] = {}
    async for item in answers.deltas(_KEEP_ALIVE_SECONDS):
        if item is None:
            continue
        index, delta = item
        if delta.error is not None:
            raise ApiError(500, delta.error, kind="server_error")
        texts[index] = texts.get(index, "") + delta.text
        if delta.finish is not None:
            finishes[index] = delta.finish
    return [(texts[index], finishes[index]) for index in sorted(texts)]


def _busy(message: str) -> ApiError:
    return ApiError(
        429, message, kind="rate_limit_error", code="busy", headers={"Retry-After": "5"}
    )


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = dict(error.headers) if error.headers else None
    return JSONResponse(error.body, error.status, headers)


_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_PLACES = {"models": "GET", "chat/completions": "POST", "completions": "POST"}


async def _not_here(request: Request, path: str) -> None:
    """The answer for every place below /v1 that this server does not have."""
    method = _PLACES.get(path.strip("/"))
    if method is not None:
        raise ApiError(405, f"/v1/{path} takes {method}", headers={"Allow": method})
    shown = ", ".join(f"{method} /v1/{place}" for place, method in _PLACES.items())
    raise ApiError(
        404, f"this server has no {request.method} /v1/{path}; it has {shown}", code="not_found"
    )


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:  # of the page's files: whatever is asked for is not there
        error = HTTPException(404, "there is no such place")
    shown = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(shown.body, error.status_code, error.headers)


async def _internal_error(_: Request, __: Exception) -> Response:
    error = ApiError(500, "the server failed; see its log", kind="server_error")
    return JSONResponse(error.body, 500)
