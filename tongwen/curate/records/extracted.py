"""What extraction leaves for all later steps, and the edits they add: values that never change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.flow.task import TaskInput

Files = tuple[TaskInput, ...]
"""Of each extraction task one file, in task order, unless it says otherwise."""

RECORDS_A_PARTITION = 200_000  # hundreds of bytes each with signatures: tens of MB a reduce task
_MOST_PARTITIONS = 1 << 14


@dataclass(frozen=True)
class Extracted:
    """The records of the crawl, by extraction task.

    Attributes:
        documents: `documents.parquet` of each task.
        pages: `pages.parquet` of each task.
        records: of all tasks together.
        sources: names of the sources, in the order of the inputs.
        bad_files: `path`, `kind` and `hint` of each file that could not be read to its end.
    """

    documents: Files
    pages: Files
    records: int
    sources: tuple[str, ...]
    bad_files: tuple[dict[str, Any], ...] = ()

    def partitions(self, records_each: int = RECORDS_A_PARTITION) -> int:
        """Into how many partitions an exchange over all records goes."""
        return min(_MOST_PARTITIONS, 1 + self.records // records_each)


@dataclass(frozen=True)
class EditFiles:
    """Of each extraction task the files with edits of its records, so far."""

    by_task: tuple[Files, ...]

    @classmethod
    def none(cls, tasks: int) -> "EditFiles":
        return cls(((),) * tasks)

    def plus(self, files: Sequence[TaskInput]) -> "EditFiles":
        """With one more file for each task."""
        pairs = zip(self.by_task, files, strict=True)
        return EditFiles(tuple((*known, file) for known, file in pairs))

    def plus_shared(self, files: Sequence[TaskInput]) -> "EditFiles":
        """With files that hold edits of any task's records."""
        return EditFiles(tuple((*known, *files) for known in self.by_task))
