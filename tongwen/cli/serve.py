"""`tongwen serve`: an OpenAI-compatible API and a chat page."""

import contextlib
import dataclasses
import errno
import ipaddress
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tongwen.errors import TongwenError, UsageError

if TYPE_CHECKING:
    from tongwen.serve.access import Application
    from tongwen.serve.engine import Engine
    from tongwen.serve.settings import ServeSettings

API_KEY_VARIABLE = "TONGWEN_API_KEY"

_GRACE_SECONDS = 2


@click.command(name="serve")
@click.argument("model", metavar="MODEL_OR_RUN", type=click.Path(path_type=Path))
@click.option("--host", help="Address to listen on [127.0.0.1]; any other needs an API key.")
@click.option("--port", type=int, help="Port to listen on [8000]; 0 takes a free one.")
@click.option("--quantized", is_flag=True, help="Of a run, serve the quantized model.")
@click.option("--name", help="What requests call the model; the folder's name when absent.")
@click.option("--keys", "keys_file", help="TOML file of API keys with limits for each.")
@click.option("--access-log", help="File that gets a line of JSON for each request.")
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), help="Of the numbers.")
@click.option(
    "--cache",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    help="Of the keys and values held for every token.",
)
@click.option(
    "--prefix-cache",
    "prefix_cache_file",
    help="File that keeps what was read of prompts, for the next start.",
)
def command(
    model: Path,
    host: str | None,
    port: int | None,
    quantized: bool,
    name: str | None,
    keys_file: str | None,
    access_log: str | None,
    precision: str | None,
    cache: str | None,
    prefix_cache_file: str | None,
) -> None:
    """Serve MODEL_OR_RUN: a chat page at / and OpenAI's and Anthropic's interfaces at /v1.

    MODEL_OR_RUN is a Hugging Face folder, a run directory, or the name of one below runs/.
    A key is read from the environment variable TONGWEN_API_KEY, several from the file of --keys;
    without any, a server that other machines can reach makes a key and prints it. Ctrl-C ends it.

    \b
    Examples:
      tongwen serve runs/sample
      tongwen serve runs/sample --quantized --host 0.0.0.0 --port 8080
    """
    from tongwen.serve.access import LOOPBACK_HOSTS
    from tongwen.serve.app import Server
    from tongwen.serve.engine import Engine
    from tongwen.serve.keys import read_keys
    from tongwen.serve.source import find_source, load_served_model, run_settings

    source = find_source(model)
    given = {
        "host": host,
        "port": port,
        "keys_file": keys_file,
        "access_log": access_log,
        "precision": precision,
        "cache": cache,
        "prefix_cache_file": prefix_cache_file,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    settings = dataclasses.replace(run_settings(source), **changes)  # type: ignore[arg-type]
    keys = () if settings.keys_file is None else read_keys(Path(settings.keys_file))
    listener = bind(settings.host, settings.port)
    with listener:
        loaded = load_served_model(source, quantized=quantized, settings=settings)
        is_local = _is_loopback(settings.host)
        api_key = _api_key(required=not (is_local or keys))
        mib = settings.prefix_cache_mib
        engine = Engine(
            loaded.model,
            loaded.tokenizer,
            loaded.stop_ids,
            concurrent_requests=settings.concurrent_requests,
            waiting_requests=settings.waiting_requests,
            waiting_tokens=settings.waiting_tokens,
            batch_tokens=settings.batch_tokens,
            cache=settings.cache,
            context_tokens=settings.context_tokens,
            prefix_bytes=None if mib is None else mib << 20,
        )
        try:
            digest = _load_prefixes(engine, settings, loaded.folder)
        except BaseException:
            engine.close()
            raise
        server = Server(
            engine,
            name or loaded.name,
            settings,
            has_chat=loaded.has_chat,
            template=loaded.template,
            sampling=loaded.sampling,
            folder=loaded.folder,
        )
        hosts = LOOPBACK_HOSTS if is_local and api_key is None and not keys else None
        click.echo(f"{name or loaded.name} from {loaded.folder}; Ctrl-C ends", err=True)
        click.echo(_window(engine, loaded.model.config.max_position_embeddings), err=True)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                application = server.application(api_key=api_key, hosts=hosts, keys=keys)
                _listen(application, listener, settings)
            click.echo("stopped", err=True)
        finally:
            engine.close()
            if settings.prefix_cache_file is not None:
                file = Path(settings.prefix_cache_file)
                tokens = engine.save_prefixes(file, digest)
                click.echo(f"{tokens:,} tokens of prompts are kept in {file}", err=True)


def _load_prefixes(engine: "Engine", settings: "ServeSettings", folder: Path) -> str:
    """Take saved prefixes, where there are some for this model; gives the digest of its files."""
    from tongwen.files import file_digest, value_digest

    if settings.prefix_cache_file is None:
        return ""
    files = sorted((*folder.glob("*.safetensors"), folder / "config.json"))
    digest = value_digest([[file.name, file_digest(file)] for file in files])
    saved = Path(settings.prefix_cache_file)
    if saved.exists():
        tokens = engine.load_prefixes(saved, digest)
        click.echo(f"{tokens:,} tokens of prompts are known from {saved}", err=True)
    return digest


def _window(engine: "Engine", model_tokens: int) -> str:
    """Which window is served, and why."""
    served = f"context window {engine.context_tokens:,} tokens"
    if engine.context_tokens == model_tokens:
        return f"{served}, the model's own"
    of = f"{served} of the model's {model_tokens:,}"
    if engine.context_tokens == engine.fitting_tokens:
        return f"{of}: more does not fit in a quarter of the free memory; try --cache int8"
    return f"{of}, as serve.context_tokens says"


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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _api_key(*, required: bool) -> str | None:
    """The key in the environment; else, where one is required, a new one, which is printed."""
    api_key = os.environ.get(API_KEY_VARIABLE) or None
    if api_key is None and required:
        api_key = secrets.token_urlsafe(24)
        click.echo(f"API key, shown this once: {api_key}", err=True)
    return api_key


def _listen(application: "Application", listener: socket.socket, settings: "ServeSettings") -> None:
    """Serve until a signal comes; prints the URL once requests are answered."""
    import uvicorn

    from tongwen.serve.connections import protocol_with

    host, port = settings.host, listener.getsockname()[1]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            click.echo(f"http://{shown}:{port}/")

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
