"""Connections have a limit in number, and of each the headers of a request must come in time."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class PatientProtocol(H11Protocol):
    """HTTP/1.1 with a limit on how long the headers of a request may take.

    uvicorn limits how long a connection may be idle between requests, but not how long a request
    may be on its way: a client that opens connections and sends a byte a minute holds them all.
    """

    header_seconds = 20.0
    most_connections = 1_000

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most_connections:
            transport.write(_TOO_MANY)
            transport.close()
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._stop_waiting()  # from here on the idle time counts

    def _expect_headers(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def protocol_with(header_seconds: float, most_connections: int) -> type[asyncio.Protocol]:
    """The protocol for `uvicorn.Config(http=...)`."""
    values: dict[str, Any] = {
        "header_seconds": header_seconds, "most_connections": most_connections
    }  # fmt: skip
    return type("PatientProtocol", (PatientProtocol,), values)


def _too_many() -> bytes:
    """The reply to a connection beyond the limit, which nobody reads a request from."""
    message = "this server has as many connections as it takes; try again later"
    error = {"message": message, "type": "overloaded_error", "code": "busy", "param": None}
    body = json.dumps({"error": error}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nretry-after: 5\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_TOO_MANY = _too_many()
