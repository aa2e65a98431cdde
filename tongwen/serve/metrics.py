"""Counts and times of a server, in the text form of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tongwen.serve.engine import Engine

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What a server counts. Of the event loop alone.

    Args:
        engine: whose state is shown.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, engine: Engine) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "tongwen_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self._request_seconds = Histogram(
            "tongwen_request_seconds", "From the headers of a request to the end of its answer.",
            ("path",), buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._prompt_tokens = Counter(
            "tongwen_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self._completion_tokens = Counter(
            "tongwen_completion_tokens", "Tokens of answers.", registry=registry
        )
        self._first_seconds = Histogram(
            "tongwen_first_text_seconds", "From a request to the first text of its answer.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._gap_seconds = Histogram(
            "tongwen_text_gap_seconds", "Between one new text of an answer and the next.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        active = Gauge("tongwen_active_requests", "Waiting or being answered.", registry=registry)
        active.set_function(lambda: engine.active_requests)
        waiting = Gauge("tongwen_waiting_requests", "Waiting.", registry=registry)
        waiting.set_function(lambda: engine.waiting_requests)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def tokens(self, prompt: int, completion: int) -> None:
        """Count the tokens of a request."""
        self._prompt_tokens.inc(prompt)
        self._completion_tokens.inc(completion)

    def text(self, seconds: float, *, is_first: bool) -> None:
        """Note how long a new text of an answer was waited for."""
        (self._first_seconds if is_first else self._gap_seconds).observe(seconds)

    def exposition(self) -> bytes:
        """All of it as text."""
        return generate_latest(self._registry)
