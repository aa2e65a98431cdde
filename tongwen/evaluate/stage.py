"""The evaluate stage: every task of the recipe on one model, resumed where it was stopped."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.items import Item, make_items
from tongwen.evaluate.journal import Journal, plan_of
from tongwen.evaluate.programs import ProgramSettings, check_metric, check_sandbox
from tongwen.evaluate.readers import data_files, read_rows
from tongwen.evaluate.results import SCHEMA, VERSION, above_chance, summaries
from tongwen.evaluate.server import PROBE_FILE, SERVER_FILE
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, task_files, task_spec
from tongwen.evaluate.suites import MissingTask, wanted_tasks, without_data
from tongwen.evaluate.written import as_letters, can_be_written
from tongwen.files import file_digest, read_jsonl, value_digest, write_json, write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.stages import find_model_folder

_CHOICES_JOURNAL = ".choices"
_ANSWERS_JOURNAL = ".answers"
"""Among the tasks' parts; no task's name begins with a point."""

if TYPE_CHECKING:
    from tongwen.evaluate.evaluator import Evaluator
    from tongwen.evaluate.server.endpoint import Endpoint
    from tongwen.evaluate.server.evaluator import ServerEvaluator


@dataclass(frozen=True)
class Prepared:
    """A task that is ready to be asked.

    Attributes:
        chat: whether its questions are put in the ChatML format.
        left_out: rows of the data that the task leaves out.
        data_digest: of the content of every file it reads.
    """

    settings: TaskSettings
    spec: TaskSpec
    items: list[Item]
    chat: bool
    left_out: int
    data_digest: str

    @property
    def max_new_tokens(self) -> int:
        return self.settings.max_new_tokens or self.spec.max_new_tokens


def files(settings: EvaluateSettings) -> list[Path]:
    """The user's own files that the tasks read: their data, their descriptions and their code. The
    file of a server's key is none: no digest of it is kept.
    """
    found: list[Path] = []
    tasks = wanted_tasks(settings)
    missing = without_data(settings, tasks)
    for task in tasks:
        found += task_files(task, settings.task_folders)
        if task.path and not task.path.startswith("{") and task.name not in missing:
            spec = task_spec(task, settings.task_folders)
            found += data_files(spec, Path(task.path), shots=task.shots > 0)
    return found


def run(context: StageContext[EvaluateSettings]) -> Mapping[str, float]:
    """Score the model on every task; write `results.json` and `items.jsonl`.

    All tasks are read and checked before the model is loaded. Questions with choices are asked
    first, those of all tasks together. Finished tasks are in `parts/NAME.jsonl` and are not asked
    again; a journal there keeps what is done of the others, so that a killed run goes on where it
    was and writes the bytes of an undisturbed one.

    Raises:
        RecipeError: there is no task, or a task's description is not usable.
        SandboxError: a task runs generated programs, which this machine cannot isolate.
        InputError: data or model are missing, damaged or of another kind.
    """
    settings = context.settings
    wanted = wanted_tasks(settings)
    if not wanted:
        raise RecipeError(
            "evaluate has no task",
            hint='add [[evaluate.tasks]] with name = "piqa", path = "...", or suites = ["yi"]',
        )
    missing = without_data(settings, wanted)
    if len(missing) == len(wanted):
        raise InputError(
            f"{settings.data} has the data of none of {len(missing)} tasks: "
            f"{', '.join(list(missing)[:5])}{', ...' if len(missing) > 5 else ''}",
            hint="docs/en/sources.md says where to get each data set and what to call its folder",
        )
    tasks = [_prepare(context, task, settings) for task in wanted if task.name not in missing]
    if any(task.spec.kind == "program" for task in tasks):
        check_sandbox(settings.unsafe_code)
    with _model(context) as model:
        tasks, refused = model.askable(tasks)
        missing |= refused
        digests = {
            task.settings.name: _task_digest(task, settings, model.digest, context.code)
            for task in tasks
        }
        records = _Asking(context, model, digests).records(tasks)
        model.check_unchanged()
    results = [
        result
        for task in tasks
        for result in _results(task, records[task.settings.name], model.name)
    ]
    rows = [
        {"task": task.settings.name, **record}
        for task in tasks
        for record in records[task.settings.name]
    ]
    for result in results:
        for warning in result["warnings"]:
            context.progress.say(f"  {warning}")
    for entry in missing.values():
        context.progress.say(f"  {entry.settings.name}: {entry.reason}")
    _remove_other_parts(context.out / "parts", wanted)
    write_jsonl(context.out / "items.jsonl", rows)
    write_json(
        context.out / "results.json",
        {
            "schema": SCHEMA,
            "version": VERSION,
            "model": model.to_json(),
            "results": results,
            "missing": [_missing_json(entry) for entry in missing.values()],
        },
    )
    return {"items": len(rows), "tasks": len(tasks)}


class _FolderModel:
    """The model of a folder, loaded when the first question is asked."""

    def __init__(self, folder: Path, settings: EvaluateSettings) -> None:
        self.name = str(folder)
        self.digest = digest_of_model(folder)
        self._folder = folder
        self._settings = settings

    @cached_property
    def evaluator(self) -> "Evaluator":
        from tongwen.evaluate.evaluator import Evaluator  # torch comes with it

        return Evaluator.load(self._folder, self._settings)

    def to_json(self) -> dict[str, str]:
        """What results say of it."""
        return {"digest": self.digest}

    def askable(self, tasks: Sequence[Prepared]) -> tuple[list[Prepared], dict[str, MissingTask]]:
        """All of them."""
        return list(tasks), {}

    def check_unchanged(self) -> None:
        """A folder does not change while it is loaded."""


class _ServedModel:
    """The model behind an address."""

    def __init__(self, endpoint: "Endpoint", settings: EvaluateSettings) -> None:
        self.name = endpoint.url
        self.digest = endpoint.probes.digest
        self._endpoint = endpoint
        self._settings = settings

    @cached_property
    def evaluator(self) -> "ServerEvaluator":
        from tongwen.evaluate.server.evaluator import ServerEvaluator  # torch comes with it

        return ServerEvaluator(self._endpoint)

    def to_json(self) -> dict[str, str]:
        """What results say of it."""
        return self._endpoint.to_json()

    def askable(self, tasks: Sequence[Prepared]) -> tuple[list[Prepared], dict[str, MissingTask]]:
        """The tasks that the server can be asked, as it can be asked them, and why not the others.

        Raises:
            InputError: it can be asked none.
        """
        found, refused = [], {}
        for task in tasks:
            reason = self._endpoint.refuses(task.spec.kind, chat=task.chat)
            if reason is None:
                found.append(task)
            elif self._settings.server.writes_choices and can_be_written(task.spec, task.items):
                found.append(_with_letters(task))
            else:
                refused[task.settings.name] = MissingTask(task.settings, task.spec, reason)
        if not found:
            reasons = sorted({entry.reason for entry in refused.values()})
            raise InputError(
                f"{self.name} can be asked none of {len(tasks)} tasks: {'; '.join(reasons)}",
                hint="--written-choices has the model write the letter of a choice; --chat asks "
                "chat models",
            )
        return found, refused

    def check_unchanged(self) -> None:
        """Ask once more what tells models apart.

        Raises:
            InputError: another model answers.
        """
        self._endpoint.check_unchanged()


_Model = _FolderModel | _ServedModel


@contextmanager
def _model(context: StageContext[EvaluateSettings]) -> Iterator[_Model]:
    """What is evaluated: a folder's model, or the one that `server.json` in the folder names."""
    folder, settings = context.inputs["model"], context.settings
    if not (folder / SERVER_FILE).is_file():
        yield _FolderModel(find_model_folder(folder), settings)
        return
    from tongwen.evaluate.server.endpoint import Endpoint  # an HTTP client comes with it

    with closing(Endpoint(folder, settings.server, context.out / "parts")) as endpoint:
        yield _ServedModel(endpoint, settings)


