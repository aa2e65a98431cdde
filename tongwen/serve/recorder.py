"""A line in the access log and a count in the metrics for every request, however it ends."""

import json
import time
from collections.abc import Callable, Collection, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from tongwen.errors import InputError
from tongwen.serve.access import Application, Receive, Scope, Send
from tongwen.serve.metrics import Metrics

_GONE = 499  # nginx's, as in `delivery`
_OTHER = "other"


class Recorder:
    """Notes each request when its answer has ended.

    Args:
        application: answers them.
        metrics: counts them by path and status.
        paths: those that are counted by name; all others together.
        log: takes the lines; None writes none.
    """

    def __init__(
        self,
        application: Application,
        metrics: Metrics,
        paths: Collection[str],
        log: "AccessLog | None",
    ) -> None:
        self._application = application
        self._metrics = metrics
        self._paths = frozenset(paths)
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        started, status = time.monotonic(), _GONE

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, noting)
        finally:
            seconds = time.monotonic() - started
            path = scope["path"].rstrip("/") or "/"
            shown = path if path in self._paths else _OTHER
            self._metrics.request(shown, status, seconds)
            if self._log is not None:
                client = state.get("client")
                self._log.write(
                    client=client.name if client is not None else "",
                    method=scope["method"],
                    path=path[:200],
                    status=status,
                    seconds=round(seconds, 4),
                    prompt_tokens=state.get("prompt_tokens", 0),
                    completion_tokens=state.get("completion_tokens", 0),
                )


class AccessLog:
    """A file of JSON lines, which another program may rotate: every line opens it by name.

    Args:
        path: of the file; it is made when it is not there.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] | None = None) -> None:
        self._path = path
        self._now = now or (lambda: datetime.now(UTC))
        try:
            self._open().close()
        except OSError as error:
            raise InputError(f"cannot write the access log {path}: {error.strerror}") from error

    def write(self, **values: Any) -> None:
        """Add a line."""
        line = {"time": self._now().isoformat(timespec="milliseconds"), **values}
        with self._open() as file:
            file.write(json.dumps(line, ensure_ascii=True) + "\n")

    def _open(self) -> TextIO:
        return self._path.open("a", encoding="utf-8")
