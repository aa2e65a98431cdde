"""One server that speaks OpenAI's interface: one request, repeated while it is busy.

By urllib3, which the data stages have anyway: the work is a single POST, and OpenAI's own package
would bring five more for it. The key is read from an environment variable or a file when a request
is made, and only from one that the user names, so that no key reaches a server it was not meant
for; it is in no message, journal or result.
"""

import json
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import urllib3

from tongwen import __version__
from tongwen.errors import InputError, UsageError

Messages = Sequence[Mapping[str, str]]
Reply = TypeVar("Reply")

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED = frozenset({400, 413, 422})
"""This question is refused; another may not be: too long, filtered, a field that is not known."""
_NOT_SERVED = frozenset({404, 405, 501})
_OTHER_NAMES: Mapping[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "temperature": None,
}
"""Fields that some servers refuse by name, and what they call them; None is left out."""
# Where the doubling ends: a server that is back is asked again within a minute.
_LONGEST_WAIT_SECONDS = 60.0
_LONGEST_ASKED_WAIT_SECONDS = 600.0  # of `Retry-After`: what asks for hours would look like a hang
_SHOWN_CHARACTERS = 300  # of a server's own words in an error: some answer with a whole HTML page


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    Attributes:
        text: the answer; empty when the question was refused.
        refused: why the server will not answer this question; None when it did.
        is_cut: the answer ended at `max_tokens`.
        prompt_tokens: read, as the server counts; 0 when it does not say.
        answer_tokens: written, likewise.
    """

    text: str = ""
    refused: str | None = None
    is_cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why a server will not answer one question."""

    reason: str


class NotServedError(InputError):
    """The server has no such interface, or no such model."""


class StoppedError(Exception):
    """Another question has failed for good, or the user has interrupted."""


