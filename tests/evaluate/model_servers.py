"""Servers on loopback: ours around a model, and one that behaves as badly as a test says."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

from tongwen.model.llama import Llama
from tongwen.serve.app import Server
from tongwen.serve.engine import Engine
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.text import Tokenizer

WORDS = re.compile(r"\s*\S+|\s+$")


@contextmanager
def our_server(model: Llama, tokenizer: Tokenizer) -> Iterator[str]:
    """The address of `tongwen serve` around the model."""
    engine = Engine(model, tokenizer, tokenizer.stop_ids)
    application = Server(engine, "small", ServeSettings(), has_chat=True).application(hosts=None)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            engine.close()


class OddServer:
    """A server whose model answers "The answer is B." and that fails in the ways a test asks for.

    Attributes:
        troubles: what goes wrong with the next requests, one each: a status, `broken` JSON, `close`
            in mid-answer, `no_scores`; None is an honest answer.
        scores: whether it scores texts.
        completions: whether it has /v1/completions.
        salt: of its log-probabilities; another one is another model.
        longest: characters of a prompt, beyond which it refuses.
        on_answer: called before an answer is sent.
    """

    def __init__(self) -> None:
        self.troubles: list[int | str | None] = []
        self.scores = self.completions = True
        self.salt = ""
        self.longest = 10**9
        self.on_answer: Callable[[], None] = lambda: None
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self._lock = threading.Lock()
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self._send(200, json.dumps({"data": [{"id": "odd"}]}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with odd._lock:
                    odd.keys.add(self.headers.get("Authorization"))
                    trouble = odd.troubles.pop(0) if odd.troubles else None
                if isinstance(trouble, int):
                    said = f"not now; you sent {self.headers.get('Authorization')}"
                    self._send(trouble, json.dumps({"error": {"message": said}}))
                    return
                status, reply = odd._reply(self.path, body, has_scores=trouble != "no_scores")
                text = json.dumps(reply)
                if trouble == "broken":
                    text = text[: len(text) // 2]
                self._send(status, text, cut=trouble == "close")

            def _send(self, status: int, text: str, *, cut: bool = False) -> None:
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if cut else data)
                self.close_connection = cut

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _reply(self, path: str, body: dict[str, Any], *, has_scores: bool) -> tuple[int, Any]:
        is_chat = path.endswith("/chat/completions")
        if not is_chat and not self.completions:
            return 404, {"error": {"message": "no such path"}}
        prompt = str(body["messages"] if is_chat else body["prompt"])
        if len(prompt) > self.longest:
            return 400, {"error": {"message": f"{len(prompt)} characters are too many"}}
        self.on_answer()
        with self._lock:
            self.bodies.append(body)
        said = " The answer is B."
        if is_chat:
            return 200, {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
        choice: dict[str, Any] = {"text": said, "finish_reason": "stop"}
        if body.get("echo"):
            choice["text"] = prompt + said * bool(body["max_tokens"])
            if has_scores and self.scores:
                choice["logprobs"] = self._scores(choice["text"])
        return 200, {"choices": [choice]}

    def _scores(self, text: str) -> dict[str, Any]:
        tokens = WORDS.findall(text)
        values = [-(hashlib.sha256((self.salt + one).encode()).digest()[0] / 64) for one in tokens]
        return {
            "tokens": tokens,
            "token_logprobs": [None, *values[1:]],
            "top_logprobs": [
                {one: value} if number else None
                for number, (one, value) in enumerate(zip(tokens, values, strict=True))
            ],
            "text_offset": [found.start() for found in WORDS.finditer(text)],
        }

    def __enter__(self) -> "OddServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