def _with_letters(task: Prepared) -> Prepared:
    """A task with choices, whose letters the model writes."""
    spec, items = as_letters(task.spec, task.items, chat=task.chat)
    shots = task.settings.shots if task.spec.lettered else 0
    return replace(task, spec=spec, items=items, settings=replace(task.settings, shots=shots))


def digest_of_model(folder: Path) -> str:
    """Names a model by its configuration, weights and tokenizer.

    Raises:
        InputError: the folder has no `config.json`.
    """
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is no model folder: it has no config.json",
            hint="name the folder that holds config.json and model.safetensors",
        )
    names = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json",
             "tokenizer.model", "tokenizer.json", "chat_template.jinja")  # fmt: skip
    paths = sorted({path for name in names for path in folder.glob(name)})
    return value_digest([[path.name, file_digest(path)] for path in paths])


def _prepare(
    context: StageContext[EvaluateSettings], task: TaskSettings, settings: EvaluateSettings
) -> Prepared:
    spec = task_spec(task, settings.task_folders)
    assert task.path is not None  # wanted_tasks
    check_metric(spec, task)
    path = context.resolve(task.path)
    has_shots = task.shots > 0
    rows = read_rows(spec, path, shots=has_shots)
    chat = settings.chat if task.chat is None else task.chat
    return Prepared(
        settings=task,
        spec=spec,
        items=make_items(spec, task, rows, chat=chat),
        chat=chat,
        left_out=rows.left_out,
        data_digest=value_digest(
            [file_digest(file) for file in data_files(spec, path, shots=has_shots)]
        ),
    )


