"""Polite HTTP: few connections, one pace for all of them, patience with a server in trouble.

urllib3 does the rest: a thread-safe pool without dependencies of its own, which can hand out bytes
as they came. An httpx client would decode what must be stored as it is, unless told response by
response, and brings four packages.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3

from tongwen import __version__
from tongwen.crawl.settings import DownloadSettings

# Where the doubling ends: after an outage of hours the crawl goes on within minutes.
_LONGEST_WAIT_SECONDS = 300.0
# Of `Retry-After`: a server that asks for a day must not stop the crawl for one.
_LONGEST_ASKED_WAIT_SECONDS = 3_600.0
_BUSY = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
"""Answers after which we wait; Common Crawl says 403 and 503 to who asks too fast."""
_SLOWS_ALL = frozenset({403, 429, 503})


class TryAgainError(Exception):
    """This attempt failed; another may not."""

    def __init__(self, message: str, *, status: int = 0, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.wait_seconds = wait_seconds


class RefusedError(Exception):
    """The server will not give this file."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status


class StoppedError(Exception):
    """Another download has failed for good, or the user has interrupted."""


class HttpClient:
    """Requests of one stage; all threads share it.

    Attributes:
        received_bytes: of bodies, so far.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        agent = f"tongwen/{__version__} (research crawler of text for language models"
        agent += f"; {settings.contact})" if settings.contact else ")"
        self._settings = settings
        self._pool = urllib3.PoolManager(
            num_pools=settings.connections,
            maxsize=settings.connections,
            headers={"User-Agent": agent, "Accept-Encoding": "identity"},
            timeout=urllib3.Timeout(
                connect=min(30.0, settings.timeout_seconds), read=settings.timeout_seconds
            ),
            retries=urllib3.Retry(0, redirect=5, raise_on_redirect=True),
        )
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._not_before = 0.0
        self._budget_from = time.monotonic()
        self.received_bytes = 0

    def stop(self) -> None:
        """Make all threads give up soon."""
        self._stop.set()

    def check_stopped(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """One request; the response's body is not read yet. Waits while the pace says so.

        Raises:
            TryAgainError: no connection, a broken one, or the server is busy.
            RefusedError: any other answer than 200, 206 and 416.
        """
        self._wait_until(self._not_before)
        try:
            response = self._pool.request(
                "GET",
                url,
                headers={**self._pool.headers, **headers},
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise TryAgainError(_cause(error)) from error
        try:
            if response.status in _BUSY:
                raise TryAgainError(
                    f"{response.status} {response.reason or ''}".strip(),
                    status=response.status,
                    wait_seconds=_asked_wait(response.headers.get("Retry-After")),
                )
            if response.status not in (200, 206, 416):
                raise RefusedError(response.status, response.reason or "")
            yield response
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise
            raise TryAgainError(_cause(error)) from error
        finally:
            # Not given back to the pool: the body may not have been read to its end.
            response.close()
            response.release_conn()

    def chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The body as it comes, no faster than the settings allow."""
        for chunk in response.stream(1 << 18, decode_content=False):
            with self._lock:
                self.received_bytes += len(chunk)
                received = self.received_bytes
            if self._settings.megabytes_per_second is not None:
                due = received / (1e6 * self._settings.megabytes_per_second)
                self._wait_until(self._budget_from + due)
            self.check_stopped()
            yield chunk

    def back_off(self, failures: int, error: TryAgainError) -> None:
        """Wait after the given number of failures in a row; a busy server slows all threads."""
        wait = self._settings.wait_seconds * 2.0 ** min(failures - 1, 20)
        wait = min(wait, _LONGEST_WAIT_SECONDS)
        if error.wait_seconds is not None:
            wait = max(wait, min(error.wait_seconds, _LONGEST_ASKED_WAIT_SECONDS))
        until = time.monotonic() + wait
        if error.status in _SLOWS_ALL:
            with self._lock:
                self._not_before = max(self._not_before, until)
        self._wait_until(until)

    def _wait_until(self, moment: float) -> None:
        left = moment - time.monotonic()
        if left > 0 and self._stop.wait(left):
            raise StoppedError
        self.check_stopped()


def _asked_wait(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _cause(error: Exception) -> str:
    """What went wrong, without urllib3's wrapping, which repeats the whole address."""
    reason = getattr(error, "reason", None)
    shown: object = reason if isinstance(reason, Exception) else error
    text = str(shown)
    return text.rpartition("): ")[2] if "Pool(" in text or "Connection(" in text else text
