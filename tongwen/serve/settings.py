"""Settings of `tongwen serve` and `tongwen chat`."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tongwen.errors import RecipeError
from tongwen.settings import PathText

if TYPE_CHECKING:
    from tongwen.model.sampler import Sampling


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens and how it answers by default."""

    host: str = "127.0.0.1"
    """An address other than this machine's own makes an API key compulsory."""
    port: int = 8000
    """0 takes any free one."""
    temperature: float | None = None
    """Of requests that name none; 0 always takes the likeliest token. When left out, the model's
    `generation_config.json` decides, and without it 0."""
    max_tokens: int = 512
    """Longest answer of requests that name none."""
    concurrent_requests: int = 8
    """Answers written at the same time; more wait."""
    waiting_requests: int = 64
    """Requests that may wait; more are refused with HTTP 429."""
    waiting_tokens: int = 1_000_000
    """Prompt tokens that may wait; more are refused with HTTP 429."""
    batch_tokens: int | None = None
    """Answers written at the same time, times the longest of them with its prompt and all it may
    grow to; more wait. When left out, what fits in a quarter of the free memory."""
    connections: int = 1_000
    """Open connections; more are refused with HTTP 503."""
    header_seconds: int = 20
    """A connection that has not sent the headers of its request by then is closed."""
    body_seconds: int = 60
    """A request whose body has not arrived by then is refused with HTTP 408."""
    body_mib: int = 32
    """Largest body, in MiB; a larger one is refused with HTTP 413."""
    keep_alive_seconds: int = 75
    """How long an idle connection stays open; longer than a proxy in front keeps it."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of other addresses (`https://app.example.org`) that may use the API from a browser;
    without, only the server's own page may."""
    refuse_unknown_fields: bool = False
    """Answer 400 to a request with a field that nobody knows, instead of leaving the field out and
    naming it in the header `X-Ignored-Fields`."""
    keys_file: PathText | None = None
    """TOML file of API keys, each with limits of its own; see the page on serving."""
    access_log: PathText | None = None
    """File that gets a line of JSON for each request; no keys and no texts."""
    mcp: tuple[str, ...] = ()
    """MCP servers whose tools requests may name, each as `NAME=COMMAND` or `NAME=URL`. Everybody
    who may use the API may call them."""
    mcp_config: PathText | None = None
    """JSON file of further ones: `{"mcpServers": {NAME: {"command", "args", "env"}}}`."""
    mcp_calls: int = 16
    """Tools called for one answer at the most; then the model answers without."""
    mcp_seconds: int = 60
    """A call of a tool that takes longer is stopped, and the model is told so."""
    mcp_characters: int = 20_000
    """Of a tool's result; a longer one is cut, and says so."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU, fp32 otherwise."""
    cache: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Of the keys and values that are held for every token. `auto` is bfloat16 for quantized
    weights, else as the activations; int8 takes half of bfloat16, and a scale for each head."""
    context_tokens: int | None = None
    """Longest prompt with its answer. When left out, the model's window, or what fits in a quarter
    of the free memory where that is less; the start says which."""
    prefix_cache_mib: int | None = None
    """Memory for keys and values of prompts that were read, in MiB: a prompt that begins the same
    is read from where it differs. When left out, an eighth of the free memory; 0 keeps none."""
    prefix_cache_file: PathText | None = None
    """They are written here when the server ends and read when it starts. It is a copy of what was
    asked, readable by its owner alone."""

    def __post_init__(self) -> None:
        for key, least in (
            ("port", 0),
            ("temperature", 0),
            ("waiting_tokens", 1),
            ("batch_tokens", 1),
            ("connections", 1),
            ("header_seconds", 1),
            ("body_seconds", 1),
            ("body_mib", 1),
            ("max_tokens", 1),
            ("concurrent_requests", 1),
            ("waiting_requests", 1),
            ("keep_alive_seconds", 1),
            ("context_tokens", 2),
            ("prefix_cache_mib", 0),
            ("mcp_calls", 1),
            ("mcp_seconds", 1),
            ("mcp_characters", 1),
        ):
            value = getattr(self, key)
            if value is not None and value < least:
                raise RecipeError(f"serve.{key} is {value}", hint=f"use {least}+")
        if self.port > 65_535:
            raise RecipeError(f"serve.port is {self.port}", hint="ports end at 65535")

    def sampling_over(self, model: "Sampling") -> "Sampling":
        """How tokens are chosen unless a request says otherwise.

        Args:
            model: what the model's folder says.
        """
        if self.temperature is None:
            return model
        return replace(model, temperature=self.temperature)