class _BusyError(Exception):
    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Server:
    """A server and how it is asked. All threads share it.

    Args:
        url: such as `http://127.0.0.1:8000` or `https://example.org/v1`.
        key_variable: name of the environment variable with the key.
        key_file: file that holds nothing but the key; without both it is asked without one.
        timeout_seconds: for one answer.
        attempts: at one question, while the server is busy or breaks off.
        wait_seconds: after the first failure; twice as long after each further one.

    Raises:
        UsageError: no http address, or the variable or the file holds no key.
    """

    def __init__(
        self,
        url: str,
        *,
        key_variable: str | None = None,
        key_file: Path | None = None,
        timeout_seconds: float = 300.0,
        attempts: int = 8,
        wait_seconds: float = 1.0,
        connections: int = 8,
    ) -> None:
        self.url = _base_url(url)
        self._key_variable = key_variable
        self._key_file = key_file
        self._key()  # a missing variable is found before any work
        self._attempts = attempts
        self._wait_seconds = wait_seconds
        self._stop = threading.Event()
        self._foreign: set[str] = set()
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=connections,
            timeout=urllib3.Timeout(connect=min(30.0, timeout_seconds), read=timeout_seconds),
            retries=False,
        )

    def stop(self) -> None:
        """Make all threads stop soon."""
        self._stop.set()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def only_model(self) -> str:
        """The name of the model, when the server has one.

        Raises:
            UsageError: it has several.
            InputError: it does not answer, or names none.
        """
        known = self._patiently("GET", "/models", None, lambda value: value)
        rows = known.get("data") if isinstance(known, dict) else None
        names = [row["id"] for row in rows or () if isinstance(row, dict) and "id" in row]
        if not names:
            raise InputError(f"{self.url} names no model", hint="name one with --model")
        if len(names) > 1:
            shown = ", ".join(map(str, names[:10])) + ", ..." * (len(names) > 10)
            raise UsageError(f"{self.url} has several models: {shown}", hint="choose by --model")
        return str(names[0])

    def answer(self, body: Mapping[str, Any]) -> Answer:
        """The answer to one request for a chat completion.

        Raises:
            InputError: the server does not answer, needs a key, or has no such model.
            StoppedError: `stop` was called.
        """
        found = self.ask("/chat/completions", body, _read)
        return Answer(refused=found.reason) if isinstance(found, Refusal) else found

    def ask(
        self, path: str, body: Mapping[str, Any], read: Callable[[Any], Reply]
    ) -> Reply | Refusal:
        """What `read` makes of the JSON that comes back. While `read` finds it to be none of its
        kind, by an error such as KeyError or ValueError, the server is asked again: servers in
        trouble send half an answer, or an error with status 200.

        Raises:
            NotServedError: nothing is at `path`, or no such model.
            InputError: the server does not answer, or wants a key.
            StoppedError: `stop` was called.
        """
        while True:
            sent = self._adapted(body)
            try:
                return self._patiently("POST", path, sent, read)
            except _RefusedError as error:
                if not self._adapts_to(str(error), sent):
                    return Refusal(str(error))

    def _adapted(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request with the field names of this server."""
        named = {_OTHER_NAMES.get(name, name) if name in self._foreign else name: value
                 for name, value in body.items()}  # fmt: skip
        return {name: value for name, value in named.items() if name is not None}

    def _adapts_to(self, refusal: str, sent: Mapping[str, Any]) -> bool:
        """Whether the refusal names a field with another spelling, used from now on."""
        for name in _OTHER_NAMES:
            if name in refusal and name in sent:
                self._foreign.add(name)
                return True
        return False

    def _patiently(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], Reply],
    ) -> Reply:
        failures = 0
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                return _taken(self._request(method, path, body), read)
            except _BusyError as error:
                failures += 1
                if failures >= self._attempts:
                    raise InputError(
                        f"{self.url} gave no answer in {failures} attempts; the last: {error}",
                        hint="the same command continues where this one stopped; to ask less at a "
                        "time: --parallel 1",
                    ) from error
                wait = min(self._wait_seconds * 2.0 ** (failures - 1), _LONGEST_WAIT_SECONDS)
                wait *= 1 + random.random() / 4  # so that threads do not all come back at once
                if self._stop.wait(max(wait, error.wait_seconds)):
                    raise StoppedError from error

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"User-Agent": f"tongwen/{__version__}", "Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            # Redirects are not followed: they would carry text and key to another server.
            response = self._pool.request(
                method, self.url + path, body=data, headers=headers, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise _BusyError(_cause(error)) from error
        said = self._redacted(_said(response.data))
        status = f"{response.status} {response.reason or ''}".strip()
        if response.status == 200:
            try:
                return json.loads(response.data)
            except ValueError as error:
                raise _BusyError(f"an answer that is not JSON: {said!r}") from error
        if response.status in _BUSY:
            raise _BusyError(f"{status}: {said}", _asked_wait(response.headers.get("Retry-After")))
        if response.status in _REFUSED:
            raise _RefusedError(f"{status}: {said}")
        kind = NotServedError if response.status in _NOT_SERVED else InputError
        raise kind(f"{self.url}{path} answers {status}: {said}", hint=self._hint(response))

    def _hint(self, response: urllib3.BaseHTTPResponse) -> str:
        if response.status in (401, 403):
            if place := self._key_variable or self._key_file:
                return f"is the key in {place} the right one for this server?"
            return "name the environment variable that holds its key: --key-variable NAME"
        if response.status in (301, 302, 303, 307, 308):
            place = str(response.headers.get("Location", ""))
            return f"it is somewhere else; give that address: {place}"
        return "check --server and --model"

    def _key(self) -> str:
        if self._key_variable is not None:
            place = f"the environment variable {self._key_variable}"
            key = os.environ.get(self._key_variable, "").strip()
            if not key:
                raise UsageError(
                    f"{place} is not set",
                    hint=f"export {self._key_variable}=..., or leave --key-variable out",
                )
        elif self._key_file is not None:
            place = str(self._key_file)
            key = _key_in(self._key_file)
        else:
            return ""
        if not (key.isascii() and key.isprintable()):  # no header may hold it; errors would show it
            raise UsageError(f"{place} holds characters that no key has", hint="copy the key again")
        return key

    def _redacted(self, text: str) -> str:
        key = self._key()
        return text.replace(key, "***") if key else text


class _RefusedError(Exception):
    """The server will not answer this question."""


def _base_url(url: str) -> str:
    """The address that paths are added to, `/v1` when it names none.

    Raises:
        UsageError: no http address, or one with a user, a password or a query.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{url!r} is not the address of a server", hint="--server http://127.0.0.1:8000"
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"the address of the server at {parts.hostname} has more than a path",
            hint="keys go into an environment variable: --key-variable NAME",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def _key_in(path: Path) -> str:
    """What a file holds besides white space.

    Raises:
        UsageError: nothing, or it cannot be read.
    """
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the key file {path}: {type(error).__name__}") from error
    if not key:
        raise UsageError(f"the key file {path} is empty", hint="write the key and nothing else")
    return key


def _taken(value: Any, read: Callable[[Any], Reply]) -> Reply:
    """What `read` makes of an answer.

    Raises:
        _BusyError: it is none of its kind.
    """
    try:
        return read(value)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        shown = json.dumps(value, ensure_ascii=False)[:_SHOWN_CHARACTERS]
        raise _BusyError(f"an answer that is not a completion: {shown}") from error


def _read(value: Any) -> Answer:
    """The answer in a chat completion; an error such as KeyError where it is none."""
    choice = value["choices"][0]
    text = choice["message"]["content"]
    usage = value.get("usage") or {}
    return Answer(
        text="" if text is None else checked_text(text),
        is_cut=choice.get("finish_reason") == "length",
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        answer_tokens=int(usage.get("completion_tokens") or 0),
    )


def checked_text(text: object) -> str:
    """The text, with half characters replaced, which cannot be saved.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(text, str):
        raise TypeError
    return text.encode("utf-8", "replace").decode()


def _said(data: bytes) -> str:
    """A server's error message, in one line."""
    text = data.decode("utf-8", "replace")
    try:
        value = json.loads(text)
        error = value.get("error", value)
        text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:_SHOWN_CHARACTERS]


def _asked_wait(value: str | None) -> float:
    """Seconds of a `Retry-After` header; a date counts as nothing, since back-off waits anyway."""
    try:
        wait = float(value or 0)
    except ValueError:
        return 0.0
    return min(max(wait, 0.0), _LONGEST_ASKED_WAIT_SECONDS) if wait == wait else 0.0


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, Exception) else error)
    return text.rpartition("): ")[2] if "Pool(" in text or "Connection(" in text else text
