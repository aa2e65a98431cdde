"""Settings of `tongwen serve` and `tongwen chat`."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens and how it answers by default."""

    host: str = "127.0.0.1"
    """An address other than this machine's own makes an API key compulsory."""
    port: int = 8000
    """0 takes any free one."""
    temperature: float = 0.0
    """Of requests that name none; 0 always takes the likeliest token."""
    max_tokens: int = 512
    """Longest answer of requests that name none."""
    concurrent_requests: int = 8
    """Answers written at the same time; more wait."""
    waiting_requests: int = 64
    """Requests that may wait; more are refused with HTTP 429."""
    keep_alive_seconds: int = 75
    """How long an idle connection stays open; longer than a proxy in front keeps it."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of other addresses (`https://app.example.org`) that may use the API from a browser;
    without, only the server's own page may."""
    refuse_unknown_fields: bool = False
    """Answer 400 to a request with a field that nobody knows, instead of leaving the field out and
    naming it in the header `X-Ignored-Fields`."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU, fp32 otherwise."""
    cache: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Of the keys and values that are held for every token. `auto` is bfloat16 for quantized
    weights, else as the activations; int8 takes half of bfloat16, and a scale for each head."""

    def __post_init__(self) -> None:
        for key, least in (
            ("port", 0),
            ("temperature", 0),
            ("max_tokens", 1),
            ("concurrent_requests", 1),
            ("waiting_requests", 1),
            ("keep_alive_seconds", 1),
        ):
            if getattr(self, key) < least:
                raise RecipeError(f"serve.{key} is {getattr(self, key)}", hint=f"use {least}+")
        if self.port > 65_535:
            raise RecipeError(f"serve.port is {self.port}", hint="ports end at 65535")
