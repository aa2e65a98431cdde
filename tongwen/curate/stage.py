"""Stage: curate. Raw records to clean documents, with a reason for every one dropped.

Each step is a set of tasks that depend only on the settings they use: another threshold decides
again but extracts nothing again.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongwen.curate.contamination.benchmarks import benchmark_of
from tongwen.curate.contamination.steps import decontaminate
from tongwen.curate.duplicates.steps import deduplicate
from tongwen.curate.extract.steps import extract
from tongwen.curate.mix.steps import mix_documents, with_cluster_weights
from tongwen.curate.outcome.funnel import funnel
from tongwen.curate.outcome.histograms import merged_histograms
from tongwen.curate.outcome.materialize import merged_rejects
from tongwen.curate.outcome.score import GOLD_PAGES, gold_score
from tongwen.curate.outcome.steps import materialize
from tongwen.curate.own.steps import OwnMeasured, choose_own, measure_own, own_files
from tongwen.curate.records.extracted import EditFiles, Extracted
from tongwen.curate.records.sources import Source, read_sources
from tongwen.curate.repeats.steps import cut_paragraphs, cut_spans, cut_templates
from tongwen.curate.rules.steps import decide, decision_parameters, measure
from tongwen.curate.scorers.folder import DESCRIPTION, open_folder
from tongwen.curate.scorers.steps import choose_scorers, score
from tongwen.curate.settings import CurateSettings
from tongwen.curate.trials import trials
from tongwen.files import (
    disk_errors,
    read_json,
    read_jsonl,
    remove_tree,
    sync_directory,
    write_json,
    write_jsonl,
)
from tongwen.flow.runner import TaskResult
from tongwen.flow.stage import StageContext
from tongwen.flow.store import StorePath
from tongwen.flow.task import Task
from tongwen.kernels import compile_once


def run(context: StageContext[CurateSettings]) -> Mapping[str, float]:
    """Run all steps; publish documents, attributes, `funnel.json`, `histograms.json` and
    `rejects.jsonl`.

    `cost.json` has time and memory of each step. Where the crawl has gold labels, `score.json`
    says how well they were met.

    Raises:
        InputError: a scorer is damaged, or there are labels of clusters without their scorer.
        RecipeError: a rule needs a scorer that is not named.
    """
    settings = context.settings
    sources = read_sources(context.inputs["crawl"])
    scorers = choose_scorers(settings, context.resolve)
    own = choose_own(settings)
    scorer_folders = [context.resolve(path) for path in settings.scorers]
    compile_once(trials(settings, scorer_folders), context.progress)
    costs = _Costs(context)
    run = costs.run

    extracted = extract(run, settings, sources, context.resolve)
    edits = EditFiles.none(len(extracted.documents))
    edits = cut_templates(run, settings.repeats, extracted, edits)
    measured = measure(run, extracted, edits, replace_personal_data=settings.replace_personal_data)
    scores = score(run, scorers, extracted, edits)
    others = measure_own(run, own, settings.allowed_failure_share, extracted, edits)
    tables = (
        extracted.pages, measured.values, *([] if scores is None else [scores]), *others.tables
    )  # fmt: skip
    attributes = tuple(zip(*tables, strict=True))
    decisions = decide(run, settings, attributes, scorers.dropped_clusters)
    duplicates = deduplicate(run, settings.duplicates, extracted, edits, decisions)
    edits = cut_paragraphs(run, settings.repeats, extracted, edits, decisions, duplicates.lost)
    edits = cut_spans(run, settings.repeats, extracted, edits, decisions, duplicates.lost)
    contamination = decontaminate(
        run, settings.contamination, extracted, edits, decisions, duplicates.lost
    )
    finished = materialize(
        run,
        settings,
        extracted,
        attributes=attributes,
        decisions=decisions,
        duplicates=duplicates,
        edits=contamination.edits.plus(measured.personal),
        drops=contamination.drops,
    )
    documents, mix = finished, None
    if settings.mix is not None:
        mix_settings = with_cluster_weights(settings.mix, scorers.cluster_weights)
        documents, mix = mix_documents(run, mix_settings, finished)

    counts = _publish(context, settings, finished, documents)
    for name, report in (("contamination.json", contamination.report), ("mix.json", mix)):
        (context.out / name).unlink(missing_ok=True)  # of a run with other settings
        if report is not None:
            write_json(context.out / name, report)
    _publish_failures(context, others)
    _publish_bad_files(context, extracted)
    write_json(context.out / "cost.json", costs.report(sources))
    return counts


class _Costs:
    """Runs the tasks of steps, and adds up what each took."""

    def __init__(self, context: StageContext[CurateSettings]) -> None:
        self._runner, self._out = context.runner, context.out / "tasks"
        self._steps: dict[str, dict[str, Any]] = {}

    def run(self, tasks: Sequence[Task]) -> list[TaskResult]:
        results = self._runner.run(tasks, self._out)
        for result in results:
            cost = self._steps.setdefault(
                result.task.step, {"tasks": 0, "seconds": 0.0, "peak_memory_bytes": 0}
            )
            manifest = result.manifest
            cost["tasks"] += 1
            cost["seconds"] += manifest.seconds
            cost["peak_memory_bytes"] = max(cost["peak_memory_bytes"], manifest.peak_memory_bytes)
        return results

    def report(self, sources: Sequence[Source]) -> dict[str, Any]:
        """Content of `cost.json`: of each step, also of one that was done before, seconds of one
        worker and the largest worker. `crawl_bytes` is what was read, as it is on disk.
        """
        return {
            "crawl_bytes": sum(source.bytes for source in sources),
            "worker_seconds": sum(step["seconds"] for step in self._steps.values()),
            "steps": self._steps,
        }


def _publish(
    context: StageContext[CurateSettings],
    settings: CurateSettings,
    finished: Sequence[TaskResult],
    documents: Sequence[TaskResult],
) -> Mapping[str, float]:
    """Give the outputs of the last steps their names in the stage's folder; count."""
    for kind, results in (("documents", documents), ("attributes", finished)):
        folder = context.out / kind
        with disk_errors(folder):
            remove_tree(folder)
            folder.mkdir(parents=True)
            for index, result in enumerate(results):
                _link(result.directory / f"{kind}.parquet", folder / f"part-{index:05d}.parquet")
            sync_directory(folder)
    whole = funnel(
        part for result in finished for part in read_json(result.directory / "funnel.json")
    )
    write_json(context.out / "funnel.json", whole)
    write_json(
        context.out / "histograms.json",
        merged_histograms(read_json(result.directory / "histograms.json") for result in finished),
    )
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
        scores = gold_score(context.out, gold, decision_parameters(settings))
        write_json(context.out / "score.json", scores)
        counts["good_kept_share"] = scores["good"]["kept_share"]
    return counts


