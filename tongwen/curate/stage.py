"""Stage: curate. Raw records to clean documents, with a reason for every one dropped.

Each step is a set of tasks that depend on no more settings than they use: another threshold decides
again but extracts nothing again.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tongwen.curate.funnel import funnel
from tongwen.curate.materialize import merged_rejects
from tongwen.curate.rules import decision_parameters
from tongwen.curate.score import GOLD_PAGES, score
from tongwen.curate.settings import CurateSettings, DuplicateSettings
from tongwen.errors import InputError
from tongwen.files import (
    disk_errors,
    file_digest,
    read_json,
    read_jsonl,
    remove_tree,
    sync_directory,
    write_json,
    write_jsonl,
)
from tongwen.flow.local import TaskResult, exchange
from tongwen.flow.stage import StageContext
from tongwen.flow.task import Task, TaskInput

_RECORDS_A_PARTITION = 200_000
_MOST_PARTITIONS = 1_024


@dataclass(frozen=True)
class _Source:
    """One row of the crawl's `inputs.jsonl`, its path made whole."""

    path: Path
    bytes: int
    digest: str
    format: str
    source: str
    license: str
    text_field: str


def run(context: StageContext) -> Mapping[str, float]:
    """Run all steps; publish documents, attributes, `funnel.json` and `rejects.jsonl`.

    Where the crawl has gold labels, `score.json` says how well they were met.
    """
    settings = context.recipe.curate
    sources = _sources(context.inputs["crawl"])
    extracted = _extract(context, settings, sources)
    names = list(dict.fromkeys(source.source for source in sources))
    decisions = [
        Task("decide", index, "tongwen.curate.pages:decide_records",
             (result.file("attributes.parquet"),), decision_parameters(settings))
        for index, result in enumerate(extracted)
    ]  # fmt: skip
    fingerprints = _fingerprint_tasks(settings.duplicates, extracted, names)
    both = _run(context, [*decisions, *fingerprints])  # neither waits for the other
    decided, fingerprinted = both[: len(decisions)], both[len(decisions) :]
    duplicates = _deduplicate(context, settings.duplicates, decided, fingerprinted)
    finished = _run(
        context,
        [
            Task(
                "materialize",
                index,
                "tongwen.curate.materialize:materialize",
                (
                    result.file("documents.parquet"),
                    result.file("attributes.parquet"),
                    decided[index].file("decisions.parquet"),
                    duplicates.file("duplicates.parquet"),
                ),
                {
                    "task": index,
                    "similarity": settings.duplicates.similarity,
                    "reject_samples": settings.reject_samples,
                },
            )
            for index, result in enumerate(extracted)
        ],
    )
    return _publish(context, settings, finished)


def _run(context: StageContext, tasks: Sequence[Task]) -> list[TaskResult]:
    return context.runner.run(tasks, context.out / "tasks")


def _sources(crawl: Path) -> list[_Source]:
    """The crawl's list of inputs, in its frozen order. A folder without one is read as WARC files.

    Raises:
        InputError: there is nothing to read, or a listed file is gone.
    """
    listed = crawl / "inputs.jsonl"
    if listed.is_file():
        rows = list(read_jsonl(listed))
    else:
        paths = sorted([*crawl.glob("**/*.warc"), *crawl.glob("**/*.warc.gz")])
        rows = [
            {"path": str(path.relative_to(crawl)), "format": "warc", "bytes": path.stat().st_size,
             "digest": file_digest(path), "source": crawl.name, "license": "", "text_field": "text"}
            for path in paths
        ]  # fmt: skip
    if not rows:
        raise InputError(
            f"{crawl} has no inputs.jsonl and no WARC files",
            hint="make one with `tongwen crawl`, or name a folder of *.warc.gz files",
        )
    sources = [_Source(**{**row, "path": crawl / row["path"]}) for row in rows]
    for source in sources:
        if not source.path.is_file():
            raise InputError(
                f"{source.path} is not there any more", hint="run `tongwen crawl` again"
            )
    return sources


def _extract(
    context: StageContext, settings: CurateSettings, sources: Sequence[_Source]
) -> list[TaskResult]:
    """Group the inputs, in order, to tasks of about `task_bytes`; extract their records."""
    groups: list[list[_Source]] = []
    filled = settings.task_bytes
    for source in sources:
        if filled >= settings.task_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(source)
        filled += source.bytes
    return _run(
        context,
        [
            Task(
                "extract",
                index,
                "tongwen.curate.pages:extract_records",
                tuple(TaskInput(source.path, source.digest) for source in group),
                {
                    "files": [
                        {"name": source.path.name, "format": source.format,
                         "source": source.source, "license": source.license,
                         "text_field": source.text_field}
                        for source in group
                    ],
                    "remove_lines": settings.remove_boilerplate_lines,
                    "replace_personal": settings.replace_personal_data,
                },
            )
            for index, group in enumerate(groups)
        ],
    )  # fmt: skip


