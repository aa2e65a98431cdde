"""Who may ask, and what a browser may do with the answer: plain ASGI, so that streams pass."""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from tongwen.serve.keys import Client, Keyring

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

_API_PATHS = (
    "/v1", "/models", "/chat", "/completions", "/responses", "/messages", "/tokenize",
    "/detokenize", "/apply-template", "/metrics", "/model-facts", "/attachments", "/mcp-servers",
    "/status",
)  # fmt: skip
_HEADERS = (
    (
        b"content-security-policy",
        # A second server on the user's own machine may be asked for a second answer.
        b"default-src 'self'; connect-src 'self' http://127.0.0.1:* http://localhost:*; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Asks for an API key on every path of the API, and adds the headers that fence the page.

    Whose key it was, or without keys the address of who asks, is `client` in the request's state.

    Args:
        application: what is guarded.
        keyring: keys that are accepted; None lets everybody in.
        hosts: values of `Host` to accept, without port. A web page elsewhere can point a name
            of its own at 127.0.0.1 and would otherwise read a keyless server. None accepts all.
        origins: of web pages elsewhere that may use the API from a browser. Others are refused: a
            page cannot read the answer, but could make this machine work.
    """

    def __init__(
        self,
        application: Application,
        *,
        keyring: Keyring | None,
        hosts: Collection[str] | None,
        origins: Collection[str] = (),
    ) -> None:
        self._origins = frozenset(origins)
        self._application = application
        self._keyring = keyring
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        shared = _sharing(origin) if origin in self._origins else ()

        async def send_fenced(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS, *shared]
            await send(message)

        host = _host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            message = f"this server does not answer to the name {host!r}"
            await _refuse(send_fenced, 403, message, "unknown_host")
        elif shared and scope["method"] == "OPTIONS":
            await send_fenced({"type": "http.response.start", "status": 204, "headers": []})
            await send_fenced({"type": "http.response.body", "body": b""})
        elif not shared and _is_foreign(headers, origin):
            message = (
                f"a page of {origin or 'another site'} may not use this server; allow it with the "
                "setting serve.allowed_origins"
            )
            await _refuse(send_fenced, 403, message, "foreign_origin")
        elif scope["method"] == "POST" and not _is_json(headers.get(b"content-type", b"")):
            message = "send the body as JSON, with the header `Content-Type: application/json`"
            await _refuse(send_fenced, 415, message, "content_type")
        elif (client := self._client(scope, headers)) is None:
            message = (
                "a valid API key is needed: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
            )
            await _refuse(send_fenced, 401, message, "invalid_api_key")
        else:
            scope.setdefault("state", {})["client"] = client
            await self._application(scope, receive, send_fenced)

    def _client(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Client | None:
        """Who asks; None for somebody without a valid key on a path that needs one."""
        path = scope["path"]
        is_api = any(path == start or path.startswith(start + "/") for start in _API_PATHS)
        if self._keyring is None or not is_api:
            return Client(scope["client"][0] if scope.get("client") else "")
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            key = headers.get(b"x-api-key", b"")
        return self._keyring.client(key.strip())


def _host_name(host: str) -> str:
    """`Host` without its port: `[::1]:8000` is `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_foreign(headers: Mapping[bytes, bytes], origin: str) -> bool:
    """Whether a browser says that a page of another site sends the request."""
    if headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") not in (
        b"navigate",
        None,
    ):
        return True
    host = headers.get(b"host", b"").decode("latin-1")
    return bool(origin) and origin.partition("://")[2] != host


def _is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind in (b"", b"application/json") or (
        kind.startswith(b"application/") and kind.endswith(b"+json")
    )


def _sharing(origin: str) -> tuple[tuple[bytes, bytes], ...]:
    """Cross-origin resource sharing for one page."""
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-headers", b"authorization, content-type, x-api-key"),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-expose-headers", b"x-ignored-fields"),
        (b"vary", b"origin"),
    )


async def _refuse(send: Send, status: int, message: str, code: str) -> None:
    error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