def _task_digest(task: Prepared, settings: EvaluateSettings, model_digest: str, code: str) -> str:
    """Of everything that decides a task's records; paths are not part of it."""
    own = asdict(task.settings) | {"path": "", "spec": "", "name": "", "layout": ""}
    which = dict.fromkeys(("tasks", "suites", "data", "limit", "task_folders"))
    how = asdict(settings) | which | {"chat": task.chat, "server": None}
    own_code = file_digest(Path(task.spec.code)) if task.spec.code else ""
    spec = asdict(task.spec) | {"code": own_code}
    return value_digest([code, spec, own, how, task.data_digest, model_digest])


class _Asking:
    """Asks what is not finished.

    Args:
        context: of the stage.
        model: that is asked.
        digests: of the tasks, by their names.
    """

    def __init__(
        self, context: StageContext[EvaluateSettings], model: _Model, digests: Mapping[str, str]
    ) -> None:
        self._context = context
        self._model = model
        self._parts = context.out / "parts"
        self._digests = digests

    def records(self, tasks: Sequence[Prepared]) -> dict[str, list[dict[str, Any]]]:
        """The records of every task by its name, those that were finished before included."""
        choices = [task for task in tasks if task.spec.kind == "choice"]
        for together in self._unfinished(choices):
            self._ask_choices(together)
        for task in tasks:
            if task.spec.kind != "choice" and self._finished(task) is None:
                self._ask_freely(task)
        # From the files, so that a resumed run and an undisturbed one see the same values.
        return {task.settings.name: self._finished(task) or [] for task in tasks}

    def _unfinished(self, choices: Sequence[Prepared]) -> list[list[Prepared]]:
        """The tasks to ask together: those of a journal as they were, then the others.

        Where some tasks of a journal are finished they are still part of its tree, since what is
        read together decides how numbers are rounded.
        """
        planned = plan_of(self._parts / _CHOICES_JOURNAL) or []
        begun = [task for task in choices if self._digest(task) in planned]
        if len(begun) != len(planned):
            begun = []
        others = [task for task in choices if task not in begun and self._finished(task) is None]
        return [together for together in (begun, others) if together]

    def _ask_choices(self, tasks: Sequence[Prepared]) -> None:
        from tongwen.evaluate.records import Questions  # torch comes with it

        evaluator = self._model.evaluator
        plan = [self._digest(task) for task in tasks]
        with Journal(self._parts / _CHOICES_JOURNAL, plan) as journal:
            records = evaluator.choice_records(
                [Questions(task.spec, task.items, task.chat) for task in tasks],
                report=self._reports("questions with choices", "tokens"),
                journal=journal,
            )
            self._context.progress.end()
            for task, rows in zip(tasks, records, strict=True):
                self._finish(task, rows)
            journal.remove()

    def _ask_freely(self, task: Prepared) -> None:
        evaluator = self._model.evaluator
        with Journal(self._parts / _ANSWERS_JOURNAL, [self._digest(task)]) as journal:
            records = evaluator.records(
                task.spec,
                task.items,
                chat=task.chat,
                max_new_tokens=task.max_new_tokens,
                report=self._reports(task.settings.name, "answers"),
                journal=journal,
                programs=ProgramSettings(
                    samples=task.settings.samples,
                    temperature=task.settings.temperature,
                    isolation=self._context.settings.unsafe_code,
                ),
            )
            self._context.progress.end()
            self._finish(task, records)
            journal.remove()

    def _reports(self, label: str, unit: str) -> Callable[[int, int], None]:
        progress = self._context.progress
        progress.start()
        return lambda done, total: progress.update(label, done, total, unit)

    def _digest(self, task: Prepared) -> str:
        return self._digests[task.settings.name]

    def _part(self, task: Prepared) -> Path:
        return self._parts / f"{task.settings.name}.jsonl"

    def _finish(self, task: Prepared, records: Sequence[Mapping[str, Any]]) -> None:
        for record in records:
            json.dumps(record, allow_nan=False)
        write_jsonl(self._part(task), [{"digest": self._digest(task)}, *records])

    def _finished(self, task: Prepared) -> list[dict[str, Any]] | None:
        """The records of a task that was finished before with the same digest."""
        try:
            head, *records = read_jsonl(self._part(task))
        except (OSError, ValueError):
            return None
        return records if head == {"digest": self._digest(task)} else None


