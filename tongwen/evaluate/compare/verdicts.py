"""Scores side by side, paired tests, and what they come to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tongwen.errors import InputError
from tongwen.evaluate.compare.runs import (
    LOWER_IS_BETTER,
    Key,
    Run,
    TaskRun,
    common_tasks,
    difference_in_protocol,
)
from tongwen.evaluate.statistics import (
    Difference,
    Estimate,
    estimate,
    holm,
    noise_floor,
    paired_difference,
    student_p,
    unpaired_difference,
)

Word = Literal["better", "worse", "not separable"]
_LEVEL = 0.05  # after Holm's correction over all tests of the page
_Z = 1.959963984540054  # 97.5 % point of the normal distribution
_NOISE_CHECKPOINTS = 5  # the last ones, where the model hardly changes: what moves is noise


@dataclass(frozen=True)
class Score:
    """What one run scores on the items that all runs have scored.

    Attributes:
        name: of the run.
        all: over all of these items.
        clean, contaminated: over those that curate has not found, and has found; None without a
            report, or without such an item.
        gap: contaminated minus clean with its interval.
    """

    name: str
    all: Estimate
    clean: Estimate | None = None
    contaminated: Estimate | None = None
    gap: tuple[float, tuple[float, float] | None] | None = None


@dataclass(frozen=True)
class Comparison:
    """One run against the first, on one task.

    Attributes:
        name: of the run.
        difference: from the first run, over all items.
        adjusted: p-value over the family of all tasks and runs (Holm); None where nothing can be
            said.
        verdict: about this run.
        clean: the difference over clean items.
    """

    name: str
    difference: Difference
    adjusted: float | None
    verdict: Word
    clean: Difference | None


@dataclass(frozen=True)
class TaskComparison:
    """One task in one language.

    Attributes:
        not_scored: items left out because a run has not scored them.
        noise: spread of the last checkpoints around their trend; None where it was not asked for.
        is_progress: whether last and first checkpoint differ by more than noise explains.
        others: other scores of the task, such as pass@10: metric -> estimate of each run.
    """

    task: str
    language: str
    metric: str
    chance: float | None
    scores: Sequence[Score]
    comparisons: Sequence[Comparison]
    not_scored: int
    noise: float | None
    is_progress: bool | None
    others: Mapping[str, Sequence[Estimate]]

    @property
    def label(self) -> str:
        return f"{self.task} ({self.language})"


@dataclass(frozen=True)
class Overall:
    """The mean over all tasks of one run's differences, each task counted once."""

    name: str
    value: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class Report:
    """A whole comparison.

    Attributes:
        runs: names, the first the one that others are compared with.
        tasks: those compared.
        overall: of each other run; empty with a single task.
        left_out: tasks that were not compared, with the reason.
    """

    runs: Sequence[str]
    tasks: Sequence[TaskComparison]
    overall: Sequence[Overall]
    left_out: Sequence[tuple[str, str]]
    is_series: bool


def compare(
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    contamination: Mapping[str, frozenset[str]] | None = None,
    is_series: bool = False,
    skip: bool = False,
) -> Report:
    """Every run against the first, task by task.

    Args:
        runs: two or more, a series in the order of training.
        metric: the score that is compared; the one that counts when None.
        contamination: benchmark -> places of contaminated items; tasks by the same name.
        is_series: the runs are checkpoints of one training run.
        skip: leave out what cannot be compared, and say so, in place of an error.

    Raises:
        InputError: fewer than two runs, no common task, tasks asked in different ways, or a
            metric that a task does not have.
    """
    if len(runs) < 2:
        raise InputError("one evaluation is nothing to compare", hint="name two folders or more")
    common, missing = common_tasks(runs)
    left_out = [
        (f"{task} ({language})", f"not in {', '.join(names)}")
        for (task, language), names in missing.items()
    ]
    kept = []
    for key in common:
        reason = _reason(runs, key, metric)
        if reason is None:
            kept.append(key)
        elif skip:
            left_out.append((f"{key[0]} ({key[1]})", reason))
        else:
            raise InputError(
                f"{key[0]} ({key[1]}) cannot be compared: {reason}",
                hint="evaluate both in the same way, or add --skip to leave such tasks out",
            )
    if not kept:
        raise InputError("no task can be compared: " + "; ".join(f"{n}: {r}" for n, r in left_out))
    tasks = [_compare_task(runs, key, metric, contamination, is_series) for key in kept]
    tasks = _adjusted(tasks)
    return Report([run.name for run in runs], tasks, _overall(tasks), left_out, is_series)


def _reason(runs: Sequence[Run], key: Key, metric: str | None) -> str | None:
    for run in runs[1:]:
        if reason := difference_in_protocol(runs[0], run, key):
            return reason
    known = runs[0].tasks[key].result["scores"]
    if metric is not None and metric not in known:
        return f"it has no score {metric!r}, but {', '.join(sorted(known))}"
    if not _scored_by_all([run.tasks[key] for run in runs], metric or _metric_of(runs, key)):
        return "no item was scored in all runs"
    return None


def _metric_of(runs: Sequence[Run], key: Key) -> str:
    return str(runs[0].tasks[key].result["metric"])


def _scored_by_all(tasks: Sequence[TaskRun], metric: str) -> list[str]:
    """Ids of the items that every run has scored, in the order of the first."""
    scored = [task.scores(metric) for task in tasks]
    return [name for name in scored[0] if all(name in other for other in scored)]


