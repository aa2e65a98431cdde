"""Debian's chromium, and a server that speaks the chat protocol at the pace a test asks for."""

import base64
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

STATIC = Path(__file__).parents[2] / "tongwen" / "serve" / "static"
WAIT_MILLISECONDS = 60_000  # for a busy machine; nothing waits so long that is not broken
expect.set_options(timeout=WAIT_MILLISECONDS)
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
FACTS = {
    "id": "tongwen-sample",
    "parameters": 21_400_000,
    "context_length": 2048,
    "has_chat": True,
    "license": "apache-2.0",
    "languages": ["en", "zh"],
    "card": "# tongwen-sample\n\n## Model 模型\n\n|  |  |\n|---|---|\n| layers 层数 | 8 |",
}
FLAGS = [
    "--no-sandbox",  # the tests also run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class FakeServer:
    """What the test decides and what the server saw.

    Attributes:
        pieces: the answer, one event each.
        may_continue: after its first piece an answer waits for this event.
        endless: repeat the last piece until the reader has gone.
        reader_has_gone: set when a write failed because the browser closed the connection.
        answers: pieces of the next answers, before `pieces` is used.
        finish: why answers end.
        progress: tokens of the prompt that have been read, said before the answer.
        servers: MCP servers, as `/mcp-servers` lists them.
        calls: of their tools, as events before the second piece of an answer.
        requests: bodies of the chat requests, in order.
    """

    url: str = ""
    pieces: list[str] = field(default_factory=lambda: ["你好，", "world", "。"])
    answers: list[list[str]] = field(default_factory=list)
    finish: str = "stop"
    progress: tuple[int, ...] = ()
    may_continue: threading.Event = field(default_factory=threading.Event)
    endless: bool = False
    reader_has_gone: threading.Event = field(default_factory=threading.Event)
    servers: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    context_tokens: int = 2048


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            model = {"id": "tongwen-sample", "context_length": self.fake.context_tokens}
            self._json({"data": [model]})
            return
        if self.path == "/model-facts":
            self._json(FACTS)
            return
        if self.path == "/mcp-servers":
            self._json({"data": self.fake.servers})
            return
        path = STATIC / (self.path.lstrip("/") or "index.html")
        self._whole(200, f"{KINDS[path.suffix]}; charset=utf-8", path.read_bytes())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            text = body.get("prompt") or "".join(m["content"] for m in body["messages"])
            self._json({"count": len(text)})
            return
        if self.path == "/attachments":
            self._attach(body)
            return
        self.fake.requests.append(body)
        question = body["messages"][-1]["content"]
        if len(question) > self.fake.context_tokens:
            self._refuse(len(question))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.fake.reader_has_gone.set()
        self.close_connection = True

    def _attach(self, body: dict[str, Any]) -> None:
        content = base64.b64decode(body["content"]).decode()
        if content == "%PDF-locked":
            error = {"message": "it needs a password", "code": "attachment_encrypted"}
            self._whole(400, "application/json", json.dumps({"error": error}).encode())
            return
        self._json({"name": body["name"], "text": content, "tokens": len(content)})

    def _answer(self) -> None:
        for tokens in self.fake.progress:
            progress = {"total": 45_000, "processed": tokens}
            self._event({"choices": [], "prompt_progress": progress})
        pieces = self.fake.answers.pop(0) if self.fake.answers else self.fake.pieces
        for number, piece in enumerate(pieces):
            self._event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
            if number == 0 and not self.fake.endless:
                for call in self.fake.calls:
                    self._event({"choices": [], "mcp_call": call})
                self.fake.may_continue.wait(timeout=60)
        while self.fake.endless:
            self._event({"choices": [{"delta": {"content": "字"}, "finish_reason": None}]})
            threading.Event().wait(0.02)
        self._event({"choices": [{"delta": {}, "finish_reason": self.fake.finish}]})
        usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
        self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, value: Any) -> None:
        self.wfile.write(f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, tokens: int) -> None:
        message = (
            f"the request needs {tokens:,} tokens, its prompt and at least one of an answer; "
            f"the context window of this model has {self.fake.context_tokens:,}"
        )
        error = {"message": message, "type": "invalid_request_error", "param": "messages"}
        value = {"error": {**error, "code": "context_length_exceeded"}}
        self._whole(400, "application/json", json.dumps(value).encode())

    def _json(self, value: Any) -> None:
        self._whole(200, "application/json", json.dumps(value).encode())

    def _whole(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header(
            "Content-Security-Policy", "default-src 'self'; connect-src 'self' http://127.0.0.1:*"
        )
        self.end_headers()
        self.wfile.write(body)


class _Http(ThreadingHTTPServer):
    request_queue_size = 64  # a browser whose connection finds no room tries again after seconds


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with _Http(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        fake.url = f"http://127.0.0.1:{http.server_port}/"
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield fake
        fake.may_continue.set()
        fake.endless = False
        http.shutdown()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "needs chromium (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page did besides what it shows."""

    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )


def wait_until(page: Page, condition: str) -> None:
    """Wait for a JavaScript expression to be true.

    Playwright's `wait_for_function` cannot ask a second time where the content security policy
    forbids `eval`, as it does on our pages.
    """
    for _ in range(WAIT_MILLISECONDS // 20):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"never became true: {condition}")


@pytest.fixture
def until() -> Callable[[Page, str], None]:
    return wait_until


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(chromium: Browser, watch: Watch) -> Iterator[Page]:
    """An empty English page of a fresh profile."""
    context = chromium.new_context(locale="en-US", viewport={"width": 1100, "height": 760})
    context.set_default_timeout(WAIT_MILLISECONDS)
    page = context.new_page()
    watch.over(page)
    yield page
    context.close()