def _results(
    task: Prepared, records: Sequence[Mapping[str, Any]], model: str
) -> list[dict[str, Any]]:
    shared = {
        "asked": _asked(task.settings, task.spec, chat=task.chat),
        "protocol": task.spec.protocol,
        "source": task.spec.source,
        "chat": task.chat,
        "shots": task.settings.shots,
        "limit": task.settings.limit,
        "left_out": task.left_out,
        "data_digest": task.data_digest,
    }
    from tongwen.evaluate.silent import silent_scores  # torch comes with it

    try:
        found = summaries(task.settings.name, task.spec, records)
    except InputError as error:
        raise InputError(f"{model}: {error.message}", hint=error.hint) from error
    silent = silent_scores(task.spec, task.items)
    return [_with_floor(result, silent) | shared for result in found]


def _with_floor(result: dict[str, Any], silent: Mapping[str, float]) -> dict[str, Any]:
    """A result whose chance is at least what an answer that says nothing scores."""
    floor = max([0.0, *silent.values()])
    chance = result["chance"]
    if chance is not None and floor > chance:
        chance = floor
    return result | {
        "silent": dict(silent),
        "chance": chance,
        "above_chance": above_chance(result["value"], chance),
    }


def _asked(settings: TaskSettings, spec: TaskSpec, *, chat: bool) -> str:
    """How a task is asked, in a few words."""
    how = "answers" if spec.kind == "generate" else "letters" if spec.lettered else "choices"
    how = how if spec.kind in ("generate", "choice") else spec.kind
    shots = settings.shots + spec.shots.included
    return f"{shots}-shot {how}{', ChatML' if chat else ''}"


def _missing_json(entry: MissingTask) -> dict[str, Any]:
    settings, spec = entry.settings, entry.spec
    return {
        "task": settings.name,
        "description": spec.description,
        "license": spec.license,
        "language": spec.language or "-",
        "metric": spec.metric,
        "asked": _asked(settings, spec, chat=bool(settings.chat)),
        "protocol": spec.protocol,
        "reason": f"{entry.reason}; get it from {spec.source}" if spec.source else entry.reason,
        "source": spec.source,
    }


def _remove_other_parts(directory: Path, tasks: Sequence[TaskSettings]) -> None:
    names = {PROBE_FILE, *(f"{task.name}.jsonl" for task in tasks)}
    for path in directory.glob("*"):
        if path.name not in names:
            path.unlink()
