"""MCP servers whose tools a model may use (modelcontextprotocol.io, by the official SDK)."""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tongwen import __version__
from tongwen.errors import InputError, TongwenError
from tongwen.serve.fields import ApiError, Fields
from tongwen.serve.mcp_settings import McpServer
from tongwen.serve.tools import Tool

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult, ContentBlock

_START_SECONDS = 60
"""A program may be installed on its first start, as `npx` and `uvx` do it."""
_STOP_SECONDS = 10  # a server that does not answer must not keep the command from ending
_MOST_PAGES = 100  # a server whose cursor never ends would hold the start
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9_.-]")

T = TypeVar("T")


@dataclass(frozen=True)
class ToolResult:
    """What a tool said, or why it said nothing."""

    text: str
    is_error: bool = False


class McpServers:
    """Servers that are connected as long as the context is open, and their tools.

    The connections live in a thread with a loop of its own. One that broke off is made again at
    the next call. Tools are listed once, so that prompts keep beginning with the same bytes.

    Args:
        servers: to connect to.
        call_seconds: a call that takes longer is stopped.
        result_characters: a longer result is cut, and says so.

    Raises:
        InputError: the package mcp is missing.
    """

    def __init__(
        self, servers: Sequence[McpServer], *, call_seconds: float, result_characters: int
    ) -> None:
        try:
            import mcp  # noqa: F401
        except ImportError as error:
            raise InputError(
                "MCP servers need the package mcp", hint="pip install 'tongwen[mcp]'"
            ) from error
        self._call_seconds = call_seconds
        self._result_characters = result_characters
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._connections = {server.name: _Connection(server) for server in servers}
        self._places: dict[str, tuple[_Connection, str]] = {}

    def __enter__(self) -> "McpServers":
        """Connect to all of them.

        Raises:
            InputError: one of them cannot be reached.
        """
        self._thread.start()
        try:
            connections = list(self._connections.values())
            self._run(_together([connection.connected() for connection in connections])).result()
            for connection in connections:
                for shown, name in connection.names().items():
                    self._places[shown] = (connection, name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        closing = [connection.close() for connection in self._connections.values()]
        with contextlib.suppress(TimeoutError):
            self._run(_together(closing)).result(timeout=_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the servers."""
        return tuple(self._connections)

    def tools(self, server: str) -> tuple[Tool, ...]:
        """The tools of a server, called `SERVER__TOOL`."""
        return self._connections[server].tools

    async def call(self, name: str, arguments: str) -> ToolResult:
        """Have a tool called; whatever goes wrong is its result.

        Args:
            name: as `tools` has it.
            arguments: a JSON object.
        """
        connection, tool = self._places[name]
        try:
            values = json.loads(arguments)
        except ValueError as error:
            return ToolResult(f"the arguments are not JSON: {error}", is_error=True)
        if not isinstance(values, dict):
            return ToolResult("the arguments are not a JSON object", is_error=True)
        try:
            async with asyncio.timeout(self._call_seconds):
                result = await asyncio.wrap_future(self._run(connection.call(tool, values)))
        except TimeoutError:
            return ToolResult(f"no result within {self._call_seconds:g} s", is_error=True)
        return ToolResult(_cut(result.text, self._result_characters), result.is_error)

    def _run(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def server_tools(values: list[Any], servers: McpServers | None) -> tuple[Tool, ...]:
    """The tools that a request names by their servers, as OpenAI's tools of the type `mcp` do.

    Raises:
        ApiError: 400; this server has no such MCP server or tool, or the request also defines
            functions, which only its client can call.
    """
    tools: list[Tool] = []
    for number, value in enumerate(values):
        place = f"tools[{number}]"
        if not isinstance(value, dict) or value.get("type") != "mcp":
            raise ApiError(
                400,
                f"`{place}` is not of the type `mcp`: a request has either tools of MCP servers, "
                "which this server calls, or functions, which its client calls",
                param=place,
            )
        fields = Fields(value, f"{place}.")
        fields.ignore("type", "server_description")
        label = fields.required("server_label", str)
        known = () if servers is None else servers.names
        if servers is None or label not in known:
            shown = ", ".join(known) or "none; it was started without --mcp"
            message = f"`{place}.server_label` is {label[:80]!r}; this server has {shown}"
            raise ApiError(400, message, param=f"{place}.server_label")
        fields.choice("require_approval", ("never",), "never")
        tools += _allowed(fields, servers.tools(label), label)
        fields.finish()
    return tuple(tools)


def _allowed(fields: Fields, tools: tuple[Tool, ...], label: str) -> list[Tool]:
    """Those that `allowed_tools` names, by their names with or without the server's."""
    names = fields.take("allowed_tools", list, None)
    if names is None:
        return list(tools)
    found = {tool.name.removeprefix(f"{label}__"): tool for tool in tools}
    wrong = next((n for n in names if str(n).removeprefix(f"{label}__") not in found), None)
    if wrong is not None:
        fields.refuse("allowed_tools", wrong, f"tools of {label}: {', '.join(found)}")
    return [found[name.removeprefix(f"{label}__")] for name in names]


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    results = await asyncio.gather(*works, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class _Connection:
    """One server, connected when it is needed. Of the loop of its thread alone."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self.tools: tuple[Tool, ...] = ()
        self._names: dict[str, str] = {}

    def names(self) -> Mapping[str, str]:
        """Its tools: how requests name them -> how it names them."""
        return self._names

    async def connected(self) -> None:
        """Connect unless it is.

        Raises:
            InputError: it cannot be reached.
        """
        async with self._lock:
            if self._client is not None and self._task is not None and not self._task.done():
                return
            started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._leave = asyncio.Event()
            # The SDK wants a connection closed by the task that opened it.
            self._task = asyncio.create_task(self._stay(started))
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await asyncio.shield(started)
            except TimeoutError as error:
                self._task.cancel()
                raise InputError(
                    f"the MCP server {self._server.name} did not answer within {_START_SECONDS} s"
                ) from error

    async def call(self, tool: str, arguments: dict[str, Any]) -> ToolResult:
        """The result of a call, or the error in its place."""
        from mcp import MCPError

        try:
            await self.connected()
            assert self._client is not None
            return _result(await self._client.call_tool(tool, arguments))
        except MCPError as error:
            if error.code == _connection_closed():
                await self.close()
            return ToolResult(f"the tool failed: {error}", is_error=True)
        except TongwenError as error:
            return ToolResult(error.message, is_error=True)
        except Exception as error:  # whatever a server sends, or its end
            await self.close()
            return ToolResult(f"the tool failed: {_words(error)}", is_error=True)

    async def close(self) -> None:
        """End the connection, and the program behind it."""
        self._leave.set()
        task, self._task, self._client = self._task, None, None
        if task is not None:
            await asyncio.wait({task})

    async def _stay(self, started: "asyncio.Future[None]") -> None:
        """Hold the connection open until somebody wants to leave."""
        leave = self._leave
        try:
            async with contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(await self._opened(stack))
                await self._list_tools(client)
                self._client = client
                if not started.done():
                    started.set_result(None)
                await leave.wait()
        except Exception as error:
            if not started.done():
                words = f"the MCP server {self._server.name} cannot be used: {_words(error)}"
                started.set_exception(InputError(words, hint=_hint(self._server)))

    async def _opened(self, stack: contextlib.AsyncExitStack) -> "Client":
        """A client that is not connected yet."""
        import httpx2
        from mcp import Client, StdioServerParameters
        from mcp.client.streamable_http import streamable_http_client
        from mcp.types import Implementation

        server = self._server
        ours = Implementation(name="tongwen", version=__version__)
        if server.command:
            program = StdioServerParameters(
                command=server.command[0],
                args=list(server.command[1:]),
                env=dict(server.environment),
                cwd=server.folder,
            )
            return Client(program, client_info=ours)
        # Calls have a limit of their own; the SDK's is that of a silent stream.
        timeout = httpx2.Timeout(_START_SECONDS, read=None)
        web = httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout)
        await stack.enter_async_context(web)
        return Client(streamable_http_client(server.url, http_client=web), client_info=ours)

    async def _list_tools(self, client: "Client") -> None:
        """Read all tools, page by page."""
        tools: list[Tool] = []
        names: dict[str, str] = {}
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                shown = f"{self._server.name}__{_NOT_OF_NAMES.sub('_', tool.name)}"[:128]
                if shown in names:
                    raise InputError(f"it has two tools that are called {shown}")
                names[shown] = tool.name
                tools.append(Tool(shown, tool.description or "", tool.input_schema))
            cursor = page.next_cursor
            if cursor is None:
                break
        self.tools, self._names = tuple(tools), names


def _connection_closed() -> int:
    from mcp.types import CONNECTION_CLOSED

    return CONNECTION_CLOSED


def _result(result: "CallToolResult") -> ToolResult:
    """The text of a result; other content is named by its type."""
    text = "\n".join(filter(None, map(_block, result.content)))
    if not text and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False)
    return ToolResult(text, result.is_error)


def _block(block: "ContentBlock") -> str:
    if block.type == "text":
        return block.text
    if block.type == "resource_link":
        return block.uri
    if block.type == "resource":
        text = getattr(block.resource, "text", None)
        return text if isinstance(text, str) else f"[{block.resource.uri}: no text]"
    return f"[{block.mime_type}: this model reads text]"


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[cut: the first {most:,} of {len(text):,} characters]"


def _words(error: BaseException) -> str:
    """What an error says; of a group, its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TongwenError):
        return error.message
    return str(error) or type(error).__name__


def _hint(server: McpServer) -> str:
    if server.command:
        return (
            f"does `{server.command[0]}` run in a terminal, and speak MCP on its standard output?"
        )
    return "is it running, and is the address that of its streamable HTTP endpoint, as …/mcp?"
