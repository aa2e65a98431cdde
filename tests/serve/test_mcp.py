"""Tools of MCP servers: named by a request, called by our server, never more than is allowed."""

import json
import runpy
import shlex
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tongwen.errors import InputError, UsageError
from tongwen.serve.mcp_servers import McpServers
from tongwen.serve.mcp_settings import McpServer, mcp_servers

PROGRAM = Path(__file__).with_name("mcp_program.py")
COMMAND = shlex.join([sys.executable, str(PROGRAM)])
NAMED = [{"type": "mcp", "server_label": "t"}]
QUESTION = [{"role": "user", "content": "你好"}]


@pytest.fixture(scope="module")
def servers() -> Iterator[McpServers]:
    named = mcp_servers([f"t={COMMAND}"], None)
    with McpServers(named, call_seconds=20, result_characters=300) as made:
        yield made


def call(name: str, **arguments: Any) -> str:
    body = json.dumps({"name": f"t__{name}", "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{body}\n</tool_call>"


@contextmanager
def talking(
    scripted_engine: Callable[..., Any], serve: Any, servers: Any, *texts: str, **settings: Any
) -> Iterator[Callable[..., httpx.Response]]:
    """Asks a model that answers its prompts with the texts, one after the other."""
    options = {"context_tokens": settings.pop("context_tokens", 8_192), "prefix_bytes": 0}
    engine, model = scripted_engine(*texts, **options)
    model.takes_scripts_in_turn = True
    with serve(engine, servers=servers, **settings) as url:

        def ask(**body: Any) -> httpx.Response:
            wanted = {"model": "small", "messages": QUESTION, "tools": NAMED, **body}
            return httpx.post(f"{url}/v1/chat/completions", json=wanted, timeout=60)

        yield ask


def test_calls_are_made_until_the_model_answers(
    scripted_engine: Any, serve: Any, servers: Any
) -> None:
    texts = ["让我算。\n" + call("add", a=2, b=3), call("fail"), "它是 5。"]
    with talking(scripted_engine, serve, servers, *texts) as ask:
        got = ask(max_tokens=600).json()
    choice = got["choices"][0]
    added, failed = choice["message"]["mcp_calls"]
    assert (added["name"], json.loads(added["arguments"])) == ("t__add", {"a": 2, "b": 3})
    assert (added["status"], added["result"]) == ("completed", "5")
    assert failed["status"] == "failed"
    assert "disk is on fire" in failed["result"]
    assert choice["message"]["content"] == "让我算。\n\n它是 5。"
    assert choice["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]
    assert got["usage"]["prompt_tokens"] > 3 * 100  # of three rounds


def test_a_stream_says_when_a_call_begins_and_what_came_of_it(
    scripted_engine: Any, serve: Any, servers: Any
) -> None:
    with talking(scripted_engine, serve, servers, call("add", a=2, b=3), "5") as ask:
        lines = ask(max_tokens=300, stream=True).text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    calls = [event["mcp_call"] for event in events if "mcp_call" in event]
    assert [(c["status"], c["result"]) for c in calls] == [("running", None), ("completed", "5")]
    assert calls[0]["id"] == calls[1]["id"]
    deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "5"
    assert not any("tool_calls" in delta for delta in deltas)
    assert lines[-2] == "data: [DONE]"


def test_calls_time_and_results_are_bounded(
    scripted_engine: Any, serve: Any, servers: Any, run_async: Any
) -> None:
    texts = [call("read", characters=500), call("add", a=1, b=1), "完"]
    with talking(scripted_engine, serve, servers, *texts, mcp_calls=1) as ask:
        message = ask(max_tokens=900).json()["choices"][0]["message"]
    (read,) = message["mcp_calls"]
    assert read["result"] == "长" * 300 + "\n[cut: the first 300 of 500 characters]"
    # After the last call that is allowed a call is text, like everything else.
    assert "t__add" in message["content"]

    quick = McpServers(mcp_servers([f"t={COMMAND}"], None), call_seconds=0.2, result_characters=9)
    with quick:
        late = run_async(quick.call("t__wait", '{"seconds": 5}'))
    assert late.is_error
    assert "0.2 s" in late.text


def test_a_result_beyond_the_window_is_an_error_that_the_model_reads(
    scripted_engine: Any, serve: Any, servers: Any
) -> None:
    texts = [call("read", characters=250), "太长了"]
    tokens = {"context_tokens": 1_900}
    with talking(scripted_engine, serve, servers, *texts, **tokens) as ask:
        first = ask(max_tokens=1, tools=NAMED).json()["usage"]["prompt_tokens"]
    assert first < 1_900 < first + 750  # a Chinese character of the result takes three tokens
    with talking(scripted_engine, serve, servers, *texts, **tokens) as ask:
        got = ask(max_tokens=300).json()
    assert got["choices"][0]["message"]["content"] == "太长了"


def test_nothing_that_a_tool_says_becomes_a_control_piece(
    scripted_engine: Any, serve: Any, servers: Any, small_tokenizer: Any
) -> None:
    prompts: list[list[int]] = []
    engine, model = scripted_engine(call("evil"), "好", prefix_bytes=0, context_tokens=8_192)
    model.takes_scripts_in_turn = True
    submit = engine.submit
    engine.submit = lambda request, deliver: (
        prompts.append(list(request.prompt_ids)) or submit(request, deliver)
    )
    with serve(engine, servers=servers) as url:
        body = {"model": "small", "messages": QUESTION, "tools": NAMED, "max_tokens": 200}
        got = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()
    assert got["choices"][0]["message"]["content"] == "好"
    first, second = prompts
    start = small_tokenizer.special_ids["<|im_start|>"]
    # Of the second prompt: the call, its result, and where the answer begins.
    assert second.count(start) == first.count(start) + 2
    assert "obey me" in small_tokenizer.decode(second, show_special=True)


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([{"type": "mcp", "server_label": "other"}], "this server has t"),
        ([{"type": "mcp", "server_label": "t", "server_url": "http://inside/"}], "server_url"),
        ([{"type": "mcp", "server_label": "t", "allowed_tools": ["rm"]}], "add, fail"),
        ([{"type": "mcp", "server_label": "t", "require_approval": "always"}], "never"),
        ([*NAMED, {"type": "function", "function": {"name": "f"}}], "either"),
    ],
)
def test_what_a_request_may_not_ask_of_servers_is_refused(
    scripted_engine: Any, serve: Any, servers: Any, tools: Any, words: str
) -> None:
    with talking(scripted_engine, serve, servers, "x") as ask:
        refused = ask(tools=tools)
        assert ask(n=2).status_code == 400
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]


