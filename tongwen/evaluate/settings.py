"""Settings of the evaluate stage."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """One task file. See `docs/en/evaluate.md` for the readers and templates."""

    name: str
    path: str
    """The data; `{crawl}/...` is allowed."""
    kind: Literal["choice", "generate"]
    format: str = "tongwen"
    """Reader of the data: `tongwen` (questions of the sample web) or the name of a public layout."""
    limit: int | None = None
    """Evaluate only the first so many items, drawn by item id."""
    shots: int = 0


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Which tasks score the model."""

    tasks: tuple[TaskSettings, ...] = ()
    max_new_tokens: int = 64
