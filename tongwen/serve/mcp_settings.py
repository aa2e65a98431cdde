"""Which MCP servers there are, by `NAME=COMMAND`, `NAME=URL` or a file with `mcpServers`."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.errors import InputError, UsageError
from tongwen.files import read_json

_NAME = re.compile(r"[A-Za-z0-9-]+(_[A-Za-z0-9-]+)*")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_HINT = "write --mcp NAME=COMMAND or --mcp NAME=https://HOST/mcp"
_HTTP_KINDS = ("http", "streamable-http", "streamableHttp", "streamable_http")


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """A program to start, or an address to reach.

    Attributes:
        name: what requests call it.
        command: the program and its arguments; empty for an address.
        environment: variables of the program, besides those that find files and programs.
        folder: where the program runs; ours when None.
        url: of a server that speaks streamable HTTP; empty for a program.
        headers: sent to it.
    """

    name: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: str | None = None
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def mcp_servers(given: Sequence[str], file: Path | None) -> tuple[McpServer, ...]:
    """All servers that are named.

    Args:
        given: texts `NAME=COMMAND` or `NAME=URL`.
        file: JSON with `mcpServers`, as Claude, Cursor and llama.cpp write it.

    Raises:
        UsageError: a text names no server, or two servers have one name.
        InputError: the file cannot be read, or is not of this form.
    """
    servers = [_of_text(text) for text in given]
    if file is not None:
        servers += _of_file(file)
    names = [server.name for server in servers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two MCP servers are called {twice}", hint="give each its own name")
    return tuple(servers)


def _of_text(text: str) -> McpServer:
    name, found, target = text.partition("=")
    if not found or not target.strip():
        raise UsageError(f"--mcp {name} does not say how to reach the server", hint=_HINT)
    _check_name(name, _HINT)
    if target.startswith(("http://", "https://")):
        return McpServer(name=name, url=target)
    try:
        command = shlex.split(target)
    except ValueError as error:
        raise UsageError(f"the command of the MCP server {name}: {error}", hint=_HINT) from error
    return McpServer(name=name, command=tuple(command))


def _check_name(name: str, hint: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > 32:
        raise UsageError(
            f"an MCP server is called {name!r}: up to 32 letters, digits, `-` and single `_`",
            hint=hint,
        )


def _of_file(path: Path) -> list[McpServer]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the MCP servers in {path}: {error}") from error
    entries = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise InputError(
            f"{path} has no object `mcpServers`",
            hint='write {"mcpServers": {"NAME": {"command": "…", "args": ["…"]}}}',
        )
    return [
        _of_entry(name, entry, f"mcpServers.{name} in {path}")
        for name, entry in entries.items()
        if not (isinstance(entry, dict) and entry.get("disabled"))
    ]


def _of_entry(name: str, entry: object, place: str) -> McpServer:
    _check_name(name, f"change it in {place}")
    if not isinstance(entry, dict) or ("command" in entry) == ("url" in entry):
        raise InputError(f"{place} needs either `command` or `url`")
    known = {"command", "args", "env", "cwd", "url", "headers", "type", "disabled"}
    if unknown := sorted(entry.keys() - known):
        raise InputError(
            f"{place} has the unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    if "url" in entry:
        kind = entry.get("type", "http")
        if kind not in _HTTP_KINDS:
            raise InputError(f"{place} is of type {kind!r}", hint="use streamable HTTP: `http`")
        url = _text(entry["url"], f"{place}: url")
        if not url.startswith(("http://", "https://")):
            raise InputError(f"the url of {place} does not begin with http:// or https://")
        return McpServer(name=name, url=url, headers=_texts(entry.get("headers"), place, "headers"))
    arguments = entry.get("args", [])
    if not isinstance(arguments, list):
        raise InputError(f"args of {place} must be a list")
    words = [entry["command"], *arguments]
    return McpServer(
        name=name,
        command=tuple(_text(word, f"{place}: command and args") for word in words),
        environment=_texts(entry.get("env"), place, "env"),
        folder=None if entry.get("cwd") is None else _text(entry["cwd"], f"{place}: cwd"),
    )


def _texts(value: Any, place: str, key: str) -> dict[str, str]:
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{key} of {place} must be an object")
    return {name: _text(text, f"{place}: {key}.{name}") for name, text in (value or {}).items()}


def _text(value: object, place: str) -> str:
    """A text with `${NAME}` taken from the environment, so that files need no secrets."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{place} must be a text that is not empty")

    def variable(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise InputError(f"{place} names the variable {match[1]}, which is not set")
        return found

    return _VARIABLE.sub(variable, value)
