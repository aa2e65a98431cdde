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
    """Address to listen on; any but this machine's own makes an API key compulsory."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""
    temperature: float | None = None
    """Temperature of requests that name none; 0 always takes the likeliest token. When absent,
    the model's `generation_config.json` decides, and without it 0."""
    max_tokens: int = 512
    """Longest answer, in tokens, of requests that name no limit."""
    concurrent_requests: int = 8
    """Answers written at the same time; more wait."""
    waiting_requests: int = 64
    """Requests that may wait; more are refused with HTTP 429."""
    waiting_tokens: int = 1_000_000
    """Prompt tokens that may wait; more are refused with HTTP 429."""
    batch_tokens: int | None = None
    """Limit on the answers written at once, times the longest of them with its prompt and all
    it may grow to, in tokens; more wait. When absent, what fits in a quarter of the free
    memory."""
    connections: int = 1_000
    """Open connections; more are refused with HTTP 503."""
    header_seconds: int = 20
    """Seconds within which a connection must send the headers of its request."""
    body_seconds: int = 60
    """Seconds within which the body of a request must arrive, else HTTP 408."""
    body_mib: int = 32
    """Largest body, in MiB; a larger one is refused with HTTP 413."""
    keep_alive_seconds: int = 75
    """Seconds that an idle connection stays open; longer than a proxy in front keeps it."""
    allowed_origins: tuple[str, ...] = ()
    """Web pages of other addresses (`https://app.example.org`) that may use the API from a browser;
    without, only the server's own page may."""
    refuse_unknown_fields: bool = False
    """Answer a request that has an unknown field with 400, instead of leaving the field out and
    naming it in the header `X-Ignored-Fields`."""
    keys_file: PathText | None = None
    """TOML file of API keys, each with limits of its own; see the page on serving."""
    access_log: PathText | None = None
    """File that gets a line of JSON for each request; no keys and no texts."""
    mcp: tuple[str, ...] = ()
    """MCP servers whose tools requests may name, each as `NAME=COMMAND` or `NAME=URL`. Anyone who
    may use the API may call them."""
    mcp_config: PathText | None = None
    """JSON file with more servers: `{"mcpServers": {NAME: {"command", "args", "env"}}}`."""
    mcp_calls: int = 16
    """Most tool calls for one answer; after them the model answers without tools."""
    mcp_seconds: int = 60
    """Time limit of one tool call, in seconds; the model sees the timeout as an error."""
    mcp_characters: int = 20_000
    """Longest tool result, in characters; a longer one is cut and marked."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Data type; `auto` is bf16 on a GPU, fp32 otherwise."""
    cache: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Data type of the keys and values held for every token. `auto` is bfloat16 for quantized
    weights, else as the activations; int8 takes half of bfloat16, and a scale for each head."""
    context_tokens: int | None = None
    """Longest prompt with its answer, in tokens. When absent, the model's window, or what fits
    in a quarter of the free memory where that is less; the start says which."""
    prompt_lookup: bool = True
    """Guess the next tokens from where the last ones stood before, in the prompt or the answer, and
    verify several in one step. Only where that pays; answers are the same with and without."""
    prefix_cache_mib: int | None = None
    """Memory in MiB for keys and values of earlier prompts (prefix cache): of a prompt that
    begins the same, only the rest is read. When absent, an eighth of the free memory; 0 keeps
    none."""
    prefix_cache_file: PathText | None = None
    """File to which the prefix cache is written when the server ends, and from which it is read
    at the start. It is a copy of what was asked, readable by its owner alone."""

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
