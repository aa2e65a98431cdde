"""The steps of deduplication: equal addresses, equal texts, then near duplicates (see `near`)."""

from collections.abc import Sequence
from dataclasses import dataclass

from tongwen.curate.duplicates.clusters import choose_kept, mark_members
from tongwen.curate.duplicates.components import (
    CHILDREN,
    CLOSENESS,
    PARENTS,
    large_star,
    list_members,
    map_links,
    small_star,
)
from tongwen.curate.duplicates.exact import lose_exact, map_exact
from tongwen.curate.duplicates.fingerprints import fingerprint_records
from tongwen.curate.duplicates.kept import (
    BY_RECORD,
    follow_losses,
    gather_losses,
    list_duplicates,
)
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
_MOST_ROUNDS = 100  # the stars need about log² n of them (Kiveris et al. 2014): more is a bug
_FOLLOWED = 2  # a record loses by address, text or likeness, so three losses are the longest chain


@dataclass(frozen=True)
class Layout:
    """How records are divided among the tasks of deduplication.

    Attributes:
        partitions: of what goes by a hash.
        starts: the first extraction task of each block of records.
        tasks: number of extraction tasks.
    """

    partitions: int
    starts: tuple[int, ...]
    tasks: int

    @property
    def block_of_task(self) -> list[int]:
        """The block of each extraction task."""
        ends = [*self.starts[1:], self.tasks]
        return [
            block
            for block, (start, end) in enumerate(zip(self.starts, ends, strict=True))
            for _ in range(start, end)
        ]

    def of_block(self, files: Sequence[TaskInput]) -> list[Files]:
        """The files of each block's tasks, in order."""
        ends = [*self.starts[1:], self.tasks]
        return [tuple(files[start:end]) for start, end in zip(self.starts, ends, strict=True)]


@dataclass(frozen=True)
class Duplicates:
    """Who was dropped for whom.

    Attributes:
        lost: `duplicates.parquet` (`exact.DUPLICATE_SCHEMA`) of the block of each extraction task.
        copies: `copies.npy` (`kept.COPIES`) of the same blocks.
    """

    lost: Files
    copies: Files


def deduplicate(
    run: RunTasks,
    settings: DuplicateSettings,
    extracted: Extracted,
    edits: EditFiles,
    decisions: Files,
) -> Duplicates:
    """Find who is dropped for whom."""
    fingerprints = _fingerprint(run, settings, extracted, edits)
    layout = layout_of(fingerprints, extracted.partitions(), RECORDS_A_PARTITION)
    lost = exact_losses(run, settings, decisions, fingerprints, layout)
    near: Files = ()
    if settings.similarity is not None:
        links = near_links(run, settings, decisions, fingerprints, lost, layout)
        near = near_losses(run, settings, links, fingerprints, layout)
    hashes = settings.bands * settings.rows
    return dropped_for(run, (*lost, *near), layout, hashes)


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


def layout_of(fingerprints: Sequence[TaskResult], partitions: int, records_a_block: int) -> Layout:
    """The layout for some extraction tasks, by their numbers of records."""
    counts = [int(result.manifest.counts["records"]) for result in fingerprints]
    return Layout(partitions, tuple(block_starts(counts, records_a_block)), len(counts))


def exact_losses(
    run: RunTasks,
    settings: DuplicateSettings,
    decisions: Sequence[TaskInput],
    fingerprints: Sequence[TaskResult],
    layout: Layout,
) -> Files:
    """Who loses to whom by address, then by text: exchanges by block of the record that loses."""
    lost: Files = ()
    blocks = layout.block_of_task
    keys = [key for key in ("url", "text") if getattr(settings, f"same_{key}")]
    for turn, key in enumerate(keys):
        mapped = run(
            [
                Task(map_exact, index,
                     {"decisions": decisions[index],
                      "fingerprints": result.file("fingerprints.npy"), "lost": lost},
                     {"task": index, "block": blocks[index], "key": key,
                      "partitions": layout.partitions}, turn=turn)
                for index, result in enumerate(fingerprints)
            ]
        )  # fmt: skip
        parameters = {"key": key, "blocks": list(layout.starts)}
        found = run(reduce_tasks(lose_exact, mapped, layout.partitions, parameters, turn=turn))
        lost = (*lost, *outputs(found, PARTS))
    return lost


