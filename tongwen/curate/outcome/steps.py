"""The last step: documents that stay, attributes with every decision."""

from collections.abc import Sequence

from tongwen.curate.duplicates.steps import Duplicates
from tongwen.curate.outcome.materialize import materialize_records
from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.curate.rules.steps import decision_parameters
from tongwen.curate.settings import CurateSettings
from tongwen.flow.runner import RunTasks, TaskResult
from tongwen.flow.task import Task


def materialize(
    run: RunTasks,
    settings: CurateSettings,
    extracted: Extracted,
    *,
    attributes: Sequence[Files],
    decisions: Files,
    duplicates: Duplicates,
    edits: EditFiles,
    drops: Sequence[Files],
) -> list[TaskResult]:
    """Results with documents, attributes, funnel, histograms and rejects of each extraction task.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        extracted: the records.
        attributes: of each extraction task the tables with a row for each record.
        decisions: of the rules.
        duplicates: who was dropped for whom.
        edits: all of them, personal data included.
        drops: of each extraction task the files of contaminated records.
    """
    parameters = {
        "similarity": settings.duplicates.similarity,
        "reject_samples": settings.reject_samples,
        "rules": decision_parameters(settings),
        "repeats": {
            name: getattr(settings.repeats, name)
            for name in ("maximum_repeated_share", "minimum_remaining_characters")
        },
    }
    return run(
        [
            Task(
                materialize_records,
                index,
                {
                    "documents": documents,
                    "decisions": decisions[index],
                    "duplicates": duplicates.lost[index],
                    "copies": duplicates.copies[index],
                    "attributes": attributes[index],
                    "drops": drops[index],
                    "edits": edits.by_task[index],
                },
                {"task": index, **parameters},
            )
            for index, documents in enumerate(extracted.documents)
        ]
    )
