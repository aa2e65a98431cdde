"""The evaluate stage: every task of the recipe on one model, resumed task by task."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.items import Item, make_items
from tongwen.evaluate.readers import data_files, read_rows
from tongwen.evaluate.results import SCHEMA, VERSION, above_chance, summaries
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, task_files, task_spec
from tongwen.evaluate.suites import MissingTask, wanted_tasks, without_data
from tongwen.files import file_digest, read_jsonl, value_digest, write_json, write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.stages import find_model_folder

if TYPE_CHECKING:
    from tongwen.evaluate.evaluator import Evaluator


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
    """The user's own files that the tasks read: their data, their descriptions and their code."""
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

    All tasks are read and checked before the model is loaded. A task's items stand in
    `parts/NAME.jsonl` as soon as it is finished, and are not computed again.

    Raises:
        RecipeError: there is no task, or a task's description is not usable.
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
            hint="docs/en/sources.md says where each data set is had and how its folder is named",
        )
    tasks = [_prepare(context, task, settings) for task in wanted if task.name not in missing]
    folder = find_model_folder(context.inputs["model"])
    model_digest = digest_of_model(folder)
    evaluator: Evaluator | None = None
    results: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for task in tasks:
        digest = _task_digest(task, settings, model_digest, context.code)
        part = context.out / "parts" / f"{task.settings.name}.jsonl"
        records = _finished(part, digest)
        if records is None:
            if evaluator is None:
                evaluator = _load(folder, settings)
            records = _ask(context, evaluator, task, part, digest)
        results += _results(task, records, folder)
        rows += [{"task": task.settings.name, **record} for record in records]
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
            "model": {"digest": model_digest},
            "results": results,
            "missing": [_missing_json(entry) for entry in missing.values()],
        },
    )
    scores = {f"{item['task']}_{item['language']}": item["value"] for item in results}
    return {"items": len(rows), **scores}


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
    names = ("config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.model")
    paths = sorted({path for name in names for path in folder.glob(name)})
    return value_digest([[path.name, file_digest(path)] for path in paths])


def _prepare(
    context: StageContext[EvaluateSettings], task: TaskSettings, settings: EvaluateSettings
) -> Prepared:
    spec = task_spec(task, settings.task_folders)
    assert task.path is not None  # wanted_tasks
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
    how = asdict(settings) | which | {"chat": task.chat}
    own_code = file_digest(Path(task.spec.code)) if task.spec.code else ""
    spec = asdict(task.spec) | {"code": own_code}
    return value_digest([code, spec, own, how, task.data_digest, model_digest])


def _finished(part: Path, digest: str) -> list[dict[str, Any]] | None:
    """The records of a task that was finished before with the same digest."""
    try:
        head, *records = read_jsonl(part)
    except (OSError, ValueError):
        return None
    return records if head == {"digest": digest} else None


def _load(folder: Path, settings: EvaluateSettings) -> "Evaluator":
    from tongwen.evaluate.evaluator import Evaluator  # torch comes with it

    return Evaluator.load(folder, settings)


def _ask(
    context: StageContext[EvaluateSettings],
    evaluator: "Evaluator",
    task: Prepared,
    part: Path,
    digest: str,
) -> list[dict[str, Any]]:
    """Ask every question of a task and keep the records."""
    progress = context.progress
    progress.start()
    records = evaluator.records(
        task.spec,
        task.items,
        chat=task.chat,
        max_new_tokens=task.max_new_tokens,
        report=lambda done, total: progress.update(task.settings.name, done, total),
    )
    # Through JSON, so that a resumed run and an undisturbed one see the same values.
    rows = [json.loads(json.dumps(record, allow_nan=False)) for record in records]
    progress.end()
    write_jsonl(part, [{"digest": digest}, *rows])
    return rows


def _results(
    task: Prepared, records: Sequence[Mapping[str, Any]], folder: Path
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
        raise InputError(f"{folder}: {error.message}", hint=error.hint) from error
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
    names = {f"{task.name}.jsonl" for task in tasks}
    for path in directory.glob("*"):
        if path.name not in names:
            path.unlink()