def near_links(
    run: RunTasks,
    settings: DuplicateSettings,
    decisions: Sequence[TaskInput],
    fingerprints: Sequence[TaskResult],
    lost: Files,
    layout: Layout,
) -> Files:
    """Files of verified links among the records that are open and did not lose as exact duplicates.

    Args:
        run: runs the tasks of one step.
        settings: `similarity` is not None.
        decisions: of each extraction task.
        fingerprints: results of the `fingerprint` step, one for each extraction task.
        lost: the losses of exact duplicates.
        layout: its blocks bound the memory of the last two steps, at 4 bytes a hash.
    """
    assert settings.similarity is not None
    signatures = outputs(fingerprints, "signatures.bin")
    starts = list(layout.starts)
    blocks = [{"signatures": files} for files in layout.of_block(signatures)]
    block_of_task = layout.block_of_task
    banded = run(
        [
            Task(map_bands, index,
                 {"decisions": decisions[index], "fingerprints": result.file("fingerprints.npy"),
                  "signatures": signatures[index], "lost": lost},
                 {"task": index, "block": block_of_task[index],
                  "partitions": layout.partitions, "bands": settings.bands,
                  "rows": settings.rows})
            for index, result in enumerate(fingerprints)
        ]
    )  # fmt: skip
    paired = run(reduce_tasks(pair_bands, banded, layout.partitions, {"blocks": starts}))
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


def near_losses(
    run: RunTasks,
    settings: DuplicateSettings,
    links: Files,
    fingerprints: Sequence[TaskResult],
    layout: Layout,
) -> Files:
    """Who loses to whom as a near duplicate: exchanges by block of the record that loses."""
    starts, partitions = list(layout.starts), layout.partitions
    shape = {"partitions": partitions, "blocks": starts}
    hashes = settings.bands * settings.rows
    least = {"hashes": hashes, "similarity": settings.similarity}
    mapped = run(
        [Task(map_links, index, {"links": file}, {**least, **shape})
         for index, file in enumerate(links)]
    )  # fmt: skip
    edges = stars(run, mapped, partitions)
    members = run(
        [
            Task(list_members, index, edges, {"partition": index, "blocks": starts})
            for index in range(partitions)
        ]
    )
    by_block = layout.of_block(outputs(fingerprints, "fingerprints.npy"))
    marked = run(
        [
            Task(mark_members, index,
                 {"parts": outputs(members, PARTS), "closeness": outputs(mapped, CLOSENESS),
                  "fingerprints": files},
                 {"partition": index, "first_task": starts[index], "partitions": partitions})
            for index, files in enumerate(by_block)
        ]
    )  # fmt: skip
    chosen = run(reduce_tasks(choose_kept, marked, partitions, {"blocks": starts}))
    return outputs(chosen, PARTS)


def stars(run: RunTasks, mapped: Sequence[TaskResult], partitions: int) -> dict[str, Files]:
    """Edges by child and by parent in which every record has one parent, its component's root."""
    edges = {"children": outputs(mapped, CHILDREN), "parents": outputs(mapped, PARENTS)}
    for turn in range(_MOST_ROUNDS):
        large = run(
            [
                Task(large_star, index, edges, {"partition": index, "partitions": partitions},
                     turn=turn)
                for index in range(partitions)
            ]
        )  # fmt: skip
        if not any(
            result.manifest.counts[name] for result in large for name in ("moved", "several")
        ):
            return edges
        small = run(
            reduce_tasks(small_star, large, partitions, {"partitions": partitions}, turn=turn)
        )
        edges = {"children": outputs(small, CHILDREN), "parents": outputs(small, PARENTS)}
    raise AssertionError(f"components are not found after {_MOST_ROUNDS} rounds")


def dropped_for(run: RunTasks, losses: Files, layout: Layout, hashes: int) -> Duplicates:
    """Who was dropped for whom in the end.

    Args:
        run: runs the tasks of one step.
        losses: exchanges by block of the record that loses.
        layout: of the records.
        hashes: of a signature.
    """
    starts = list(layout.starts)
    number = len(starts)
    blocks = {"blocks": starts}
    gathered = run(
        [
            Task(gather_losses, index, {"parts": losses}, {"partition": index, **blocks})
            for index in range(number)
        ]
    )
    followed = gathered
    for turn in range(_FOLLOWED):
        parts = outputs(followed, PARTS)
        followed = run(
            [
                Task(follow_losses, index, {"losses": result.file("losses.npy"), "parts": parts},
                     {"partition": index, **blocks}, turn=turn)
                for index, result in enumerate(gathered)
            ]
        )  # fmt: skip
    ends = {"lost": outputs(followed, BY_RECORD), "kept": outputs(followed, PARTS)}
    listed = run(
        [
            Task(list_duplicates, index, ends, {"partition": index, "hashes": hashes})
            for index in range(number)
        ]
    )
    lost, copies = (outputs(listed, name) for name in ("duplicates.parquet", "copies.npy"))
    of_task = layout.block_of_task
    return Duplicates(
        tuple(lost[block] for block in of_task), tuple(copies[block] for block in of_task)
    )
