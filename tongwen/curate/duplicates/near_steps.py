"""The steps that find near duplicates, planned (see `near` for what each does)."""

from collections.abc import Callable, Sequence

from tongwen.curate.settings import DuplicateSettings
from tongwen.flow.runner import TaskResult, exchange
from tongwen.flow.task import Task, TaskInput

LEAST_SIMILARITY = 0.5
"""Links are kept from here on, so that another threshold above it only clusters again."""

RunTasks = Callable[[Sequence[Task]], list[TaskResult]]


def block_starts(record_counts: Sequence[int], records_a_block: int) -> list[int]:
    """The first task of each block: consecutive tasks with about so many records, or one task."""
    starts: list[int] = []
    records = 0
    for task, count in enumerate(record_counts):
        if not starts or records + count > records_a_block:
            starts.append(task)
            records = 0
        records += count
    return starts


def near_links(
    run: RunTasks,
    settings: DuplicateSettings,
    decisions: Sequence[TaskInput],
    fingerprints: Sequence[TaskResult],
    lost: TaskInput,
    *,
    partitions: int,
    records_a_block: int,
) -> list[TaskInput]:
    """Files of verified links among the records that are open and did not lose as exact duplicates.

    Args:
        run: runs the tasks of one step.
        settings: `similarity` is not None.
        decisions: of each extraction task.
        fingerprints: results of the `fingerprint` step, one for each extraction task.
        lost: the losses of exact duplicates.
        partitions: of the band keys.
        records_a_block: bounds the memory of the last two steps, at 4 bytes a hash.
    """
    assert settings.similarity is not None
    hashes = settings.bands * settings.rows
    signatures = [result.file("signatures.bin") for result in fingerprints]
    counts = [int(result.manifest.counts["records"]) for result in fingerprints]
    starts = block_starts(counts, records_a_block)
    ends = [*starts[1:], len(fingerprints)]
    banded = run(
        [
            Task("band-map", index, "tongwen.curate.duplicates.near:map_bands",
                 (decisions[index], result.file("fingerprints.npy"), signatures[index], lost),
                 {"task": index, "partitions": partitions, "bands": settings.bands,
                  "rows": settings.rows})
            for index, result in enumerate(fingerprints)
        ]
    )  # fmt: skip
    paired = run(
        [
            Task(
                "band-pair",
                index,
                "tongwen.curate.duplicates.near:pair_bands",
                files,
                {"blocks": starts},
            )
            for index, files in enumerate(exchange(banded, partitions))
        ]
    )

    def of_blocks(
        step: str, function: str, results: Sequence[TaskResult], more: dict[str, object]
    ) -> list[Task]:
        return [
            Task(step, index, f"tongwen.curate.duplicates.near:{function}",
                 (*files, *signatures[starts[index] : ends[index]]),
                 {"pair_files": len(files), "first_task": starts[index], "hashes": hashes, **more})
            for index, files in enumerate(exchange(results, len(starts)))
        ]  # fmt: skip

    signed = run(of_blocks("pair-sign", "sign_pairs", paired, {"blocks": starts}))
    least = min(settings.similarity, LEAST_SIMILARITY)
    verified = run(of_blocks("pair-verify", "verify_pairs", signed, {"least_similarity": least}))
    return [result.file("links.npy") for result in verified]
