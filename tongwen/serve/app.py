"""The HTTP server: the interfaces that clients of OpenAI and Anthropic use, and the chat page."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from tongwen import __version__
from tongwen.model.sampler import Sampling
from tongwen.serve.access import Application, Guard
from tongwen.serve.answering import Answering
from tongwen.serve.anthropic import MessagesReply, parse_messages_request
from tongwen.serve.bodies import read_json
from tongwen.serve.encoding import PromptEncoder
from tongwen.serve.engine import Engine
from tongwen.serve.facts import model_facts
from tongwen.serve.fields import ApiError
from tongwen.serve.keys import Keyring, KeySettings
from tongwen.serve.mcp_servers import McpServers
from tongwen.serve.metrics import Metrics
from tongwen.serve.openai import ChatReply, CompletionReply, parse_request
from tongwen.serve.openapi import PLACES, description
from tongwen.serve.recorder import AccessLog, Recorder
from tongwen.serve.refusals import METHODS, add_refusals, not_here
from tongwen.serve.request import Defaults, check_model
from tongwen.serve.responses import ResponseReply, parse_response_request
from tongwen.serve.settings import ServeSettings
from tongwen.serve.text_routes import TextRoutes
from tongwen.tokenizer.prompts import ChatMl, ChatTemplate

STATIC = Path(__file__).parent / "static"

_NO_EMBEDDINGS = (
    "this server makes no embeddings, for its models are trained to continue text: /v1/embeddings "
    "needs an embedding model"
)


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
        servers: MCP servers whose tools requests may name.
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
        servers: McpServers | None = None,
    ) -> None:
        self._engine = engine
        self._name = name
        self._settings = settings
        self._has_chat = has_chat or template is not None
        self._servers = servers
        self._sampling = sampling or Sampling()
        self._defaults = Defaults.of(settings, self._sampling)
        self._metrics = Metrics(engine)
        self._created = int(time.time())
        self._folder = folder
        self._encoder = PromptEncoder(
            engine, template or (ChatMl(engine.tokenizer) if has_chat else None)
        )
        self._texts = TextRoutes(engine, self._encoder, name, settings)
        self._answering = Answering(engine, self._encoder, name, settings, self._metrics, servers)

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
        app.api_route("/v1/{path:path}", methods=METHODS)(not_here)
        app.mount("/", StaticFiles(directory=STATIC, html=True))
        add_refusals(app)
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
            "/tokenize": self._texts.tokenize,
            "/detokenize": self._texts.detokenize,
            "/apply-template": self._texts.apply_template,
            "/attachments": self._texts.attach,
            "/model-facts": self.show_facts,
            "/mcp-servers": self.show_servers,
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
        check_model(name, self._name)
        return self._model()

    async def chat(self, request: Request) -> Response:
        return await self._answering.answer(
            request,
            lambda body: parse_request(
                body,
                is_chat=True,
                settings=self._settings,
                sampling=self._sampling,
                servers=self._servers,
            ),
            lambda wanted, _: ChatReply(wanted, self._engine.tokenizer),
        )

    async def complete(self, request: Request) -> Response:
        return await self._answering.answer(
            request,
            lambda body: parse_request(
                body, is_chat=False, settings=self._settings, sampling=self._sampling
            ),
            lambda wanted, prompts: CompletionReply(wanted, self._engine.tokenizer, prompts),
        )

    async def respond(self, request: Request) -> Response:
        return await self._answering.answer(
            request,
            lambda body: parse_response_request(body, self._defaults),
            lambda wanted, _: ResponseReply(wanted, self._engine.tokenizer),
        )

    async def message(self, request: Request) -> Response:
        return await self._answering.answer(
            request,
            lambda body: parse_messages_request(body, self._defaults),
            lambda wanted, prompts: MessagesReply(wanted, len(prompts[0])),
        )

    async def count_tokens(self, request: Request) -> dict[str, Any]:
        body = await read_json(request, self._settings)
        wanted = parse_messages_request(body, self._defaults, counts=True)
        check_model(wanted.model, self._name)
        (ids,) = await asyncio.to_thread(self._encoder.prompts, wanted)
        return {"input_tokens": len(ids)}

    async def embed(self, request: Request) -> None:
        raise ApiError(404, _NO_EMBEDDINGS, code="not_found")

    async def show_facts(self) -> dict[str, Any]:
        """What the model is and what its card says, for the page."""
        facts = await asyncio.to_thread(
            model_facts, self._engine.config, self._folder, has_chat=self._has_chat
        )
        return {"id": self._name, **facts}

    async def show_servers(self) -> dict[str, Any]:
        """The MCP servers that requests may name, with their tools."""
        names = () if self._servers is None else self._servers.names
        return {
            "data": [
                {
                    "server_label": name,
                    "tools": [
                        {"name": tool.name, "description": tool.description}
                        for tool in (self._servers.tools(name) if self._servers else ())
                    ],
                }
                for name in names
            ]
        }

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "tongwen",
            "context_length": self._engine.context_tokens,
            "max_model_len": self._engine.context_tokens,
        }
