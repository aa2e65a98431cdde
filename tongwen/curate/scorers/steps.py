"""The step of the user's scorers, and their check before any work."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.curate.names import SCORE_RULES
from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.curate.scorers.clusters import cluster_weights
from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.tasks import score_records, scorer_inputs
from tongwen.curate.settings import CurateSettings
from tongwen.errors import RecipeError
from tongwen.flow.runner import RunTasks, outputs
from tongwen.flow.task import Task


@dataclass(frozen=True)
class ChosenScorers:
    """The scorers that the recipe names.

    Attributes:
        descriptions: `scorer.json` of each, with the folder's digest.
        cluster_weights: that the user's labels give to clusters.
    """

    descriptions: Files
    cluster_weights: Mapping[int, float]

    @property
    def dropped_clusters(self) -> list[int]:
        return [cluster for cluster, weight in self.cluster_weights.items() if not weight]


def choose_scorers(settings: CurateSettings, resolve: Callable[[str], Path]) -> ChosenScorers:
    """Open the scorers' folders and check them against the rules.

    Raises:
        InputError: a scorer is damaged, or there are labels of clusters without their scorer.
        RecipeError: a rule needs a scorer that is not named.
        UsageError: two scorers are of one kind.
    """
    paths = [resolve(path) for path in settings.scorers]
    folders = [open_folder(path) for path in paths]
    _check_score_rules(settings, {folder.kind for folder in folders})
    weights = cluster_weights(folders, settings.cluster_labels, resolve)
    return ChosenScorers(tuple(scorer_inputs(paths)), weights)


def _check_score_rules(settings: CurateSettings, kinds: Collection[str]) -> None:
    for section in ("english", "chinese"):
        for name, kind in SCORE_RULES.items():
            if getattr(getattr(settings, section), name) and kind not in kinds:
                raise RecipeError(
                    f"curate.{section}.{name} needs a {kind} scorer; curate.scorers has "
                    + ", ".join(sorted(kinds)),
                    hint=f"train one with `tongwen curate train-scorer {kind}`",
                )


def score(
    run: RunTasks, scorers: ChosenScorers, extracted: Extracted, edits: EditFiles
) -> Files | None:
    """The values of the scorers, `scores.parquet` of each task; None without scorers."""
    if not scorers.descriptions:
        return None
    digests = [item.digest for item in scorers.descriptions]
    results = run(
        [
            Task(score_records, index,
                 {"documents": documents, "scorers": scorers.descriptions,
                  "edits": edits.by_task[index]},
                 {"task": index, "scorers": digests})
            for index, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip
    return outputs(results, "scores.parquet")
