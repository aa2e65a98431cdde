"""The steps of the rules: measure every text, hold the thresholds against the values."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.curate.rules.attributes import measure_records
from tongwen.curate.rules.decide import OWN_STAGES, decide_records
from tongwen.curate.settings import CurateSettings
from tongwen.flow.runner import RunTasks, outputs
from tongwen.flow.task import Task


@dataclass(frozen=True)
class Measured:
    """What was measured on the texts.

    Attributes:
        values: `measures.parquet` of each task.
        personal: edits that replace personal data.
    """

    values: Files
    personal: Files


def measure(
    run: RunTasks, extracted: Extracted, edits: EditFiles, *, replace_personal_data: bool
) -> Measured:
    """The values that rules look at, and where personal data is."""
    results = run(
        [
            Task(
                measure_records, index,
                {"documents": documents, "pages": pages, "edits": edits.by_task[index]},
                {"task": index, "personal": replace_personal_data},
            )
            for index, (documents, pages) in enumerate(
                zip(extracted.documents, extracted.pages, strict=True)
            )
        ]
    )  # fmt: skip
    return Measured(outputs(results, "measures.parquet"), outputs(results, "edits.npy"))


def decide(
    run: RunTasks,
    settings: CurateSettings,
    attributes: Sequence[Files],
    dropped_clusters: Collection[int],
) -> Files:
    """Hold the thresholds against the attributes: `decisions.parquet` of each task.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        attributes: of each extraction task the tables with a row for each record.
        dropped_clusters: that the user has labelled to be dropped.
    """
    parameters = {
        **decision_parameters(settings),
        "dropped_clusters": sorted(dropped_clusters),
    }
    results = run(
        [
            Task(decide_records, index, {"attributes": files}, parameters)
            for index, files in enumerate(attributes)
        ]
    )
    return outputs(results, "decisions.parquet")


def decision_parameters(settings: CurateSettings) -> dict[str, Any]:
    """The settings that decisions before deduplication depend on, as JSON values."""
    return {
        "languages": list(settings.languages),
        "minimum_language_confidence": settings.minimum_language_confidence,
        "rules_for_texts": settings.rules_for_texts,
        "weak_rules": settings.weak_rules,
        **{name: vars(getattr(settings, name)) for name in ("english", "chinese", "code", "texts")},
        **{
            section: {
                name: {"minimum": item.minimum, "maximum": item.maximum}
                for name, item in getattr(settings, section).items()
            }
            for section in OWN_STAGES
        },
    }