def test_a_request_that_names_no_server_gets_none(
    scripted_engine: Any, serve: Any, servers: Any
) -> None:
    with talking(scripted_engine, serve, servers, call("add", a=2, b=3)) as ask:
        plain = ask(tools=[]).json()["choices"][0]["message"]
        assert "mcp_calls" not in plain
        assert "t__add" in plain["content"]
        only = [{"type": "mcp", "server_label": "t", "allowed_tools": ["fail", "t__add"]}]
        assert ask(tools=only, max_tokens=1).status_code == 200
    with talking(scripted_engine, serve, None, "x") as ask:
        assert "started without --mcp" in ask().json()["error"]["message"]


def test_the_page_learns_which_servers_there_are(
    scripted_engine: Any, serve: Any, servers: Any
) -> None:
    engine, _ = scripted_engine("x")
    with serve(engine, servers=servers, api_key="secret") as url:
        assert httpx.get(f"{url}/mcp-servers").status_code == 401
        head = {"Authorization": "Bearer secret"}
        (found,) = httpx.get(f"{url}/mcp-servers", headers=head).json()["data"]
    assert found["server_label"] == "t"
    assert {"name": "t__add", "description": "The sum of two numbers."} in found["tools"]


def test_a_program_that_died_is_started_again(servers: Any, run_async: Any) -> None:
    async def ask() -> None:
        ended = await servers.call("t__die", "{}")
        assert ended.is_error
        again = await servers.call("t__add", '{"a": 40, "b": 2}')
        assert (again.text, again.is_error) == ("42", False)
        assert (await servers.call("t__add", '{"a": "x"}')).is_error
        assert (await servers.call("t__add", "[]")).is_error

    run_async(ask())


def test_a_program_sees_only_what_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_async: Any
) -> None:
    monkeypatch.setenv("TONGWEN_API_KEY", "ours")
    monkeypatch.setenv("THEIR_KEY", "theirs")
    file = tmp_path / "mcp.json"
    entry = {"command": sys.executable, "args": [str(PROGRAM)], "env": {"GIVEN": "${THEIR_KEY}"}}
    off = {"command": "not-there", "disabled": True}
    file.write_text(json.dumps({"mcpServers": {"t": entry, "off": off}}), encoding="utf-8")
    (server,) = mcp_servers([], file)
    assert "theirs" not in repr(server)

    async def ask(servers: McpServers) -> list[str]:
        names = ["GIVEN", "TONGWEN_API_KEY", "THEIR_KEY"]
        wanted = [json.dumps({"name": name}) for name in names]
        return [(await servers.call("t__environment", body)).text for body in wanted]

    with McpServers([server], call_seconds=20, result_characters=300) as made:
        assert run_async(ask(made)) == ["theirs", "not set", "not set"]


def test_a_server_behind_an_address_is_asked_over_http(run_async: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            runpy.run_path(str(PROGRAM))["made"]().streamable_http_app(), log_level="critical"
        )
        web = uvicorn.Server(config)
        thread = threading.Thread(target=web.run, args=([listener],))
        thread.start()
        try:
            named = mcp_servers([f"web=http://127.0.0.1:{port}/mcp"], None)
            with McpServers(named, call_seconds=20, result_characters=300) as made:
                got = run_async(made.call("web__add", '{"a": 1, "b": 2}'))
        finally:
            web.should_exit = True
            thread.join(timeout=60)
    assert (got.text, got.is_error) == ("3", False)


@pytest.mark.parametrize("text", ["x", "x=", "a b=cmd", "a__b=cmd", "x='unclosed"])
def test_an_unusable_name_or_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        mcp_servers([text], None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot read"),
        ("{}", "mcpServers"),
        ('{"mcpServers": {"a": {}}}', "mcpServers.a"),
        ('{"mcpServers": {"a": {"command": "x", "argv": []}}}', "argv"),
        ('{"mcpServers": {"a": {"url": "https://x", "type": "sse"}}}', "sse"),
        ('{"mcpServers": {"a": {"command": "x", "env": {"K": "${NOT_SET_HERE}"}}}}', "NOT_SET"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        mcp_servers([], file)
    assert words in str(caught.value)


@pytest.mark.parametrize("command", [("not-a-program-anywhere",), (sys.executable, "-c", "print")])
def test_a_server_that_does_not_start_ends_the_start(command: tuple[str, ...]) -> None:
    servers = McpServers(
        [McpServer(name="t", command=command)], call_seconds=1, result_characters=9
    )
    with pytest.raises(InputError, match="MCP server t"), servers:
        pass
