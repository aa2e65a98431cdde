"""Stage: curate. Raw records to clean documents, with a reason for every one dropped.

Each step is a set of tasks that depend on no more settings than they use: another threshold decides
again but extracts nothing again.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tongwen.curate.contamination.benchmarks import benchmark_of
from tongwen.curate.outcome.funnel import funnel
from tongwen.curate.outcome.histograms import merged_histograms
from tongwen.curate.outcome.materialize import merged_rejects
from tongwen.curate.outcome.score import GOLD_PAGES, score
from tongwen.curate.records.sources import read_sources
from tongwen.curate.scorers.folder import DESCRIPTION, open_folder
from tongwen.curate.settings import CurateSettings
from tongwen.curate.steps import Steps
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
from tongwen.kernels import compile_once


def run(context: StageContext[CurateSettings]) -> Mapping[str, float]:
    """Run all steps; publish documents, attributes, `funnel.json`, `histograms.json` and
    `rejects.jsonl`.

    `cost.json` tells time and memory of each step. Where the crawl has gold labels, `score.json`
    says how well they were met.
    """
    settings = context.settings
    steps = Steps(context, settings, read_sources(context.inputs["crawl"]))
    scorers = [context.resolve(path) for path in settings.scorers]
    compile_once(trials(settings, scorers), context.progress)
    steps.extract()
    steps.cut_templates()
    steps.measure()
    steps.score()
    steps.decide()
    steps.deduplicate()
    steps.cut_repeats()
    contamination = steps.decontaminate()
    finished = steps.materialize()
    documents, mix = steps.mix(finished)
    counts = _publish(context, settings, finished, documents)
    for name, report in (("contamination.json", contamination), ("mix.json", mix)):
        (context.out / name).unlink(missing_ok=True)  # of a run with other settings
        if report is not None:
            write_json(context.out / name, report)
    write_json(context.out / "cost.json", steps.cost())
    return counts


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


def files(settings: CurateSettings) -> list[Path]:
    """The user's own files that the stage reads: benchmarks, scorers, labels of clusters."""
    benchmarks = settings.contamination.benchmarks
    scorers = [open_folder(Path(path)).path / DESCRIPTION for path in settings.scorers]
    labels = [Path(settings.cluster_labels)] if settings.cluster_labels else []
    return [*(path for item in benchmarks for path in benchmark_of(item)[1]), *scorers, *labels]