def _publish_failures(context: StageContext[CurateSettings], others: OwnMeasured) -> None:
    """List the documents that the user's own code failed on, and say how many they are."""
    path = context.out / "failures.jsonl"
    path.unlink(missing_ok=True)
    if others.failures:
        write_jsonl(path, (row for file in others.failures for row in read_jsonl(file.path)))
    for name, number in sorted(others.failed.items()):
        if number:
            context.progress.say(
                f"  {name} failed on {number:,} documents, which have no value of it; see {path}"
            )


def _publish_bad_files(context: StageContext[CurateSettings], extracted: Extracted) -> None:
    """List the files that could not be read to their end, and name the first."""
    path = context.out / "bad_files.jsonl"
    path.unlink(missing_ok=True)
    if extracted.bad_files:
        write_jsonl(path, list(extracted.bad_files))
        named = "; ".join(f"{file['path']} ({file['kind']})" for file in extracted.bad_files[:3])
        number = len(extracted.bad_files)
        context.progress.say(f"  {number:,} files could not be read whole: {named}; see {path}")


def _link(source: Path, target: Path) -> None:
    """A second name for a finished file, or a copy where the file system has no links.

    What is on a store is fetched to its place.
    """
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    store = source.store() if isinstance(source, StorePath) else None
    try:
        if store is not None:
            store.get(source, partial)
        else:
            os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)


def files(settings: CurateSettings) -> list[Path]:
    """The user's own files that the stage reads: benchmarks, scorers, labels of clusters, code."""
    benchmarks = settings.contamination.benchmarks
    scorers = [open_folder(Path(path)).path / DESCRIPTION for path in settings.scorers]
    labels = [Path(settings.cluster_labels)] if settings.cluster_labels else []
    own = own_files(settings)
    return [
        *(path for item in benchmarks for path in benchmark_of(item)[1]), *scorers, *labels, *own
    ]  # fmt: skip
