"""Our results in the layout of lm-evaluation-harness 0.4, for tools that read its files.

`MODEL/results_DATE.json` and `MODEL/samples_TASK_DATE.jsonl`. The date is that of `results.json`,
so that the same evaluation is written to the same files.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tongwen import __version__
from tongwen.evaluate.compare.runs import LOWER_IS_BETTER, Run, TaskRun
from tongwen.files import write_json, write_jsonl

_FILTER = "none"


def write_lm_eval(run: Run, folder: Path) -> Path:
    """Write a run below `folder`; the path of its results file."""
    changed = (run.folder / "results.json").stat().st_mtime
    date = datetime.fromtimestamp(changed, UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    model = re.sub(r'["<>:/|\\?*\[\]]+', "__", run.name)  # as lm-eval cleans names of models
    tasks = dict(sorted((_task_name(run, key), task) for key, task in run.tasks.items()))
    samples = {name: _samples(task) for name, task in tasks.items()}
    for name, rows in samples.items():
        write_jsonl(folder / model / f"samples_{name}_{date}.jsonl", rows)
    path = folder / model / f"results_{date}.json"
    write_json(path, _results(run, tasks, samples, changed))
    return path


def _task_name(run: Run, key: tuple[str, str]) -> str:
    """The task, with its language where it has several."""
    task, language = key
    languages = [other for name, other in run.tasks if name == task]
    return task if len(languages) == 1 else f"{task}_{language}"


def _results(
    run: Run, tasks: Mapping[str, TaskRun], samples: Mapping[str, list[Any]], date: float
) -> dict[str, Any]:
    return {
        "results": {name: _metrics(name, task) for name, task in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {name: _config(name, task) for name, task in tasks.items()},
        "versions": {name: task.result["prompt_digest"] for name, task in tasks.items()},
        "n-shot": {name: task.result["shots"] for name, task in tasks.items()},
        "higher_is_better": {
            name: {metric: metric not in LOWER_IS_BETTER for metric in task.result["scores"]}
            for name, task in tasks.items()
        },
        "n-samples": {
            name: {"original": len(task.records), "effective": task.result["n"]}
            for name, task in tasks.items()
        },
        "config": {"model": "tongwen", "model_args": {"digest": run.model_digest}},
        "date": date,
        "model_source": "tongwen",
        "model_name": run.name,
        "chat_template": None,
        "tongwen_version": __version__,
        "task_hashes": {
            name: _hash("".join(r["doc_hash"] + r["prompt_hash"] + r["target_hash"] for r in rows))
            for name, rows in samples.items()
        },
    }


def _metrics(name: str, task: TaskRun) -> dict[str, Any]:
    found: dict[str, Any] = {"alias": name, "name": name, "sample_len": task.result["n"]}
    for metric, one in task.result["scores"].items():
        error = one["standard_error"]
        found[f"{metric},{_FILTER}"] = one["value"]
        found[f"{metric}_stderr,{_FILTER}"] = "N/A" if error is None else error
    return found


def _config(name: str, task: TaskRun) -> dict[str, Any]:
    kinds = {"choice": "multiple_choice"}
    return {
        "task": name,
        "description": "",
        "output_type": kinds.get(task.result["kind"], "generate_until"),
        "num_fewshot": task.result["shots"],
        "metric_list": [{"metric": metric} for metric in task.result["scores"]],
        "metadata": {"license": task.result["license"], "data_digest": task.result["data_digest"]},
    }


def _samples(task: TaskRun) -> list[dict[str, Any]]:
    return [_sample(number, record) for number, record in enumerate(task.records.values())]


def _sample(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    doc = {
        key: record[key]
        for key in ("id", "language", "cluster", "group", "gold", "accepted")
        if key in record
    }
    arguments, responses, filtered = _exchange(record)
    target = record["gold"] if record["gold"] is not None else record.get("accepted", "")
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": arguments,
        "resps": responses,
        "filtered_resps": filtered,
        "filter": _FILTER,
        "metrics": sorted(record["scores"]),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(record["prompt"]),
        "target_hash": _hash(str(target)),
        **record["scores"],
    }


def _exchange(record: Mapping[str, Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What was asked, what came back, and what was judged of it.

    lm-eval asks once for each choice, with its log-probability and whether it is the greedy
    continuation; we keep the latter for the right choice only.
    """
    prompt = record["prompt"]
    if "samples" in record:
        answers = [sample["answer"] for sample in record["samples"]]
        return [[prompt, {}]], [answers], [answers]
    if "answer" in record:
        return [[prompt, {}]], [[record["answer"]]], [record["judged"]]
    pairs = [[choice["log_probability"], None] for choice in record["choices"]]
    for index, pair in enumerate(pairs):
        if index == record["gold"] and "greedy" in record["scores"]:
            pair[1] = bool(record["scores"]["greedy"])
    arguments = [[prompt, choice["text"]] for choice in record["choices"]]
    return arguments, [[pair] for pair in pairs], pairs


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
