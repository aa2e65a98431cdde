"""A web server on this machine with the layout of Common Crawl, and faults on demand."""

import base64
import gzip
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CRAWL = "crawl-data/CC-MAIN-2026-40"


def warc_record(number: int, kind: str = "response") -> bytes:
    page = f"<html><p>第{number}页。Page {number}.</p></html>".encode() * 40
    if kind == "response":
        page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + page
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.example/{number}\r\n"
        f"Content-Type: {'application/http' if kind == 'response' else 'text/plain'}\r\n"
        f"Content-Length: {len(page)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + page + b"\r\n\r\n")


@dataclass
class Site:
    """What the server has and how it behaves.

    Attributes:
        files: path without the first slash -> content.
        faults: path -> what happens to its next requests, first to last: a status, `cut N`,
            `cut whole` (headers promise more), `flip` (a wrong byte), `no ranges`.
        headers: sent with every answer to a path.
        asked: requests by path; `ranges` their Range headers.
        at_once, most_at_once: requests in hand.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0
    base_url: str = ""
    delay_seconds: float = 0.0
    has_etag: bool = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site
    lock: threading.Lock

    def do_GET(self) -> None:
        with self.lock:
            self.site.at_once += 1
            self.site.most_at_once = max(self.site.most_at_once, self.site.at_once)
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.lock:
                self.site.at_once -= 1

    def _answer(self) -> None:
        site = self.site
        path = self.path.partition("?")[0].lstrip("/")
        asked_range = self.headers.get("Range", "")
        with self.lock:
            site.asked[path] += 1
            site.ranges.append((path, asked_range))
            site.agents.add(self.headers["User-Agent"])
            faults = site.faults.get(path, [])
            fault = faults.pop(0) if faults else ""
        if site.delay_seconds:
            threading.Event().wait(site.delay_seconds)
        if fault.split(" ")[0].isdecimal():
            status, *after = fault.split(" ")
            self._send(int(status), b"", {"Retry-After": after[0]} if after else {})
            return
        if path not in site.files:
            self._send(404, b"not here", {})
            return
        data = site.files[path]
        headers = {
            "Last-Modified": formatdate(1_700_000_000, usegmt=True),
            **site.headers.get(path, {}),
        }
        if site.has_etag:
            headers.setdefault("ETag", f'"{hashlib.md5(data).hexdigest()}-9"')
        status = 200
        validator = self.headers.get("If-Range")
        same = validator in (None, headers.get("ETag"), headers.get("Last-Modified"))
        if asked_range and fault != "no ranges" and same:
            first, _, last = asked_range.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else len(data), len(data))
            if start >= len(data):
                self._send(416, b"", {})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            data, status = data[start:end], 206
        if fault == "flip":
            data = (
                data[: len(data) // 2]
                + bytes([data[len(data) // 2] ^ 1])
                + data[len(data) // 2 + 1 :]
            )
        cut = int(fault.split(" ")[1]) if fault.startswith("cut") else None
        self._send(status, data, headers, cut)

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # all are waited for, so that none outlives its test
    block_on_close = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that are killed or stopped are what some tests are about


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    handler = type("Handler", (_Handler,), {"site": site, "lock": threading.Lock(), "timeout": 5})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        site.base_url = f"http://127.0.0.1:{server.server_address[1]}/"
        yield site
    finally:
        server.shutdown()
        thread.join(10)
        server.socket.close()
        assert not thread.is_alive()


def crawl_site(files: int = 4, records: int = 5) -> Site:
    """Some WARC and WET files with their lists."""
    content: dict[str, bytes] = {}
    for kind, folder, suffix in (
        ("response", "warc", "warc.gz"),
        ("conversion", "wet", "warc.wet.gz"),
    ):
        names = [f"{CRAWL}/segments/1/{folder}/CC-MAIN-{n:05d}.{suffix}" for n in range(files)]
        for n, name in enumerate(names):
            content[name] = b"".join(warc_record(n * records + r, kind) for r in range(records))
        content[f"{CRAWL}/{folder}.paths.gz"] = gzip.compress("\n".join(names).encode() + b"\n")
    return Site(content)


def md5_header(data: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode()}
