"""Suites: lists of tasks by name, and which of them have data."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from tongwen.errors import RecipeError
from tongwen.evaluate.readers import MissingDataError, data_files
from tongwen.evaluate.settings import EvaluateSettings, TaskSettings
from tongwen.evaluate.spec import TaskSpec, task_spec
from tongwen.recipe.loader import from_toml, parse_toml
from tongwen.recipe.origin import Origin


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tasks that are asked together, each with its number of examples."""

    description: str
    tasks: tuple[TaskSettings, ...]


@dataclass(frozen=True)
class MissingTask:
    """A task of a suite whose data is not there."""

    settings: TaskSettings
    spec: TaskSpec
    reason: str


def suite_names() -> list[str]:
    """Names of the suites, in the order of their file."""
    return list(_suites())


def suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        RecipeError: there is none.
    """
    suites = _suites()
    if name not in suites:
        near = difflib.get_close_matches(name, suites, n=1)
        raise RecipeError(
            f"there is no suite {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(suites)}",
        )
    return suites[name]


def _suites() -> dict[str, Suite]:
    text = (resources.files("tongwen.evaluate") / "suites.toml").read_text("utf-8")
    source = parse_toml(text, "suites.toml")
    return {
        name: from_toml(Suite, values, Origin((source,))) for name, values in source.values.items()
    }


def wanted_tasks(settings: EvaluateSettings) -> list[TaskSettings]:
    """The tasks and those of the suites, each once; a task of the recipe comes before the same one
    of a suite. Each has the path of its data and its limit.

    Raises:
        RecipeError: no such suite or task, or no folder to look for data in.
    """
    tasks = {task.name: task for task in settings.tasks}
    for name in settings.suites:
        for task in suite(name).tasks:
            tasks.setdefault(task.name, task)
    return [_located(settings, task) for task in tasks.values()]


def _located(settings: EvaluateSettings, task: TaskSettings) -> TaskSettings:
    if task.limit is None:
        task = replace(task, limit=settings.limit)
    if task.path is not None:
        return task
    if settings.data is None:
        raise RecipeError(
            f"the task {task.name} has no path",
            hint="name the folder of your data sets with evaluate.data (--data FOLDER)",
        )
    spec = task_spec(task, settings.task_folders)
    folder = spec.data.folder or (task.layout or task.name).partition("@")[0]
    return replace(task, path=str(Path(settings.data) / folder))


def without_data(
    settings: EvaluateSettings, tasks: Sequence[TaskSettings]
) -> dict[str, MissingTask]:
    """The tasks whose data is not in `evaluate.data`, by name; a path of the recipe's own must be
    there, and is not looked at.
    """
    own = {task.name for task in settings.tasks if task.path is not None}
    found = {}
    for task in tasks:
        if task.name in own or task.path is None:
            continue
        spec = task_spec(task, settings.task_folders)
        try:
            data_files(spec, Path(task.path), shots=task.shots > 0)
        except MissingDataError as error:
            found[task.name] = MissingTask(task, spec, f"data missing: {error.message}")
    return found
