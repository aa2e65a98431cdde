"""The steps of decontamination, planned (see `decontaminate`)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tongwen.curate.contamination.index import INDEX_FILES
from tongwen.curate.contamination.search import contamination_report, index_task
from tongwen.curate.contamination.settings import ContaminationSettings
from tongwen.flow.runner import TaskResult, exchange
from tongwen.flow.task import Task, TaskInput


class Contamination(NamedTuple):
    """What was found.

    Attributes:
        edits: of each extraction task the cuts.
        drops: of each the documents that are dropped whole, `decontaminate.DROP_SCHEMA`.
        report: content of `contamination.json`.
    """

    edits: list[TaskInput]
    drops: list[TaskInput]
    report: dict[str, Any]


def find_contamination(
    run: Callable[[Sequence[Task]], list[TaskResult]],
    settings: ContaminationSettings,
    documents: Sequence[TaskInput],
    decided: Sequence[tuple[TaskInput, TaskInput]],
    edits: Sequence[Sequence[TaskInput]],
    partitions: int,
) -> Contamination:
    """Look for the items of the benchmarks in the documents that are still there.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe; it names benchmarks.
        documents: of each extraction task.
        decided: of each extraction task its decisions and all duplicates.
        edits: of each extraction task the files known so far.
        partitions: of the n-grams.
    """
    index = run([index_task(settings)])[0]
    index_files = tuple(index.file(name) for name in INDEX_FILES)
    mapped = run(
        [
            Task("contamination-map", task, "tongwen.curate.contamination.search:map_contamination",
                 (file, *decided[task], *edits[task], *index_files),
                 {"task": task, "partitions": partitions, "decisions": 1, "losses": 1,
                  "edits": len(edits[task])})
            for task, file in enumerate(documents)
        ]
    )  # fmt: skip
    counted = run(
        [
            Task("contamination-count", index, "tongwen.curate.contamination.search:count_grams", files,
                 {"maximum_documents": settings.maximum_documents})
            for index, files in enumerate(exchange(mapped, partitions))
        ]
    )  # fmt: skip
    common = tuple(result.file("common.npy") for result in counted)
    found = run(
        [
            Task("contamination-decide", task, "tongwen.curate.contamination.search:decide_contamination",
                 (result.file("hits.npy"), documents[task], *common, *index_files),
                 {"partitions": partitions, "dropped_items": settings.dropped_items,
                  "dropped_item_share": settings.dropped_item_share})
            for task, result in enumerate(mapped)
        ]
    )  # fmt: skip
    return Contamination(
        edits=[result.file("edits.npy") for result in found],
        drops=[result.file("drops.parquet") for result in found],
        report=contamination_report(settings, index, counted, found),
    )
