"""Tools of MCP servers on the chat page."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SERVERS = [
    {"server_label": "notes", "tools": [{"name": "notes__add", "description": "A new note."}]},
    {"server_label": "web", "tools": []},
]
RUNNING = {
    "id": "call_1", "name": "notes__add", "arguments": '{"text": "<b>路</b>"}',
    "status": "running", "result": None,
}  # fmt: skip


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.keyboard.press("Enter")


def finished(page: Page) -> None:
    expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")


def test_calls_are_one_line_that_opens_and_part_of_the_history(
    page: Page, server: Any, watch: Any
) -> None:
    server.servers = SERVERS
    server.pieces = ["Let me write.", "\n\nWritten."]
    server.calls = [RUNNING]
    page.goto(server.url)
    ask(page, "Note it")
    line = page.locator("article.assistant .calls")
    expect(line.locator("summary")).to_have_text("Calling notes__add …")
    server.may_continue.set()
    finished(page)

    ended = RUNNING | {"status": "failed", "result": "<img src=x onerror=alert(1)> 满了"}
    server.calls = [RUNNING, ended]
    page.get_by_role("button", name="Regenerate").click()
    expect(line.locator("summary")).to_have_text("Tools called: 1 (notes__add)")
    expect(line.locator("ol")).to_be_hidden()
    line.locator("summary").click()
    expect(line.locator(".call")).to_have_text('notes__add({"text": "<b>路</b>"})')
    expect(line.locator("pre")).to_have_text("<img src=x onerror=alert(1)> 满了")
    finished(page)

    server.calls = []
    ask(page, "And then?")
    finished(page)
    first, *_, last = server.requests
    assert first["tools"] == [{"type": "mcp", "server_label": name} for name in ("notes", "web")]
    _, said, told, rest, _ = last["messages"]
    assert said["content"] == "Let me write."
    assert said["tool_calls"][0]["function"]["arguments"] == RUNNING["arguments"]
    assert (told["role"], told["tool_call_id"]) == ("tool", "call_1")
    assert rest == {"role": "assistant", "content": "Written."}

    page.reload()
    expect(page.locator("article.assistant .calls summary").first).to_be_visible()
    assert watch.complaints == []


def test_a_server_can_be_left_out_and_stays_so(page: Page, server: Any) -> None:
    server.servers = SERVERS
    server.may_continue.set()
    page.goto(server.url)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("web (0)").uncheck()
    page.get_by_role("button", name="Done").click()
    page.reload()
    ask(page, "Go")
    finished(page)
    assert server.requests[0]["tools"] == [{"type": "mcp", "server_label": "notes"}]


def test_a_question_asked_before_the_servers_are_known_still_gets_their_tools(
    page: Page, server: Any
) -> None:
    server.servers = SERVERS[:1]
    server.may_continue.set()
    held: list[Any] = []
    page.route("**/mcp-servers", lambda route: held.append(route))
    page.goto(server.url)
    ask(page, "Go")
    expect(page.locator("article.assistant")).to_have_count(1)
    while not held:
        page.wait_for_timeout(10)  # routes are called while the page is waited for
    assert server.requests == []
    held[0].continue_()
    finished(page)
    assert server.requests[0]["tools"] == [{"type": "mcp", "server_label": "notes"}]