def _compare_task(
    runs: Sequence[Run],
    key: Key,
    metric: str | None,
    contamination: Mapping[str, frozenset[str]] | None,
    is_series: bool,
) -> TaskComparison:
    tasks = [run.tasks[key] for run in runs]
    name = metric or _metric_of(runs, key)
    ids = _scored_by_all(tasks, name)
    found = None if contamination is None else contamination.get(key[0])
    dirty = None if found is None else [_place(tasks[0], one) in found for one in ids]
    scores = [
        _score(run.name, task, ids, name, dirty) for run, task in zip(runs, tasks, strict=True)
    ]
    noise, is_progress = (
        _series([score.all.value for score in scores]) if is_series else (None, None)
    )
    return TaskComparison(
        task=key[0],
        language=key[1],
        metric=name,
        chance=tasks[0].result.get("chance") if metric in (None, _metric_of(runs, key)) else None,
        scores=scores,
        comparisons=[
            _comparison(run.name, tasks[0], task, ids, name, dirty)
            for run, task in zip(runs[1:], tasks[1:], strict=True)
        ],
        not_scored=len(tasks[0].records) - len(ids),
        noise=noise,
        is_progress=is_progress,
        others={
            other: [_estimate(task, ids, other) for task in tasks]
            for other in sorted(tasks[0].result["scores"], key=_by_number)
            if other.startswith("pass@") and other != name
        },
    )


def _by_number(name: str) -> tuple[int, str]:
    number = name.partition("@")[2]
    return (int(number) if number.isdigit() else 0, name)


def _place(task: TaskRun, name: str) -> str:
    return str(task.records[name].get("place", ""))


def _estimate(task: TaskRun, ids: Sequence[str], metric: str) -> Estimate:
    values = task.scores(metric)
    return estimate(
        [values[name] for name in ids],
        [task.records[name]["cluster"] for name in ids],
        highest=math.inf if metric in LOWER_IS_BETTER else 1.0,
    )


def _score(
    name: str, task: TaskRun, ids: Sequence[str], metric: str, dirty: Sequence[bool] | None
) -> Score:
    whole = _estimate(task, ids, metric)
    if dirty is None:
        return Score(name, whole)
    halves = [[one for one, is_dirty in zip(ids, dirty, strict=True) if is_dirty is which]
              for which in (False, True)]  # fmt: skip
    clean, contaminated = (_estimate(task, half, metric) if half else None for half in halves)
    gap = None
    if clean and contaminated:
        values = task.scores(metric)
        scores = [[values[one] for one in half] for half in halves]
        clusters = [[task.records[one]["cluster"] for one in half] for half in halves]
        gap = unpaired_difference(scores[0], clusters[0], scores[1], clusters[1])
    return Score(name, whole, clean, contaminated, gap)


def _comparison(
    name: str,
    first: TaskRun,
    second: TaskRun,
    ids: Sequence[str],
    metric: str,
    dirty: Sequence[bool] | None,
) -> Comparison:
    difference = _difference(first, second, ids, metric)
    clean = None
    if dirty is not None and any(dirty) and not all(dirty):
        kept = [one for one, is_dirty in zip(ids, dirty, strict=True) if not is_dirty]
        clean = _difference(first, second, kept, metric)
    return Comparison(name, difference, None, "not separable", clean)


def _difference(first: TaskRun, second: TaskRun, ids: Sequence[str], metric: str) -> Difference:
    before, after = first.scores(metric), second.scores(metric)
    return paired_difference(
        [before[name] for name in ids],
        [after[name] for name in ids],
        [first.records[name]["cluster"] for name in ids],
    )


def _series(values: Sequence[float]) -> tuple[float | None, bool | None]:
    """Noise of the last checkpoints, and whether the way from first to last is longer than it."""
    noise = noise_floor(values[-_NOISE_CHECKPOINTS:])
    if noise is None:
        return None, None
    return noise, abs(values[-1] - values[0]) > _Z * math.sqrt(2) * noise


def _adjusted(tasks: Sequence[TaskComparison]) -> list[TaskComparison]:
    """The same tasks with p-values over the whole family, and verdicts by them."""
    known = [
        one.difference.p_value
        for task in tasks
        for one in task.comparisons
        if one.difference.p_value is not None
    ]
    adjusted = iter(holm(known))
    found = []
    for task in tasks:
        comparisons = []
        for one in task.comparisons:
            p_value = None if one.difference.p_value is None else next(adjusted)
            verdict = _verdict(one.difference.value, p_value, task.metric)
            comparisons.append(Comparison(one.name, one.difference, p_value, verdict, one.clean))
        found.append(TaskComparison(**(vars(task) | {"comparisons": comparisons})))
    return found


def _verdict(value: float, p_value: float | None, metric: str) -> Word:
    if p_value is None or p_value >= _LEVEL:
        return "not separable"
    return "better" if (value > 0) != (metric in LOWER_IS_BETTER) else "worse"


def _overall(tasks: Sequence[TaskComparison]) -> list[Overall]:
    """Tasks are independent, so variances add up. Only tasks of one direction are averaged."""
    if len(tasks) < 2 or len({task.metric in LOWER_IS_BETTER for task in tasks}) > 1:
        return []
    found = []
    for index, one in enumerate(tasks[0].comparisons):
        differences = [task.comparisons[index].difference for task in tasks]
        errors = [part.standard_error for part in differences if part.standard_error is not None]
        if len(errors) < len(differences):
            continue
        value = math.fsum(part.value for part in differences) / len(tasks)
        error = math.sqrt(math.fsum(part * part for part in errors)) / len(tasks)
        p_value = student_p(value / error, 1e6) if error else float(value == 0)
        interval = (value - _Z * error, value + _Z * error)
        found.append(Overall(one.name, value, interval, p_value))
    return found
