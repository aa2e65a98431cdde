"""Task files: a task is data, not code. Built-in ones ship in `tasks/`, a user adds his own."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Literal

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.settings import TaskSettings
from tongwen.plugins import Code, entry_names, entry_point, told
from tongwen.recipe.loader import from_toml, parse_toml
from tongwen.recipe.origin import Origin
from tongwen.settings import PathText

CHOICE_METRICS = (
    "acc", "acc_char", "acc_norm", "acc_pmi", "gold_bits_per_byte", "greedy", "mc2",
)  # fmt: skip
FREE_METRICS = ("contains", "exact_match", "f1", "instructions", "letters", "math", "number")
PROGRAM_METRICS = ("pass@1", "pass@10", "pass@100")
BITS = "gold_bits_per_byte"
"""The one metric that is no share of 1, and where lower is better."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """How rows are read from the data."""

    format: Literal[
        "jsonl", "json", "csv", "tsv", "squad", "dream", "hellaswag6",
        "agieval_examples", "hellaswag", "ifeval", "leval", "quac", "truthfulqa", "xwinograd",
    ]  # fmt: skip
    """Layout of the text inside; `.gz`, `.bz2`, `.zip` and `.tar.gz` around it are opened, and rows
    of a `.parquet` file are read in any layout of rows."""
    folder: str = ""
    """Folder of the data in a folder of data sets; the task's name when empty."""
    file: str = ""
    """Name (or glob pattern) of the file when the user's path is a folder; of several, separated by
    `|`, the first that is there."""
    members: tuple[str, ...] = ()
    """Glob patterns of the members of a `.zip` or `.tar.gz` that are read, in order of name."""
    member_pattern: str = r"([^/]+?)(?:\.\w+)?$"
    """Regular expression whose first group, in a member's name, becomes the field `member`."""
    columns: tuple[str, ...] = ()
    """Column names of a csv or tsv file that has no header line."""
    records: str = ""
    """Key of the list of rows in a json document; the document itself when empty."""
    labels: str = ""
    """A file beside the data with one value a line, added to the rows as the field `label`."""
    join: str = ""
    """A jsonl file beside the data whose rows are added to ours where `join_on` is equal."""
    join_on: str = ""
    names: str = ""
    """A json file beside the data, member -> name or list of names, for the field `names`."""
    texts: str = ""
    """Glob pattern of the archive's members with a text for each data member, the field `text`."""
    texts_after: str = ""
    """The text begins after the first place of this mark."""
    split: Mapping[str, str] = field(default_factory=dict)
    """Field -> mark: the field gets the parts `.before` and `.after` the mark's first place."""
    skip_pattern: Mapping[str, str] = field(default_factory=dict)
    """Field -> regular expression: rows where it fits are left out, and counted."""
    require: tuple[str, ...] = ()
    """Fields: rows where one is absent, null or empty are left out, and counted."""


