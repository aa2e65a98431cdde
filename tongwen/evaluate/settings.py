"""Settings of the evaluate stage."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.settings import PathText


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """One task: a built-in layout or a TOML file of the user's own, and the data it reads."""

    name: str
    """Name in the results. Without `layout` and `spec` it is also the built-in layout's name."""
    path: PathText
    """The data: a file, or the folder that holds the layout's files; `{crawl}/...` is allowed."""
    layout: str | None = None
    """A built-in task (`tongwen evaluate --list-tasks`) that reads data of this layout."""
    spec: PathText | None = None
    """A TOML file that describes the task, in place of a built-in one; see docs/en/evaluate.md."""
    limit: int | None = None
    """Evaluate only so many items, drawn by item id; all of them when absent."""
    shots: int = 0
    """Solved examples before every question; always the same ones, taken as the task says."""
    chat: bool | None = None
    """Ask in the ChatML format; `evaluate.chat` when absent."""
    max_new_tokens: int | None = None
    """Longest free answer; what the task says when absent."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise RecipeError(
                f"evaluate.tasks.name is {self.name!r}", hint="use a word: it names a file"
            )
        if self.layout is not None and self.spec is not None:
            raise RecipeError(
                f"the task {self.name} has both `layout` and `spec`", hint="leave one of them out"
            )
        for key, least in (("limit", 1), ("shots", 0), ("max_new_tokens", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise RecipeError(f"{key} of the task {self.name} is {value}", hint=f"≥ {least}")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Which tasks score the model, and how it is run."""

    tasks: tuple[TaskSettings, ...] = ()
    task_folders: tuple[PathText, ...] = ()
    """Folders of task files of your own; a task's `name` or `layout` is then the name of a file in
    one of them, without `.toml`. A task file that names Python code runs it."""
    chat: bool = False
    """Ask in the ChatML format, as a tuned model expects; plain prompts when false."""
    batch_tokens: int = 16_384
    """Tokens of a batch, padding included. Bounds the memory; a single longer item still runs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is the GPU where there is one."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU, else fp32: in bf16 near ties depend on the batch."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise RecipeError(
                    f"two tasks are named {name!r}", hint="name them apart and set `layout`"
                )
        if self.batch_tokens < 1:
            raise RecipeError(f"evaluate.batch_tokens is {self.batch_tokens}", hint="use 1 or more")
