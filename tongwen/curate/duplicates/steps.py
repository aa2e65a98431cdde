"""The steps of deduplication: equal addresses, equal texts, then near duplicates (see `near`)."""

from collections.abc import Sequence

from tongwen.curate.duplicates.clusters import cluster
from tongwen.curate.duplicates.exact import group_exact, lose_exact, map_exact
from tongwen.curate.duplicates.fingerprints import fingerprint_records
from tongwen.curate.duplicates.near import map_bands, pair_bands, sign_pairs, verify_pairs
from tongwen.curate.records.extracted import (
    RECORDS_A_PARTITION,
    EditFiles,
    Extracted,
    Files,
)
from tongwen.curate.settings import DuplicateSettings
from tongwen.flow.exchange import PARTS
from tongwen.flow.runner import RunTasks, TaskResult, outputs, reduce_tasks
from tongwen.flow.task import Task, TaskInput

LEAST_SIMILARITY = 0.5
"""Links are kept from here on, so that another threshold above it only clusters again."""


def deduplicate(
    run: RunTasks,
    settings: DuplicateSettings,
    extracted: Extracted,
    edits: EditFiles,
    decisions: Files,
) -> TaskInput:
    """`duplicates.parquet` (`exact.DUPLICATE_SCHEMA`): who was dropped for whom, of all tasks."""
    fingerprints = _fingerprint(run, settings, extracted, edits)
    partitions = extracted.partitions()
    lost = _exact_losses(run, settings, decisions, fingerprints, partitions)
    links: Files = ()
    if settings.similarity is not None:
        links = near_links(
            run, settings, decisions, fingerprints, lost,
            partitions=partitions, records_a_block=RECORDS_A_PARTITION,
        )  # fmt: skip
    task = Task(
        cluster,
        0,
        {"losses": lost, "links": links, "fingerprints": outputs(fingerprints, "fingerprints.npy")},
        {"hashes": settings.bands * settings.rows, "similarity": settings.similarity},
    )
    return run([task])[0].file("duplicates.parquet")


def _fingerprint(
    run: RunTasks, settings: DuplicateSettings, extracted: Extracted, edits: EditFiles
) -> list[TaskResult]:
    parameters = {
        "sources": list(extracted.sources),
        "bands": settings.bands,
        "rows": settings.rows,
        "seed": settings.seed,
        "shingle_words": settings.shingle_words,
        "shingle_characters": settings.shingle_characters,
    }
    return run(
        [
            Task(fingerprint_records, index,
                 {"documents": documents, "edits": edits.by_task[index]},
                 {"task": index, **parameters})
            for index, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip


def _exact_losses(
    run: RunTasks,
    settings: DuplicateSettings,
    decisions: Files,
    fingerprints: Sequence[TaskResult],
    partitions: int,
) -> TaskInput:
    """Who loses to whom by address and by text."""
    mapped = run(
        [
            Task(map_exact, index,
                 {"decisions": decisions[index], "fingerprints": result.file("fingerprints.npy")},
                 {"task": index, "partitions": partitions, "same_url": settings.same_url,
                  "same_text": settings.same_text})
            for index, result in enumerate(fingerprints)
        ]
    )  # fmt: skip
    grouped = run(reduce_tasks(group_exact, mapped, partitions))
    task = Task(lose_exact, 0, {"groups": outputs(grouped, "groups.npy")})
    return run([task])[0].file("losses.npy")


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
) -> Files:
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
    signatures = outputs(fingerprints, "signatures.bin")
    counts = [int(result.manifest.counts["records"]) for result in fingerprints]
    starts = block_starts(counts, records_a_block)
    blocks = [
        {"signatures": signatures[start:end]}
        for start, end in zip(starts, [*starts[1:], len(signatures)], strict=True)
    ]
    banded = run(
        [
            Task(map_bands, index,
                 {"decisions": decisions[index], "fingerprints": result.file("fingerprints.npy"),
                  "signatures": signatures[index], "losses": lost},
                 {"task": index, "partitions": partitions, "bands": settings.bands,
                  "rows": settings.rows})
            for index, result in enumerate(fingerprints)
        ]
    )  # fmt: skip
    paired = run(reduce_tasks(pair_bands, banded, partitions, {"blocks": starts}))
    hashes = settings.bands * settings.rows
    signed = run(
        [
            Task(sign_pairs, index, {"parts": outputs(paired, PARTS), **block},
                 {"partition": index, "first_task": starts[index], "hashes": hashes,
                  "blocks": starts})
            for index, block in enumerate(blocks)
        ]
    )  # fmt: skip
    least = min(settings.similarity, LEAST_SIMILARITY)
    verified = run(
        [
            Task(verify_pairs, index, {"parts": outputs(signed, PARTS), **block},
                 {"partition": index, "first_task": starts[index], "hashes": hashes,
                  "least_similarity": least})
            for index, block in enumerate(blocks)
        ]
    )  # fmt: skip
    return outputs(verified, "links.npy")
