"""Where a server listens, who may ask it, and how it ends."""

import errno
import ipaddress
import os
import secrets
import socket
from typing import TYPE_CHECKING

import click

from tongwen.errors import TongwenError, UsageError

if TYPE_CHECKING:
    from tongwen.serve.access import Application
    from tongwen.serve.settings import ServeSettings

API_KEY_VARIABLE = "TONGWEN_API_KEY"

_GRACE_SECONDS = 2  # a stream may never end: Ctrl-C must not wait for it


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before the model is read: a mistake shows at once.

    Raises:
        TongwenError: the port is in use or needs more rights, or the address is not ours.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise UsageError(f"cannot listen on {host!r}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise TongwenError(
                f"port {port} of {host} is in use",
                hint=f"another server may be running; a free port: --port {_free_port(host)}",
            ) from error
        hint = "ports below 1024 need root" if error.errno == errno.EACCES else None
        raise UsageError(
            f"cannot listen on port {port} of {host}: {error.strerror}", hint=hint
        ) from error
    return listener


def _free_port(host: str) -> int:
    with bind(host, 0) as listener:
        return int(listener.getsockname()[1])


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def api_key(*, required: bool) -> str | None:
    """The key in the environment; else, where one is required, a new one, which is printed."""
    key = os.environ.get(API_KEY_VARIABLE) or None
    if key is None and required:
        key = secrets.token_urlsafe(24)
        click.echo(f"API key, shown this once: {key}", err=True)
    return key


def listen(
    application: "Application",
    listener: socket.socket,
    settings: "ServeSettings",
    *,
    place: str = "",
) -> None:
    """Serve until a signal comes; prints the URL, with `place` after it, once requests are
    answered.
    """
    import uvicorn

    from tongwen.serve.connections import protocol_with

    host, port = settings.host, listener.getsockname()[1]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            click.echo(f"http://{shown}:{port}/{place}")

    config = uvicorn.Config(
        application,
        http=protocol_with(settings.header_seconds, settings.connections),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    Announcing(config).run(sockets=[listener])