@dataclass(frozen=True, kw_only=True)
class ShotsSpec:
    """Where solved examples come from: the first rows of a file, so always the same ones."""

    file: str = ""
    """File beside the data; the data file itself (other members) when empty; as `data.file`."""
    format: str = ""
    """Layout of that file, where it is not that of the data."""
    members: tuple[str, ...] = ()
    written: tuple[Mapping[str, str], ...] = ()
    """Rows of examples written in the task file, in place of a file."""
    included: int = 0
    """Number of examples that `instruction` holds already."""
    skip_pattern: Mapping[str, str] = field(default_factory=dict)
    """Field -> regular expression: rows where it fits are not examples. It takes the place of
    `data.skip_pattern`, and with it examples may come from the data file itself."""
    match: str = ""
    """Field that must be the same in the example and in the question, such as `subject`."""
    separator: str = "\n\n"


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What is asked and how the answer is judged.

    Texts are templates: `{field}` stands for a field of the row, `{a.b}` for a field of a field,
    `{a.0}` for the first of a list, `{choice}` for the choice that is scored, `{{` for a brace.
    """

    description: str
    kind: Literal["choice", "generate", "program"]
    metric: str
    """The score that counts; the others are reported too. For `choice` one of CHOICE_METRICS; for
    `generate` one of FREE_METRICS, or the name of a function in `code`; for `program` one
    of PROGRAM_METRICS."""
    data: DataSpec
    shots: ShotsSpec = field(default_factory=ShotsSpec)
    license: str = ""
    """Licence of the public data of this layout, as its authors state it."""
    source: str = ""
    """Where to get the data."""
    protocol: str = ""
    """Whose prompt this is, and what differs from theirs; shown with the score."""
    language: str = ""
    language_field: str = ""
    """Field with the language, for data in several languages."""
    instruction: str = ""
    """Text before the examples, once; in ChatML at the start of the first question."""
    prompt: str
    prompt_zh: str | None = None
    """Prompt of Chinese items, where it differs."""
    chat_prompt: str | None = None
    """Prompt in the ChatML format, where it differs."""
    answer: str = " {choice}"
    """What follows the prompt and is scored; for `generate` the answer shown in examples."""
    answer_zh: str | None = None
    id: str = ""
    """Field that names the item; file and row number when empty."""
    cluster: str = ""
    """Field whose equal values make items depend on one another (a shared passage)."""
    group: str = ""
    """Field by which results are also broken down."""
    chance: float | None = None
    """Score of a guess; one over the number of choices when absent, 0 for free answers."""

    choices: tuple[str, ...] = ()
    """Templates of the choices."""
    choices_field: str = ""
    """Field with the list of choices, in place of `choices`."""
    choice_pattern: str = ""
    """Regular expression whose first group is the choice's text, to take `(A)` away."""
    lettered: bool = False
    """Show the choices as lines in the field `{lettered}` and score their letters."""
    gold_field: str = ""
    """Field with the right choice: its index from 0, or one of `gold_values`."""
    gold_values: tuple[str, ...] = ()
    """Values of `gold_field` in the order of the choices."""
    gold_values_field: str = ""
    """Field with such a list, where it differs from row to row."""
    gold_list_field: str = ""
    """Field with the indexes of all right choices, for `mc2`."""
    unconditional: str = ""
    """Prompt without the question, such as `Answer:`, for `acc_pmi`."""

    accepted: tuple[str, ...] = ()
    """Fields with accepted answers; a text or a list of texts each."""
    accepted_pattern: str = ""
    """Regular expression whose first group is the answer inside these fields."""
    accepted_joined: str | None = None
    """A list in these fields is one answer; this stands between its entries."""
    unanswerable: str = ""
    """The accepted answer where the list of answers is empty."""
    names: Mapping[str, str] = field(default_factory=dict)
    """How the values of `group` read in prompts, the field `name`; without underscores when not
    here."""
    stop: tuple[str, ...] = ("\n",)
    """Texts that end a free answer to a plain prompt."""
    extract: tuple[str, ...] = ()
    """Regular expressions, tried in order; the last match's first group is what is judged."""
    code: PathText | None = None
    """A Python file of your own, relative to the task file, with a metric or an extraction. A task
    that names one runs it."""
    extract_function: str = ""
    """Name of the function in `code` that finds what is judged, in place of `extract`."""
    max_new_tokens: int = 64

    program_start: str = ""
    """For `program`: what comes before the answer in the program that is run."""
    setup: str = ""
    """Python that is run before the tests, apart from the program, such as imports they need."""
    tests: str = ""
    """Python that the program passes if it reaches its end; calls the program's functions."""
    tests_field: str = ""
    """Field with a list of further tests, a line each."""
    entry: str = ""
    """Name that the tests take from the program even where the setup defines it too."""

    def __post_init__(self) -> None:
        if bool(self.language) == bool(self.language_field):
            raise RecipeError("a task needs either `language` or `language_field`")
        self._check_metric()
        if self.kind == "choice" and bool(self.choices) == bool(self.choices_field):
            raise RecipeError("a choice task needs either `choices` or `choices_field`")
        if self.kind == "generate" and not self.accepted:
            raise RecipeError("a generate task needs `accepted`, the fields with its answers")
        if self.kind == "program" and not (self.tests or self.tests_field):
            raise RecipeError("a program task needs `tests` or `tests_field`")
        if self.extract and self.extract_function:
            raise RecipeError(
                "a task has both `extract` and `extract_function`", hint="leave one of them out"
            )

    def _check_metric(self) -> None:
        known = (*CHOICE_METRICS, *FREE_METRICS, *PROGRAM_METRICS)
        if self.metric not in known and self.code is None:
            near = difflib.get_close_matches(self.metric, known, n=1)
            raise RecipeError(
                f"the metric is {self.metric!r}",
                hint=f"did you mean {near[0]!r}?"
                if near
                else f"one of {', '.join(known)}, or a function in the file that `code` names",
            )
        if (self.metric in CHOICE_METRICS) != (self.kind == "choice") or (
            self.metric in PROGRAM_METRICS
        ) != (self.kind == "program"):
            raise RecipeError(
                f"the metric {self.metric!r} does not go with tasks of kind {self.kind!r}",
                hint=f"choice: {', '.join(CHOICE_METRICS)}; generate: {', '.join(FREE_METRICS)}, "
                f"or a function of your own; program: {', '.join(PROGRAM_METRICS)}",
            )
        for metric, key in (("acc_pmi", "unconditional"), ("mc2", "gold_list_field")):
            if self.metric == metric and not getattr(self, key):
                raise RecipeError(f"the metric {metric!r} needs `{key}`")
        if self.kind != "generate" and (self.code is not None or self.extract_function):
            raise RecipeError(
                "`code` goes with tasks of kind 'generate'",
                hint="choices are scored by the model, programs by their tests",
            )
        if self.extract_function and self.code is None:
            raise RecipeError(
                f"extract_function is {self.extract_function!r}, but the task names no `code`",
                hint='add code = "FILE.py"',
            )

    @property
    def metric_code(self) -> Code | None:
        """The user's own metric; None for a built-in one."""
        if self.code is None or self.metric in FREE_METRICS:
            return None
        return Code("metric", self.metric, Path(self.code))

    @property
    def extraction_code(self) -> Code | None:
        """The user's own extraction; None for patterns."""
        if self.code is None or not self.extract_function:
            return None
        return Code("extraction", self.extract_function, Path(self.code))


