"""What every interface's replies have in common."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tongwen.serve.answers import Answer
from tongwen.serve.fields import ApiError
from tongwen.serve.tools import Part


@dataclass(frozen=True)
class Usage:
    """Token counts of a request.

    Attributes:
        prompt_tokens: of its prompts.
        completion_tokens: of its answers.
        cached_tokens: of the prompts, those that did not have to be read.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True)
class Event:
    """A server-sent event: its object, and its name where the interface names events."""

    value: Mapping[str, Any] | str
    name: str | None = None

    def encoded(self) -> str:
        """The event as it is sent."""
        data = self.value
        if not isinstance(data, str):
            data = json.dumps(data, ensure_ascii=False)
        name = "" if self.name is None else f"event: {self.name}\n"
        return f"{name}data: {data}\n\n"


DONE = Event("[DONE]")
"""The end of a stream after OpenAI's manner."""


class Reply(Protocol):
    """Builds the objects of one response."""

    def opening(self) -> list[Event]:
        """What a stream begins with."""

    def part(self, index: int, part: Part) -> list[Event]:
        """A piece of one of the answers."""

    def closing(self, usage: Usage) -> list[Event]:
        """What a stream ends with."""

    def failure(self, error: ApiError) -> list[Event]:
        """What a stream ends with that breaks off."""

    def whole(self, answers: Sequence[Answer], usage: Usage) -> dict[str, Any]:
        """The response that is no stream."""
