"""Settings of the evaluate stage."""

from dataclasses import dataclass
from typing import Literal

from tongwen.errors import RecipeError
from tongwen.settings import PathText


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """One task: a built-in layout or a TOML file of the user's own, and the data it reads."""

    name: str
    """Name in the results. Without `layout` and `spec` it is also the built-in layout's name;
    `mmlu@authors` is the variant `authors` of `mmlu`."""
    path: PathText | None = None
    """The data: a file, or the folder that holds the layout's files; `{crawl}/...` is allowed. The
    task's folder in `evaluate.data` when absent."""
    layout: str | None = None
    """A built-in task (`tongwen evaluate --list-tasks`) that reads data of this layout."""
    spec: PathText | None = None
    """A TOML file that describes the task, in place of a built-in one; see docs/en/evaluate.md."""
    limit: int | None = None
    """Evaluate this many items, drawn by item id; all of them when absent."""
    shots: int = 0
    """Solved examples before every question; always the same ones, taken as the task says."""
    chat: bool | None = None
    """Ask in the ChatML format; `evaluate.chat` when absent."""
    max_new_tokens: int | None = None
    """Longest free answer in tokens; what the task says when absent."""
    samples: int = 1
    """Programs drawn for every question of a program task; pass@k is estimated for k up to it."""
    temperature: float = 0.0
    """Temperature of the draws; 0 is greedy. Chen et al. 2021 take 0.2 for pass@1, 0.8 for
    pass@100."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise RecipeError(
                f"evaluate.tasks.name is {self.name!r}", hint="use a word: it names a file"
            )
        if self.layout is not None and self.spec is not None:
            raise RecipeError(
                f"the task {self.name} has both `layout` and `spec`", hint="leave one of them out"
            )
        if self.samples > 1 and self.temperature <= 0:
            raise RecipeError(
                f"the task {self.name} has samples = {self.samples} and temperature = "
                f"{self.temperature}: they would all be the same",
                hint="set temperature = 0.8, or samples = 1",
            )
        for key, least in (
            ("limit", 1), ("shots", 0), ("max_new_tokens", 1), ("samples", 1), ("temperature", 0)
        ):  # fmt: skip
            value = getattr(self, key)
            if value is not None and value < least:
                raise RecipeError(f"{key} of the task {self.name} is {value}", hint=f"≥ {least}")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a server is asked that is evaluated in place of a folder."""

    key_variable: str | None = None
    """Environment variable that holds the server's key."""
    key_file: PathText | None = None
    """File that holds the server's key and nothing else."""
    parallel: int = 8
    """Requests in flight at a time."""
    attempts: int = 8
    """Attempts at one request while the server is busy or breaks off."""
    timeout_seconds: float = 300.0
    """For one answer."""
    writes_choices: bool = False
    """Where the server gives no log-probabilities, have the model write the letter of a choice. The
    score is then called `letters`; such tasks are left out, with the reason, when false."""

    def __post_init__(self) -> None:
        if self.key_variable is not None and self.key_file is not None:
            raise RecipeError(
                "evaluate.server has both `key_variable` and `key_file`", hint="leave one out"
            )
        for key, least in (("parallel", 1), ("attempts", 1), ("timeout_seconds", 0.1)):
            value = getattr(self, key)
            if value < least:
                raise RecipeError(f"evaluate.server.{key} is {value}", hint=f"≥ {least}")


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Which tasks score the model, and how it is run."""

    tasks: tuple[TaskSettings, ...] = ()
    suites: tuple[str, ...] = ()
    """Lists of tasks by name: yi, llama2, small, chat, code, long, smoke. A task of a suite whose
    data is not there is reported as missing."""
    data: PathText | None = None
    """Folder of data sets, one folder each, for tasks without a path; the sources page has their
    names and where to get each."""
    limit: int | None = None
    """Items of a task that has no limit of its own; all of them when absent."""
    task_folders: tuple[PathText, ...] = ()
    """Folders of task files of your own; a task's `name` or `layout` is then the name of a file in
    one of them, without `.toml`. A task file that names Python code runs it."""
    chat: bool = False
    """Ask in the ChatML format, as a tuned model expects; plain prompts when false."""
    batch_tokens: int | None = None
    """Tokens read at once; when absent what suits the device: 256 on a CPU, 2,048 on a GPU."""
    cache_gib: float | None = None
    """Memory in GiB for keys and values; a quarter of the device's when absent. The longest
    prompt must fit in it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` is the GPU where there is one."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Data type; `auto` is bf16 on a GPU, else fp32: in bf16 near ties depend on the batch."""
    server: ServerSettings = ServerSettings()
    """How a server is asked, where `tongwen evaluate` has an address in place of a folder."""
    unsafe_code: Literal["isolated", "no-isolation"] = "isolated"
    """How the programs of program tasks run. `isolated` puts them in namespaces without network or
    files, and refuses where the machine has none; `no-isolation` runs them with all your rights."""

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise RecipeError(
                    f"two tasks are named {name!r}", hint="name them apart and set `layout`"
                )
        if self.limit is not None and self.limit < 1:
            raise RecipeError(f"evaluate.limit is {self.limit}", hint="use 1 or more")
        if self.batch_tokens is not None and self.batch_tokens < 1:
            raise RecipeError(f"evaluate.batch_tokens is {self.batch_tokens}", hint="use 1 or more")
        if self.cache_gib is not None and self.cache_gib <= 0:
            raise RecipeError(
                f"evaluate.cache_gib is {self.cache_gib}", hint="use a number greater than 0"
            )