def builtin_names() -> list[str]:
    """Names of the tasks that ship in the package."""
    folder = resources.files("tongwen.evaluate") / "tasks"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def builtin_variants(name: str) -> list[str]:
    """Names of the other ways in which a built-in task is asked."""
    return sorted(parse_toml(_builtin_text(name), name).values.get("variants", {}))


def builtin_spec(name: str) -> TaskSpec:
    """The built-in task of that name; `mmlu@authors` is the variant `authors` of `mmlu`.

    Raises:
        RecipeError: there is none; the hint gives the nearest names.
    """
    base, _, variant = name.partition("@")
    names = builtin_names()
    if base not in names:
        near = difflib.get_close_matches(base, names, n=3)
        raise RecipeError(
            f"there is no built-in task `{base}`",
            hint=f"did you mean {' or '.join(f'`{item}`' for item in near)}?"
            if near
            else "see `tongwen evaluate --list-tasks`, or describe yours with `spec = FILE.toml`",
        )
    return _load_spec(_builtin_text(base), f"built-in task {base}", variant)


def _builtin_text(name: str) -> str:
    return (resources.files("tongwen.evaluate") / "tasks" / f"{name}.toml").read_text("utf-8")


def _load_spec(text: str, name: str, variant: str, folder: Path | None = None) -> TaskSpec:
    """A task file's text; a variant replaces keys of the task and of its tables."""
    source = parse_toml(text, name, folder)
    values = dict(source.values)
    variants = values.pop("variants", {})
    if not isinstance(variants, Mapping) or not all(
        isinstance(table, Mapping) for table in variants.values()
    ):
        raise RecipeError(
            f"{name}: `variants` holds no tables", hint="write [variants.NAME] above its keys"
        )
    if variant and variant not in variants:
        raise RecipeError(
            f"{name} has no variant {variant!r}",
            hint=f"it has {', '.join(sorted(variants))}" if variants else "it has none",
        )
    for key, value in variants.get(variant, {}).items():
        values[key] = {**values.get(key, {}), **value} if key in ("data", "shots") else value
    return from_toml(TaskSpec, values, Origin((source,)))


def task_file(task: TaskSettings, folders: Sequence[str]) -> Path | None:
    """The user's task file of a task of the recipe, None for a built-in one.

    `spec` names it; else it is `NAME.toml` in one of the folders, or an entry point of
    `tongwen.tasks` whose object is the file's path.

    Raises:
        RecipeError: two folders have it, or it has the name of a built-in task.
        InputError: a folder is not there, or the entry point does not name a file.
    """
    if task.spec is not None:
        return Path(task.spec)
    name = (task.layout or task.name).partition("@")[0]
    found = [file for file in own_task_files(folders) if file.stem == name]
    if name in entry_names("task"):
        found.append(_installed_task(name))
    if len(found) > 1:
        raise RecipeError(
            f"the task `{name}` is in {' and in '.join(map(str, found))}",
            hint="rename one, or name the file with `spec = FILE.toml`",
        )
    if found and name in builtin_names():
        raise RecipeError(
            f"{found[0]} has the name of a built-in task",
            hint=f"rename it, such as own_{name}.toml, or name it with `spec = FILE.toml`",
        )
    return found[0] if found else None


def own_task_files(folders: Sequence[str]) -> list[Path]:
    """The task files in the user's folders, sorted.

    Raises:
        InputError: a folder is not there.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise InputError(
                f"evaluate.task_folders names {folder}, which is no folder",
                hint="relative paths start at the recipe's folder",
            )
    return [file for folder in folders for file in sorted(Path(folder).glob("*.toml"))]


def _installed_task(name: str) -> Path:
    module, attribute = entry_point("task", name, f"the task {name}")
    try:
        found = Path(getattr(import_module(module), attribute))
    except Exception as error:
        raise InputError(
            f"the entry point `{name}` of tongwen.tasks fails: {told(error)}",
            hint=f"{module}:{attribute} must be the path of a task file",
        ) from error
    return found


def task_spec(task: TaskSettings, folders: Sequence[str] = ()) -> TaskSpec:
    """The description of a task of the recipe. Code that it names is loaded, so that errors come
    early.

    Raises:
        RecipeError: no such built-in task, or the user's task file has an unknown key,
            a wrong type or an impossible value.
        InputError: the user's task file or its code cannot be read, or lacks the function.
    """
    path = task_file(task, folders)
    name = task.layout or task.name
    if path is None:
        return builtin_spec(name)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the task file {path}: {error}") from error
    variant = "" if task.spec is not None else name.partition("@")[2]
    spec = _load_spec(text, str(path), variant, path.resolve().parent)
    for code in (spec.metric_code, spec.extraction_code):
        if code is not None:
            code.load()
    return spec


def task_files(task: TaskSettings, folders: Sequence[str]) -> list[Path]:
    """The user's own files that describe a task: its task file and the code that it names."""
    path = task_file(task, folders)
    if path is None:
        return []
    code = task_spec(task, folders).code
    return [path] if code is None else [path, Path(code)]
