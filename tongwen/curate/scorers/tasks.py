"""The flow task that scores the records of one extraction task."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tongwen.curate.records.edits import edited_documents
from tongwen.curate.records.tables import RowWriter
from tongwen.curate.scorers.folder import DESCRIPTION, open_folder, refuse_twins
from tongwen.curate.scorers.scoring import SCORE_SCHEMA, Scorers
from tongwen.errors import InputError
from tongwen.flow.task import TaskContext, TaskInput, step


def scorer_inputs(paths: Sequence[Path]) -> list[TaskInput]:
    """The inputs that stand for scorers' folders: `scorer.json` of each, with the folder's digest,
    so that a folder can move to another place without being another scorer.

    Raises:
        InputError: a folder is none, or damaged.
        UsageError: two are of one kind.
    """
    folders = [open_folder(path) for path in paths]
    refuse_twins(folders)
    return [TaskInput(folder.path / DESCRIPTION, folder.digest) for folder in folders]


@step("score", inputs=("documents", "scorers", "edits"))
def score_records(context: TaskContext) -> Mapping[str, int]:
    """Score the texts of one extraction task as the edits known so far leave them.

    The input `scorers` is the `scorer.json` of every scorer; `params["scorers"]` is the list of
    their digests, `params["task"]` the number of the extraction task. Writes `scores.parquet`
    (`SCORE_SCHEMA`), a row for every record in order.

    Raises:
        InputError: a scorer is damaged, or another one than when the run was planned.
    """
    digests = context.params["scorers"]
    folders = [open_folder(path.parent) for path in context.inputs["scorers"]]
    for folder, digest in zip(folders, digests, strict=True):
        if folder.digest != digest:
            raise InputError(
                f"the scorer {folder.path} has changed since the run was planned",
                hint="start the stage again",
            )
    scorers = Scorers(folders)
    records = scored = characters = 0
    with RowWriter(context.out / "scores.parquet", SCORE_SCHEMA) as writer:
        for _, document, edited in edited_documents(
            context.file("documents"), context.inputs["edits"], context.params["task"], ["lang"]
        ):
            values = scorers.score(edited.text, document["lang"])
            records += 1
            scored += bool(values)
            characters += len(edited.text) if values else 0
            writer.add(values)
    return {"records": records, "scored_records": scored, "scored_characters": characters}
