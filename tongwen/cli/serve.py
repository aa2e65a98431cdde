"""`tongwen serve`: an OpenAI-compatible API and a chat page."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tongwen.cli.listening import api_key, bind, is_loopback, listen
from tongwen.cli.serve_status import serve_status
from tongwen.errors import UsageError

if TYPE_CHECKING:
    from tongwen.serve.engine import Engine
    from tongwen.serve.mcp_servers import McpServers
    from tongwen.serve.settings import ServeSettings
    from tongwen.serve.source import ServedModel


@click.command(name="serve")
@click.argument(
    "models", metavar="MODEL_OR_RUN...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--status", is_flag=True, help="A page that follows a run, in place of the model.")
@click.option("--host", help="Address to listen on [127.0.0.1]; any other needs an API key.")
@click.option("--port", type=int, help="Port to listen on [8000]; 0 takes a free one.")
@click.option("--quantized", is_flag=True, help="For a run, serve the quantized model.")
@click.option("--name", help="What requests call the model; the folder's name when absent.")
@click.option("--keys", "keys_file", help="TOML file of API keys with limits for each.")
@click.option("--access-log", help="File that gets a line of JSON for each request.")
@click.option(
    "--mcp",
    multiple=True,
    metavar="NAME=COMMAND|URL",
    help="MCP server whose tools requests may name; may be repeated.",
)
@click.option("--mcp-config", help="JSON file with `mcpServers`.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "bf16", "fp32"]),
    help="Data type of weights and activations.",
)
@click.option(
    "--cache",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    help="Data type of the keys and values held for every token.",
)
@click.option(
    "--prefix-cache",
    "prefix_cache_file",
    help="File that keeps the prefix cache for the next start.",
)
def command(
    models: tuple[Path, ...],
    status: bool,
    host: str | None,
    port: int | None,
    quantized: bool,
    name: str | None,
    keys_file: str | None,
    access_log: str | None,
    mcp: tuple[str, ...],
    mcp_config: str | None,
    precision: str | None,
    cache: str | None,
    prefix_cache_file: str | None,
) -> None:
    """Serve MODEL_OR_RUN: a chat page at / and OpenAI's and Anthropic's interfaces at /v1.

    MODEL_OR_RUN is a Hugging Face folder, a run directory, or the name of one below runs/.
    A key is read from the environment variable TONGWEN_API_KEY, several from the file of --keys;
    without any, a server that other machines can reach makes a key and prints it. Ctrl-C ends it.

    With --status it serves the report of a run and refreshes it while the run continues: no model
    is loaded. The curves of further runs are drawn over the first one's.

    \b
    Examples:
      tongwen serve runs/sample
      tongwen serve runs/sample --quantized --host 0.0.0.0 --port 8080
      tongwen serve runs/sample runs/other --status --port 8001
    """
    given = {
        "host": host,
        "port": port,
        "keys_file": keys_file,
        "access_log": access_log,
        "mcp": mcp or None,
        "mcp_config": mcp_config,
        "precision": precision,
        "cache": cache,
        "prefix_cache_file": prefix_cache_file,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if status:
        idle = sorted({*changes, *(["quantized"] * quantized), *(["name"] * bool(name))})
        _refuse_idle([option for option in idle if option not in ("host", "port")])
        serve_status(models, host, port)
        return
    if len(models) > 1:
        raise UsageError(
            f"{len(models)} models are named, and one is served",
            hint="start a server for each, or add --status to follow several runs",
        )
    from tongwen.serve.source import find_source, run_settings

    source = find_source(models[0])
    settings = dataclasses.replace(run_settings(source), **changes)  # type: ignore[arg-type]
    _serve(source, settings, quantized=quantized, name=name)


def _refuse_idle(options: Sequence[str]) -> None:
    if options:
        named = options[0].removesuffix("_file").replace("_", "-")
        raise UsageError(f"--{named} changes nothing with --status", hint="leave out one")


def _serve(source: Path, settings: "ServeSettings", *, quantized: bool, name: str | None) -> None:
    """Serve until a signal comes. What can be checked without the model is checked first."""
    from tongwen.serve.access import LOOPBACK_HOSTS
    from tongwen.serve.app import Server
    from tongwen.serve.keys import read_keys
    from tongwen.serve.source import load_served_model

    keys = () if settings.keys_file is None else read_keys(Path(settings.keys_file))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bind(settings.host, settings.port))
        servers = _mcp_servers(settings)
        if servers is not None:
            stack.enter_context(servers)
        loaded = load_served_model(source, quantized=quantized, settings=settings)
        is_local = is_loopback(settings.host)
        key = api_key(required=not (is_local or keys))
        engine = stack.enter_context(_engine(loaded, settings))
        server = Server(
            engine,
            name or loaded.name,
            settings,
            has_chat=loaded.has_chat,
            template=loaded.template,
            sampling=loaded.sampling,
            folder=loaded.folder,
            servers=servers,
        )
        hosts = LOOPBACK_HOSTS if is_local and key is None and not keys else None
        click.echo(f"{name or loaded.name} from {loaded.folder}; Ctrl-C ends", err=True)
        click.echo(_window(engine, loaded.model.config.max_position_embeddings), err=True)
        if servers is not None:
            click.echo(f"tools of MCP servers: {', '.join(servers.names)}", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            application = server.application(api_key=key, hosts=hosts, keys=keys)
            listen(application, listener, settings)
        click.echo("stopped", err=True)


def _mcp_servers(settings: "ServeSettings") -> "McpServers | None":
    """The MCP servers that the settings name, not connected yet; None where they name none."""
    from tongwen.serve.mcp_servers import McpServers
    from tongwen.serve.mcp_settings import mcp_servers

    file = None if settings.mcp_config is None else Path(settings.mcp_config)
    servers = mcp_servers(settings.mcp, file)
    if not servers:
        return None
    return McpServers(
        servers, call_seconds=settings.mcp_seconds, result_characters=settings.mcp_characters
    )


@contextlib.contextmanager
def _engine(loaded: "ServedModel", settings: "ServeSettings") -> Iterator["Engine"]:
    """An engine that ends with the context and keeps what it read of prompts, if that is wanted."""
    from tongwen.serve.engine import Engine

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
    try:
        yield engine
    finally:
        engine.close()
        if settings.prefix_cache_file is not None:
            file = Path(settings.prefix_cache_file)
            tokens = engine.save_prefixes(file, digest)
            click.echo(f"{tokens:,} tokens of prompts are kept in {file}", err=True)


def _load_prefixes(engine: "Engine", settings: "ServeSettings", folder: Path) -> str:
    """Load saved prefixes, if there are any for this model; returns the digest of its files."""
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
