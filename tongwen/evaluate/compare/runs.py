"""Evaluations as they are on disk, and what two of them must share to be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.errors import InputError
from tongwen.evaluate.results import SCHEMA, VERSION
from tongwen.files import read_json, read_jsonl

Key = tuple[str, str]
"""Task and language."""
LOWER_IS_BETTER = frozenset({"gold_bits_per_byte"})
_PROTOCOL = ("kind", "metric", "shots", "chat", "limit", "data_digest")
_MOST_NAMED = 3


@dataclass(frozen=True)
class TaskRun:
    """One task in one language as one model answered it.

    Attributes:
        result: its entry in `results.json`.
        records: its items in `items.jsonl`, by id.
    """

    result: Mapping[str, Any]
    records: Mapping[str, Mapping[str, Any]]

    def scores(self, metric: str) -> dict[str, float]:
        """Score by item id, of those that were scored."""
        return {
            name: float(record["scores"][metric])
            for name, record in self.records.items()
            if not record["not_scored"]
        }


@dataclass(frozen=True)
class Run:
    """The evaluation of one model."""

    name: str
    folder: Path
    model_digest: str
    tasks: Mapping[Key, TaskRun]


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Evaluations from the folders of `tongwen evaluate`, or their `results.json`, named apart.

    Raises:
        InputError: one is no evaluation, is damaged or of another version, or is given twice.
    """
    folders = [path.parent if path.is_file() else path for path in paths]
    for index, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:index]]:
            raise InputError(f"{folder} is given twice", hint="a model differs from itself nowhere")
    names = _names(folders)
    return [_load(folder, name) for folder, name in zip(folders, names, strict=True)]


def _names(folders: Sequence[Path]) -> list[str]:
    """As many of the last parts of each path as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("equal folders were refused")


def _load(folder: Path, name: str) -> Run:
    for needed in ("results.json", "items.jsonl"):
        if not (folder / needed).is_file():
            raise InputError(
                f"{folder} is no evaluation: it has no {needed}",
                hint="name the folder that `tongwen evaluate ... --out FOLDER` wrote",
            )
    try:
        content = read_json(folder / "results.json")
        rows = list(read_jsonl(folder / "items.jsonl"))
        schema = content.get("schema"), content.get("version")
        if schema != (SCHEMA, VERSION):
            raise InputError(
                f"{folder / 'results.json'} is of schema {schema[0]} {schema[1]}, not {SCHEMA} "
                f"{VERSION}",
                hint="evaluate again with this version",
            )
        records: dict[Key, dict[str, Any]] = {}
        for row in rows:
            records.setdefault((row["task"], row["language"]), {})[row["id"]] = row
        tasks = {
            (result["task"], result["language"]): TaskRun(
                result, records.get((result["task"], result["language"]), {})
            )
            for result in content["results"]
        }
        digest = str(content["model"]["digest"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder} is no evaluation, or a damaged one: {type(error).__name__}: {error}",
            hint="run `tongwen evaluate` again: finished tasks are kept",
        ) from error
    return Run(name, folder, digest, tasks)


def common_tasks(runs: Sequence[Run]) -> tuple[list[Key], dict[Key, list[str]]]:
    """Tasks that every run has, sorted; and for each other one the runs that lack it.

    Raises:
        InputError: there is no common one.
    """
    every = sorted({key for run in runs for key in run.tasks})
    missing = {
        key: lacking for key in every if (lacking := [r.name for r in runs if key not in r.tasks])
    }
    common = [key for key in every if key not in missing]
    if not common:
        raise InputError(
            "no task is in all of " + ", ".join(run.name for run in runs),
            hint="; ".join(f"{run.name} has {_listed(run.tasks)}" for run in runs),
        )
    return common, missing


def _listed(keys: Mapping[Key, object]) -> str:
    return ", ".join(f"{task} ({language})" for task, language in sorted(keys)) or "none"


def difference_in_protocol(first: Run, second: Run, key: Key) -> str | None:
    """Why the scores of a task cannot be compared; None where they can."""
    ours, theirs = first.tasks[key], second.tasks[key]
    for name in _PROTOCOL:
        values = ours.result.get(name), theirs.result.get(name)
        if values[0] != values[1]:
            return f"{name} is {values[0]} in {first.name} and {values[1]} in {second.name}"
    samples = [_samples(task) for task in (ours, theirs)]
    if samples[0] != samples[1]:
        return f"samples is {samples[0]} in {first.name} and {samples[1]} in {second.name}"
    for run, other, here, there in (
        (first, second, ours, theirs),
        (second, first, theirs, ours),
    ):
        alone = [name for name in here.records if name not in there.records]
        if alone:
            return f"{len(alone):,} items of {run.name} are not in {other.name}: {_some(alone)}"
    asked = [
        name
        for name, record in ours.records.items()
        if not _is_asked_alike(record, theirs.records[name])
    ]
    if asked:
        return f"{len(asked):,} of {len(ours.records):,} prompts differ: {_some(asked)}"
    return None


def _is_asked_alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two models had the same question and as much of it. Prompts may differ in what a
    template or a tokenizer adds.
    """
    key = "asked" if "asked" in ours and "asked" in theirs else "prompt"
    return bool(ours[key] == theirs[key] and ours.get("truncated") == theirs.get("truncated"))


def _samples(task: TaskRun) -> int:
    return max((len(record.get("samples", ())) for record in task.records.values()), default=0)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