def _fingerprint_tasks(
    settings: DuplicateSettings, extracted: Sequence[TaskResult], names: Sequence[str]
) -> list[Task]:
    parameters = {
        "sources": list(names),
        "bands": settings.bands,
        "rows": settings.rows,
        "seed": settings.seed,
        "shingle_words": settings.shingle_words,
        "shingle_characters": settings.shingle_characters,
    }
    return [
        Task("fingerprint", index, "tongwen.curate.pages:fingerprint_records",
             (result.file("documents.parquet"),), parameters)
        for index, result in enumerate(extracted)
    ]  # fmt: skip


def _deduplicate(
    context: StageContext,
    settings: DuplicateSettings,
    decided: Sequence[TaskResult],
    fingerprints: Sequence[TaskResult],
) -> TaskResult:
    """An exchange for equal addresses and texts, then one for near duplicates."""
    records = sum(result.manifest.counts["records"] for result in fingerprints)
    partitions = min(_MOST_PARTITIONS, 1 + int(records) // _RECORDS_A_PARTITION)
    exact = _run(
        context,
        [
            Task("exact-map", index, "tongwen.curate.dedup:map_exact",
                 (decided[index].file("decisions.parquet"), result.file("fingerprints.npy")),
                 {"task": index, "partitions": partitions, "same_url": settings.same_url,
                  "same_text": settings.same_text})
            for index, result in enumerate(fingerprints)
        ],
    )  # fmt: skip
    grouped = _run(
        context,
        [
            Task("exact-group", index, "tongwen.curate.dedup:group_exact", files)
            for index, files in enumerate(exchange(exact, partitions))
        ],
    )
    lost = _run(
        context,
        [
            Task("exact-lose", 0, "tongwen.curate.dedup:lose_exact",
                 tuple(result.file("groups.npy") for result in grouped))
        ],
    )[0].file("losses.npy")  # fmt: skip
    pairs: list[TaskResult] = []
    if settings.similarity is not None:
        pairs = _near_pairs(context, settings, decided, fingerprints, lost, partitions)
    inputs = (
        lost,
        *(result.file("pairs.npy") for result in pairs),
        *(result.file("fingerprints.npy") for result in fingerprints),
        *(result.file("signatures.bin") for result in fingerprints),
    )
    parameters = {
        "tasks": len(fingerprints),
        "partitions": len(pairs),
        "hashes": settings.bands * settings.rows,
        "similarity": settings.similarity,
    }
    return _run(context, [Task("cluster", 0, "tongwen.curate.dedup:cluster", inputs, parameters)])[
        0
    ]


def _near_pairs(
    context: StageContext,
    settings: DuplicateSettings,
    decided: Sequence[TaskResult],
    fingerprints: Sequence[TaskResult],
    lost: TaskInput,
    partitions: int,
) -> list[TaskResult]:
    """Pairs that share a band, one result a partition of the bands' hashes."""
    banded = _run(
        context,
        [
            Task("band-map", index, "tongwen.curate.dedup:map_bands",
                 (decided[index].file("decisions.parquet"), result.file("fingerprints.npy"),
                  result.file("signatures.bin"), lost),
                 {"task": index, "partitions": partitions, "bands": settings.bands,
                  "rows": settings.rows})
            for index, result in enumerate(fingerprints)
        ],
    )  # fmt: skip
    return _run(
        context,
        [
            Task("band-pair", index, "tongwen.curate.dedup:pair_bands", files)
            for index, files in enumerate(exchange(banded, partitions))
        ],
    )


def _publish(
    context: StageContext, settings: CurateSettings, finished: Sequence[TaskResult]
) -> Mapping[str, float]:
    """Give the outputs of the last step their names in the stage's folder; count."""
    for kind in ("documents", "attributes"):
        folder = context.out / kind
        with disk_errors(folder):
            remove_tree(folder)
            folder.mkdir(parents=True)
            for index, result in enumerate(finished):
                _link(result.directory / f"{kind}.parquet", folder / f"part-{index:05d}.parquet")
            sync_directory(folder)
    whole = funnel(
        part for result in finished for part in read_json(result.directory / "funnel.json")
    )
    write_json(context.out / "funnel.json", whole)
    candidates = (
        row for result in finished for row in read_jsonl(result.directory / "rejects.jsonl")
    )
    rejects = merged_rejects(candidates, settings.reject_samples)
    write_jsonl(context.out / "rejects.jsonl", json.loads(json.dumps(rejects)))
    counts: dict[str, float] = {
        "pages": whole["read"]["pages"],
        "kept": sum(row["pages"] for row in whole["kept"]),
        **{
            f"dropped by {stage['stage']}": stage["dropped"]["pages"]
            for stage in whole["stages"]
            if stage["dropped"]["pages"]
        },
    }
    gold = context.inputs["crawl"] / GOLD_PAGES
    if gold.is_file():
        scores = score(context.out, gold)
        write_json(context.out / "score.json", scores)
        counts["good_kept_share"] = scores["good"]["kept_share"]
    return counts


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file, or a copy where the file system has no links."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)
