"""API keys, and what each of them may ask for."""

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError, RecipeError
from tongwen.recipe.loader import load_table
from tongwen.serve.fields import busy


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """One key of a keys file."""

    name: str
    """What the access log calls whoever has it."""
    key: str | None = None
    """The key itself; or write `sha256`."""
    sha256: str | None = None
    """Its SHA-256 in hexadecimal digits, so that the file holds no secret."""
    requests_per_minute: int | None = None
    """More are refused with HTTP 429."""
    tokens_per_minute: int | None = None
    """Of prompts and answers together; after more, requests are refused until it evens out."""
    concurrent_requests: int | None = None
    """Answers of one request count each."""

    def __post_init__(self) -> None:
        if (self.key is None) == (self.sha256 is None):
            raise RecipeError(f"the key {self.name!r} needs either `key` or `sha256`")
        if self.key == "":
            raise RecipeError(f"the key {self.name!r} is empty")
        for limit in ("requests_per_minute", "tokens_per_minute", "concurrent_requests"):
            if (value := getattr(self, limit)) is not None and value < 1:
                raise RecipeError(f"{limit} of the key {self.name!r} is {value}", hint="use 1+")

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the key."""
        if self.key is not None:
            return hashlib.sha256(self.key.encode("utf-8")).digest()
        try:
            digest = bytes.fromhex(self.sha256 or "")
        except ValueError:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise RecipeError(f"sha256 of the key {self.name!r} is not 64 hexadecimal digits")
        return digest


@dataclass(frozen=True)
class KeysFile:
    """A keys file: a table `[[keys]]` for each key."""

    keys: tuple[KeySettings, ...]


def read_keys(path: Path) -> tuple[KeySettings, ...]:
    """The keys of a file.

    Raises:
        InputError: it cannot be read, or has no keys.
        RecipeError: a key is not usable.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the keys file {path}: {error}") from error
    keys = load_table(KeysFile, text, str(path)).keys
    names = [key.name for key in keys]
    if not keys or len(set(names)) < len(names):
        raise InputError(
            f"{path} holds {len(keys)} keys; there must be one, and every name once",
            hint="write a table [[keys]] with `name` and `key` for each",
        )
    return keys


class _Budget:
    """An allowance that grows evenly, up to that of a minute; it may be overdrawn."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._most = self._left = float(per_minute)
        self._clock = clock
        self._at = clock()

    def seconds_to(self, amount: float) -> float:
        """Time until so much is there; 0 when it is."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (amount - self._left) / self._rate)

    def spend(self, amount: float) -> None:
        self._left -= amount


class Client:
    """Somebody who sends requests, and what is left of their limits. Of the event loop alone."""

    def __init__(
        self,
        name: str,
        settings: KeySettings | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        limits = settings or KeySettings(name=name, key="-")
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = None if requests is None else _Budget(requests, clock)
        self._tokens = None if tokens is None else _Budget(tokens, clock)
        self._most = limits.concurrent_requests
        self._running = 0

    def begin(self, answers: int, prompt_tokens: int) -> None:
        """Count a request that starts. Every call needs an `end`.

        Raises:
            ApiError: 429 with the time to wait; a limit is reached.
        """
        if self._most is not None and self._running + answers > self._most:
            raise busy(
                f"this key may have {self._most} answers at a time; {self._running} are running",
                code="rate_limit_exceeded",
            )
        for budget, amount, what in (
            (self._requests, 1, "requests"), (self._tokens, 0.001, "tokens"),
        ):  # fmt: skip
            wait = budget.seconds_to(amount) if budget is not None else 0
            if wait:
                seconds = math.ceil(wait)
                raise busy(
                    f"the limit of this key for {what} a minute is reached; wait {seconds} s",
                    retry_seconds=seconds,
                    code="rate_limit_exceeded",
                )
        if self._requests is not None:
            self._requests.spend(1)
        if self._tokens is not None:
            self._tokens.spend(prompt_tokens)
        self._running += answers

    def end(self, answers: int, completion_tokens: int) -> None:
        """Count a request that has ended."""
        self._running -= answers
        if self._tokens is not None:
            self._tokens.spend(completion_tokens)


class Keyring:
    """Finds out whose key a request has."""

    def __init__(self, keys: Sequence[KeySettings]) -> None:
        self._clients = [(key.digest, Client(key.name, key)) for key in keys]

    def client(self, key: bytes) -> Client | None:
        """Who has the key; takes the same time for every wrong one."""
        digest = hashlib.sha256(key).digest()
        found = None
        for known, client in self._clients:
            if hmac.compare_digest(known, digest):
                found = client
        return found
