"""Settings of `tongwen serve` and `tongwen chat`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens and how it answers by default."""

    host: str = "127.0.0.1"
    port: int = 8000
    temperature: float = 0.0
    max_tokens: int = 512
