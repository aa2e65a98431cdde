"""The steps about repeated pieces run over a few texts, in any grouping to tasks."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.duplicates.exact import DUPLICATE_SCHEMA
from tongwen.curate.records.edits import apply, edits_between, tidy
from tongwen.curate.records.numbering import record_numbers
from tongwen.curate.rules.decide import DECISION_SCHEMA
from tongwen.flow.task import Task, TaskContext, TaskInput, resolve_function
from tongwen.formats.documents import DOCUMENT_SCHEMA

SOURCES = ("first", "second")


def document(text: str, lang: str = "en", host: str = "", source: str = "first") -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    row |= {"text": text, "lang": lang, "host": host, "source": source, "warc_offset": 0}
    row["doc_id"] = hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:32]
    return row


class Pieces:
    """Documents grouped to tasks, and the steps over them."""

    def __init__(
        self,
        folder: Path,
        groups: Sequence[Sequence[Mapping[str, Any]]],
        dropped: Sequence[tuple[int, int]] = (),
        duplicates: Sequence[tuple[int, int]] = (),
        texts: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.folder, self.groups = folder, groups
        self.counts: dict[str, int] = {}
        self.edits: list[Path] = []
        for task, rows in enumerate(groups):
            home = folder / f"in-{task}"
            home.mkdir(parents=True)
            pq.write_table(
                pa.Table.from_pylist(list(rows), DOCUMENT_SCHEMA), home / "documents.parquet"
            )
            decisions = [
                dict.fromkeys(DECISION_SCHEMA.names)
                | ({"drop_stage": "rules"} if (task, row) in dropped else {})
                for row in range(len(rows))
            ]
            pq.write_table(
                pa.Table.from_pylist(decisions, DECISION_SCHEMA), home / "decisions.parquet"
            )
            about = pa.table(
                {
                    "is_text": pa.array([(task, row) in texts for row in range(len(rows))]),
                    "problem": pa.array([None] * len(rows), pa.string()),
                }
            )
            pq.write_table(about, home / "pages.parquet")
        lost = sorted(int(record_numbers(task, np.array([row]))[0]) for task, row in duplicates)
        table = {name: [None] * len(lost) for name in DUPLICATE_SCHEMA.names} | {"record": lost}
        pq.write_table(pa.table(table, DUPLICATE_SCHEMA), folder / "duplicates.parquet")

    def run(
        self, step: str, index: int, function: str, inputs: Sequence[Path], **params: Any
    ) -> Path:
        out = self.folder / step / str(index)
        out.mkdir(parents=True)
        given = tuple(TaskInput(path, "") for path in inputs)
        task = Task(
            step,
            index,
            f"tongwen.curate.repeats.{function.replace('pieces:', 'paragraphs:')}",
            given,
            params,
        )
        found = resolve_function(task.function)(TaskContext(task, out, frozenset(), None))
        for name, count in found.items():
            self.counts[f"{step} {name}"] = self.counts.get(f"{step} {name}", 0) + count
        return out

    def over_tasks(
        self, step: str, function: str, names: Sequence[str], files: Sequence[Path], **params: Any
    ) -> list[Path]:
        """One task for each group of documents."""
        return [
            self.run(
                step,
                task,
                function,
                [
                    *(
                        self.folder / (name if name[:2] == "du" else f"in-{task}/{name}")
                        for name in names
                    ),
                    *files,
                ],
                task=task,
                **params,
            )
            for task in range(len(self.groups))
        ]

    def reduce(
        self, step: str, function: str, mapped: Sequence[Path], partitions: int, **params: Any
    ) -> list[Path]:
        return [
            self.run(
                step, number, function, [home / f"part-{number:05d}" for home in mapped], **params
            )
            for number in range(partitions)
        ]

    def spans(self, words: int, characters: int, partitions: int = 2) -> None:
        inputs = ("documents.parquet", "decisions.parquet", "duplicates.parquet")
        params = {"span_words": words, "span_characters": characters, "sources": SOURCES}
        known = {**params, "edit_files": len(self.edits)}
        parts = {**params, "partitions": partitions}
        mapped = self.over_tasks("anchors", "spans:map_anchors", inputs, self.edits, **parts)
        repeats = self.reduce("repeats", "spans:find_repeats", mapped, partitions)
        files = [*self.edits, *(home / "repeats.npy" for home in repeats)]
        mapped = self.over_tasks(
            "windows", "spans:map_windows", inputs[:1], files, **known, partitions=partitions
        )
        paired = self.reduce("pairs", "spans:pair_windows", mapped, partitions)
        files = [*self.edits, *(home / "pairs.npy" for home in paired)]
        quoted = self.over_tasks("quotes", "spans:quote_spans", inputs[:1], files, **known)
        files = [
            *self.edits,
            *(home / "spans.npy" for home in quoted),
            *(home / "letters.npy" for home in quoted),
        ]
        cut = self.over_tasks("cuts", "spans:cut_spans", inputs[:1], files, **known)
        self.edits += [home / "edits.npy" for home in cut]

    def paragraphs(self, letters: int, partitions: int = 2) -> None:
        inputs = ("documents.parquet", "decisions.parquet", "duplicates.parquet")
        mapped = self.over_tasks(
            "paragraph-map",
            "pieces:map_paragraphs",
            inputs,
            self.edits,
            partitions=partitions,
            sources=SOURCES,
            minimum_paragraph_letters=letters,
        )
        cut = self.reduce("paragraph-cut", "pieces:cut_paragraphs", mapped, partitions)
        self.edits += [home / "edits.npy" for home in cut]

    def templates(self, documents: int, share: float, partitions: int = 2) -> None:
        least = {"minimum_documents": documents}
        inputs = ("documents.parquet", "pages.parquet")
        mapped = self.over_tasks(
            "template-map", "templates:map_templates", inputs, self.edits, partitions=partitions
        )
        hosts = self.run(
            "hosts", 0, "templates:count_hosts", [home / "hosts.npy" for home in mapped], **least
        )
        found = [
            self.run(
                "template-find",
                number,
                "templates:find_templates",
                [hosts / "hosts.npy", *(home / f"part-{number:05d}" for home in mapped)],
                minimum_share=share,
                **least,
            )
            for number in range(partitions)
        ]
        files = [*self.edits, *(home / "frequent.npy" for home in found)]
        cut = self.over_tasks(
            "template-cut",
            "templates:cut_templates",
            inputs[:1],
            files,
            edit_files=len(self.edits),
        )
        self.edits += [home / "edits.npy" for home in cut]

    def texts(self) -> list[str]:
        """What is left of each text, in the order of tasks and rows."""
        left = []
        for task, rows in enumerate(self.groups):
            for row, item in enumerate(rows):
                number = int(record_numbers(task, np.array([row]))[0])
                edits = edits_between(self.edits, number, number)
                left.append(tidy(apply(item["text"], edits).text))
        return left
