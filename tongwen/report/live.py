"""The report as a page that follows a run: plain ASGI, so that any server can serve it."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tongwen.errors import TongwenError
from tongwen.report.build import main_text, page_text, report_content
from tongwen.report.run_files import RunFiles
from tongwen.report.state import read_state

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STATUS_PATH = "/status"
_FILES = {
    "/report.css": ("report.css", "text/css"),
    "/report.js": ("report.js", "text/javascript"),
    "/live.js": ("live.js", "text/javascript"),
}
_LEAST_WAIT_SECONDS = 5.0  # a run changes no faster, and its trainer needs the CPU
_MOST_WAIT_SECONDS = 120.0  # or a page of a long run looks dead
_WAIT_SHARE = 20
"""A page waits so many times as long as it took to write it, so that a long run is not slowed."""


class LivePage:
    """Answers `/` with the page's frame, and `/status` with what is in it and when to ask again.

    Args:
        runs: run directories; the curves of all but the first are drawn over the first one's.

    Raises:
        InputError: one of them is not a run directory.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        self._runs = [RunFiles.open(run).directory for run in runs]
        self._lock = threading.Lock()
        self._stamp: object = None
        self._page: dict[str, Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        path = scope["path"]
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, "text/plain", b"this page is only read\n")
        elif path == "/":
            await _answer(send, 200, "text/html", await asyncio.to_thread(self._frame))
        elif path == STATUS_PATH:
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            status, value = await asyncio.to_thread(self._status, query.get("digest", [""])[0])
            body = json.dumps(value, ensure_ascii=False).encode()
            await _answer(send, status, "application/json", body)
        elif path == "/favicon.ico":
            await _answer(send, 204, "image/x-icon", b"")
        elif path in _FILES:
            name, kind = _FILES[path]
            body = (resources.files("tongwen.report") / "page" / name).read_bytes()
            await _answer(send, 200, kind, body)
        else:
            await _answer(send, 404, "text/plain", b"there is no such page\n")

    def _frame(self) -> bytes:
        """Without figures of the run: access to those is checked at `/status`."""
        return page_text({}, is_live=True).encode()

    def _status(self, digest: str) -> tuple[int, dict[str, Any]]:
        try:
            page = self._current()
        except (TongwenError, OSError) as error:
            return 503, {"error": str(error)}
        is_new = digest != page["digest"]
        return 200, {**page, "html": page["html"] if is_new else None}

    def _current(self) -> dict[str, Any]:
        """The page, written anew when a file of a run has changed or one has ended."""
        with self._lock:
            stamp = self._files_stamp()
            if stamp != self._stamp:
                started = time.monotonic()
                content = report_content(self._runs[0], self._runs[1:])
                html = main_text(content)
                seconds = time.monotonic() - started
                self._page = {
                    "digest": hashlib.sha256(html.encode()).hexdigest()[:16],
                    "title": f"{content['run'].name} · Tongwen 同文",
                    "status": content["state"].status,
                    "html": html,
                    "wait_seconds": round(_wait_seconds(seconds), 1),
                }
                self._stamp = stamp
            return self._page

    def _files_stamp(self) -> object:
        """Changes when a file that the page reads changes, or a run has ended."""
        found: list[object] = [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns)
            for run in self._runs
            for pattern in ("*.json", "*.jsonl", "stages/*/*.json", "stages/*/*.jsonl")
            for path in sorted(run.glob(pattern))
        ]
        return [*found, *(read_state(RunFiles.open(run)).status for run in self._runs)]


def _wait_seconds(seconds: float) -> float:
    return min(_MOST_WAIT_SECONDS, max(_LEAST_WAIT_SECONDS, _WAIT_SHARE * seconds))


async def _answer(send: Send, status: int, kind: str, body: bytes) -> None:
    headers = [
        (b"content-type", f"{kind}; charset=utf-8".encode()),
        (b"cache-control", b"no-store"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
