"""The evaluate stage: every task of the recipe on one model, resumed task by task."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongwen.errors import InputError, RecipeError
from tongwen.evaluate.items import Item, make_items
from tongwen.evaluate.programs import ProgramSettings, check_metric, check_sandbox
from tongwen.evaluate.readers import data_files, read_rows
from tongwen.evaluate.results import SCHEMA, VERSION, summaries
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, task_files, task_spec
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
    for task in settings.tasks:
        found += task_files(task, settings.task_folders)
        if not task.path.startswith("{"):
            found += data_files(task_spec(task, settings.task_folders), Path(task.path))
    return found


def run(context: StageContext[EvaluateSettings]) -> Mapping[str, float]:
    """Score the model on every task; write `results.json` and `items.jsonl`.

    All tasks are read and checked before the model is loaded. A task's items stand in
    `parts/NAME.jsonl` as soon as it is finished, and are not computed again.

    Raises:
        RecipeError: there is no task, or a task's description is not usable.
        SandboxError: a task runs generated programs, which this machine cannot isolate.
        InputError: data or model are missing, damaged or of another kind.
    """
    settings = context.settings
    if not settings.tasks:
        raise RecipeError(
            "evaluate has no task", hint='add [[evaluate.tasks]] with name = "piqa", path = "..."'
        )
    tasks = [_prepare(context, task, settings) for task in settings.tasks]
    if any(task.spec.kind == "program" for task in tasks):
        check_sandbox(settings.unsafe_code)
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
    _remove_other_parts(context.out / "parts", settings.tasks)
    write_jsonl(context.out / "items.jsonl", rows)
    write_json(
        context.out / "results.json",
        {
            "schema": SCHEMA,
            "version": VERSION,
            "model": {"digest": model_digest},
            "results": results,
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
    check_metric(spec, task)
    path = context.resolve(task.path)
    rows = read_rows(spec, path)
    chat = settings.chat if task.chat is None else task.chat
    return Prepared(
        settings=task,
        spec=spec,
        items=make_items(spec, task, rows, chat=chat),
        chat=chat,
        left_out=rows.left_out,
        data_digest=value_digest([file_digest(file) for file in data_files(spec, path)]),
    )


def _task_digest(task: Prepared, settings: EvaluateSettings, model_digest: str, code: str) -> str:
    """Of everything that decides a task's records; paths are not part of it."""
    own = asdict(task.settings) | {"path": "", "spec": "", "name": "", "layout": ""}
    how = asdict(settings) | {"tasks": [], "task_folders": [], "chat": task.chat}
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
        programs=ProgramSettings(
            task.settings.samples, task.settings.temperature, context.settings.unsafe_code
        ),
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
        "chat": task.chat,
        "shots": task.settings.shots,
        "limit": task.settings.limit,
        "left_out": task.left_out,
        "data_digest": task.data_digest,
    }
    try:
        found = summaries(task.settings.name, task.spec, records)
    except InputError as error:
        raise InputError(f"{folder}: {error.message}", hint=error.hint) from error
    return [result | shared for result in found]


def _remove_other_parts(directory: Path, tasks: Sequence[TaskSettings]) -> None:
    names = {f"{task.name}.jsonl" for task in tasks}
    for path in directory.glob("*"):
        if path.name not in names:
            path.unlink()
