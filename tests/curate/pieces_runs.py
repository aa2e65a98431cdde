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
from tongwen.curate.repeats import paragraphs, spans, templates
from tongwen.curate.rules.decide import DECISION_SCHEMA
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import Task, TaskContext, TaskFunction, TaskInput
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
        self, function: TaskFunction, index: int, inputs: Mapping[str, Any], **params: Any
    ) -> Path:
        """Run one task; `inputs` are paths, or lists of them."""
        given = {
            name: [TaskInput(path, "") for path in ([paths] if isinstance(paths, Path) else paths)]
            for name, paths in inputs.items()
        }
        task = Task(function, index, given, params)
        out = self.folder / task.name
        out.mkdir(parents=True)
        found = function(TaskContext(task, out, frozenset(), None))
        for name, count in found.items():
            self.counts[f"{task.step} {name}"] = self.counts.get(f"{task.step} {name}", 0) + count
        return out

    def over_tasks(
        self,
        function: TaskFunction,
        *own: str,
        also: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> list[Path]:
        """One task for each group of documents; `own` are its tables besides the documents."""
        return [
            self.run(
                function,
                task,
                {
                    **{
                        name: self.folder / f"in-{task}" / f"{name}.parquet"
                        for name in ("documents", *own)
                    },
                    "edits": self.edits,
                    **(also or {}),
                },
                task=task,
                **params,
            )
            for task in range(len(self.groups))
        ]

    def reduce(
        self,
        function: TaskFunction,
        mapped: Sequence[Path],
        partitions: int,
        name: str = PARTS,
        also: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> list[Path]:
        return [
            self.run(
                function,
                number,
                {"parts": [home / name for home in mapped], **(also or {})},
                partition=number,
                **params,
            )
            for number in range(partitions)
        ]

    @property
    def _duplicates(self) -> dict[str, Path]:
        return {"duplicates": self.folder / "duplicates.parquet"}

    def spans(self, words: int, characters: int, partitions: int = 2) -> None:
        sizes = {"span_words": words, "span_characters": characters}
        parts = {**sizes, "partitions": partitions}
        mapped = self.over_tasks(spans.map_anchors, "decisions", also=self._duplicates, **parts)
        repeats = self.reduce(spans.find_repeats, mapped, partitions)
        files = {"repeats": [home / "repeats.npy" for home in repeats]}
        mapped = self.over_tasks(spans.map_windows, also=files, sources=SOURCES, **parts)
        paired = self.reduce(spans.pair_windows, mapped, partitions)
        files = {"pairs": [home / "pairs.npy" for home in paired]}
        quoted = self.over_tasks(spans.quote_spans, also=files, **sizes)
        files = {name: [home / f"{name}.npy" for home in quoted] for name in ("spans", "letters")}
        cut = self.over_tasks(spans.cut_spans, also=files, **sizes)
        self.edits += [home / "edits.npy" for home in cut]

    def paragraphs(self, letters: int, partitions: int = 2) -> None:
        mapped = self.over_tasks(
            paragraphs.map_paragraphs,
            "decisions",
            also=self._duplicates,
            partitions=partitions,
            sources=SOURCES,
            minimum_paragraph_letters=letters,
        )
        cut = self.reduce(paragraphs.cut_paragraphs, mapped, partitions)
        self.edits += [home / "edits.npy" for home in cut]

    def templates(self, documents: int, share: float, partitions: int = 2) -> None:
        least = {"minimum_documents": documents}
        mapped = self.over_tasks(templates.map_templates, "pages", partitions=partitions)
        counted = self.reduce(templates.count_hosts, mapped, partitions, templates.HOSTS, **least)
        hosts = {"hosts": [home / "hosts.npy" for home in counted]}
        found = self.reduce(
            templates.find_templates, mapped, partitions, templates.LINES, hosts,
            minimum_share=share, **least,
        )  # fmt: skip
        files = {"frequent": [home / "frequent.npy" for home in found]}
        cut = self.over_tasks(templates.cut_templates, also=files)
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
