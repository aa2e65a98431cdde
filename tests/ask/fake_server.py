"""A server on loopback that answers chat completions as a test has scripted them."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Trouble = tuple[int, bytes, dict[str, str]]


class FakeServer:
    """Answers what `say` gives for the last message, after the troubles in `troubles`.

    Attributes:
        say: the answer to a question.
        troubles: answers given first, one a request: status, body, headers.
        bodies: requests that were answered with 200.
        headers: of every request.
        most_at_once: requests that were under way at one time.
    """

    def __init__(self) -> None:
        self.say: Callable[[str], str] = lambda question: "Fine.\nGrade: 3"
        self.refuse: Callable[[dict[str, Any]], str | None] = lambda body: None
        self.troubles: list[Trouble] = []
        self.models = ["tiny"]
        self.finish = "stop"
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._send(200, json.dumps({"data": [{"id": n} for n in fake.models]}).encode(), {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    fake.headers.append(dict(self.headers))
                    fake._now += 1
                    fake.most_at_once = max(fake.most_at_once, fake._now)
                    trouble = fake.troubles.pop(0) if fake.troubles else None
                try:
                    self._send(*(trouble or fake._answer(body)))
                finally:
                    with fake._lock:
                        fake._now -= 1

            def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]

    def _answer(self, body: dict[str, Any]) -> Trouble:
        problem = self.refuse(body)
        if problem is not None:
            return 400, json.dumps({"error": {"message": problem}}).encode(), {}
        text = self.say(body["messages"][-1]["content"])
        with self._lock:
            self.bodies.append(body)
        reply = {
            "choices": [{"message": {"content": text}, "finish_reason": self.finish}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        }
        return 200, json.dumps(reply).encode(), {}

    def __enter__(self) -> "FakeServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
