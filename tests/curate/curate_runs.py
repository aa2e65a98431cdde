"""A crawl folder out of a few texts, and what a run of the curate stage leaves."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tongwen.files import file_digest, remove_tree, write_jsonl
from tongwen.flow.local import TASK_MANIFEST, LocalRunner, TaskResult
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.task import Task, TaskContext


@dataclass
class InlineRunner(LocalRunner):
    """Runs every task in this process, in reverse order, and remembers which ran."""

    ran: list[str] = field(default_factory=list)

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        results = []
        for task in reversed(tasks):
            directory = out / task.name
            manifest = Manifest.read(directory / TASK_MANIFEST)
            if manifest is None or manifest.digest != task.digest:
                remove_tree(directory)
                directory.mkdir(parents=True)
                counts = task.function(TaskContext(task, directory, frozenset(), None))
                manifest = Manifest(
                    digest=task.digest, outputs=describe_outputs(directory), counts=dict(counts)
                )
                manifest.write(directory / TASK_MANIFEST)
                self.ran.append(task.name)
            results.append(TaskResult(task, directory, manifest))
        return results[::-1]


class Curated:
    """The outputs of one run of the stage."""

    def __init__(self, folder: Path, counts: Mapping[str, float], ran: list[str]) -> None:
        self.folder = folder
        self.counts = counts
        self.ran = ran

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [
            row
            for path in sorted((self.folder / kind).glob("part-*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def by_url(self) -> dict[str, dict[str, Any]]:
        return {row["url"]: row for row in self.rows("attributes")}


def write_crawl(folder: Path, files: Mapping[str, Sequence[str]]) -> Path:
    """A crawl folder with one JSONL file of texts for each name, in this order."""
    inputs = []
    for name, texts in files.items():
        path = folder / f"{name}.jsonl"
        write_jsonl(path, [{"text": text} for text in texts])
        inputs.append(
            {"path": path.name, "format": "jsonl", "bytes": path.stat().st_size,
             "digest": file_digest(path), "source": name, "license": "CC0-1.0",
             "text_field": "text"}
        )  # fmt: skip
    write_jsonl(folder / "inputs.jsonl", inputs)
    return folder


CurateFunction = Callable[..., Curated]
