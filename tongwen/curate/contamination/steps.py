"""The steps of decontamination (see `search`), and the report on them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tongwen.curate.contamination.benchmarks import benchmark_of
from tongwen.curate.contamination.index import INDEX_FILES, Index, index_benchmarks
from tongwen.curate.contamination.search import (
    count_grams,
    decide_contamination,
    examples_of,
    map_contamination,
)
from tongwen.curate.contamination.settings import ContaminationSettings
from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.files import file_digest, read_jsonl
from tongwen.flow.runner import RunTasks, TaskResult, outputs, reduce_tasks
from tongwen.flow.task import Task, TaskInput


@dataclass(frozen=True)
class Contamination:
    """What was found.

    Attributes:
        edits: those known before, and the cuts.
        drops: of each extraction task the files of documents that are dropped whole
            (`search.DROP_SCHEMA`).
        report: content of `contamination.json`; None without benchmarks.
    """

    edits: EditFiles
    drops: tuple[Files, ...]
    report: dict[str, Any] | None


def decontaminate(
    run: RunTasks,
    settings: ContaminationSettings,
    extracted: Extracted,
    edits: EditFiles,
    decisions: Files,
    duplicates: Files,
) -> Contamination:
    """Look for the items of the benchmarks in the documents that are still open.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe; it names benchmarks.
        extracted: the records.
        edits: known so far.
        decisions: of each extraction task; with `duplicates` they say which records are open.
        duplicates: of each extraction task, as `decisions`.
    """
    if not settings.benchmarks:
        return Contamination(edits, ((),) * len(extracted.documents), None)
    partitions = extracted.partitions()
    index = run([index_task(settings)])[0]
    index_files = tuple(index.file(name) for name in INDEX_FILES)
    mapped = run(
        [
            Task(map_contamination, task,
                 {"documents": documents, "decisions": decisions[task],
                  "duplicates": duplicates[task],
                  "edits": edits.by_task[task], "index": index_files},
                 {"task": task, "partitions": partitions})
            for task, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip
    most = {"maximum_documents": settings.maximum_documents}
    counted = run(reduce_tasks(count_grams, mapped, partitions, most))
    found = run(
        [
            Task(decide_contamination, task,
                 {"hits": result.file("hits.npy"), "documents": extracted.documents[task],
                  "common": outputs(counted, "common.npy"), "index": index_files},
                 {"dropped_items": settings.dropped_items,
                  "dropped_item_share": settings.dropped_item_share})
            for task, result in enumerate(mapped)
        ]
    )  # fmt: skip
    return Contamination(
        edits=edits.plus(outputs(found, "edits.npy")),
        drops=tuple((result.file("drops.parquet"),) for result in found),
        report=contamination_report(settings, index, counted, found),
    )


def index_task(settings: ContaminationSettings) -> Task:
    """The task that reads the test sets.

    Raises:
        RecipeError: a benchmark names a layout that does not exist.
        InputError: a benchmark's data is not there.
    """
    inputs: list[TaskInput] = []
    benchmarks = []
    owners: list[int] = []
    for place, item in enumerate(settings.benchmarks):
        benchmark, files = benchmark_of(item)
        inputs += [TaskInput(path, file_digest(path)) for path in files]
        values = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in vars(benchmark).items()
        }
        benchmarks.append(values)
        owners += [place] * len(files)
    sizes = ("words", "characters", "minimum_words", "minimum_characters")
    return Task(
        index_benchmarks,
        0,
        {"benchmarks": inputs},
        {
            "benchmarks": benchmarks,
            "owners": owners,
            **{name: getattr(settings, name) for name in sizes},
        },
    )


def contamination_report(
    settings: ContaminationSettings,
    index: TaskResult,
    counted: Sequence[TaskResult],
    decided: Sequence[TaskResult],
) -> dict[str, Any]:
    """Content of `contamination.json`: for each benchmark its items, how many are too short to be
    looked for, how many were found, in how many documents, examples, and the places (file and row)
    of all that were found, by which `tongwen evaluate compare` tells them from the clean ones.

    A document with items of two benchmarks counts for both; the sums count it once.
    """
    known = Index([index.directory / name for name in INDEX_FILES])
    items = known.items()
    names, places = items["benchmark"], items["place"]
    numbers = [np.zeros(0, np.uint32)]
    numbers += [np.load(result.directory / "items.npy") for result in decided]
    unique = np.unique(np.concatenate(numbers))
    found = Counter(names.take(unique).to_pylist())
    found_places: dict[str, list[str]] = {}
    for name, place in zip(
        names.take(unique).to_pylist(), places.take(unique).to_pylist(), strict=True
    ):
        found_places.setdefault(name, []).append(place)
    rows = [row for result in decided for row in read_jsonl(result.directory / "found.jsonl")]
    documents = Counter((row["benchmark"], row["decision"]) for row in rows)
    shown = examples_of(rows)
    return {
        "settings": {
            name: getattr(settings, name) for name in vars(settings) if name != "benchmarks"
        },
        "dropped": sum(int(result.manifest.counts["dropped"]) for result in decided),
        "cut": sum(int(result.manifest.counts["cut"]) for result in decided),
        "common_grams": sum(int(result.manifest.counts["grams_common"]) for result in counted),
        "benchmarks": [
            {
                **row,
                "items_found": found[row["benchmark"]],
                "places": sorted(found_places.get(row["benchmark"], [])),
                "documents_dropped": documents[row["benchmark"], "dropped"],
                "documents_cut": documents[row["benchmark"], "cut"],
                "examples": [
                    example for example in shown if example["benchmark"] == row["benchmark"]
                ],
            }
            for row in known.summary()
        ],
    }
