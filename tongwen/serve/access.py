"""Who may ask, and what a browser may do with the answer: plain ASGI, so that streams pass."""

import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

_API_PATHS = ("/v1", "/models", "/chat", "/completions")
_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Asks for the API key on every path of the API, and adds the headers that fence the page.

    Args:
        application: what is guarded.
        api_key: asked for; None lets everybody in.
        hosts: values of `Host` to accept, without port. A web page elsewhere can point a name
            of its own at 127.0.0.1 and would otherwise read a keyless server. None accepts all.
    """

    def __init__(
        self, application: Application, *, api_key: str | None, hosts: Collection[str] | None
    ) -> None:
        self._application = application
        self._api_key = api_key
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return

        async def send_fenced(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        host = _host_name(headers.get(b"host", b"").decode("latin-1"))
        if self._hosts is not None and host not in self._hosts:
            await _refuse(send_fenced, 403, f"this server does not answer to the name {host!r}")
        elif not self._may_enter(scope["path"], headers.get(b"authorization", b"")):
            message = "a valid API key is needed: send `Authorization: Bearer KEY`"
            await _refuse(send_fenced, 401, message)
        else:
            await self._application(scope, receive, send_fenced)

    def _may_enter(self, path: str, authorization: bytes) -> bool:
        is_api = any(path == start or path.startswith(start + "/") for start in _API_PATHS)
        if self._api_key is None or not is_api:
            return True
        scheme, _, key = authorization.partition(b" ")
        is_key = hmac.compare_digest(key.strip(), self._api_key.encode("utf-8"))
        return scheme.lower() == b"bearer" and is_key


def _host_name(host: str) -> str:
    """`Host` without its port: `[::1]:8000` is `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


async def _refuse(send: Send, status: int, message: str) -> None:
    code = "invalid_api_key" if status == 401 else "unknown_host"
    error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
