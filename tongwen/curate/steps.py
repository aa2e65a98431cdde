"""The steps of curation, each a set of tasks over the outputs of those before it."""

from collections.abc import Sequence
from typing import Any

from tongwen.curate.rules import decision_parameters
from tongwen.curate.settings import CurateSettings, DuplicateSettings
from tongwen.curate.sources import Source, grouped
from tongwen.flow.local import TaskResult, exchange
from tongwen.flow.stage import StageContext
from tongwen.flow.task import Task, TaskInput

_RECORDS_A_PARTITION = 200_000
_MOST_PARTITIONS = 1_024


class Steps:
    """One run of the cascade. Call the methods in the order they stand.

    Attributes:
        documents: of every extraction task its `documents.parquet`.
        attributes: of every extraction task the tables with a row for each record, so far.
        edits: files of edits, so far; each can name records of any task.
        decisions: of every extraction task what the rules have decided.
    """

    def __init__(
        self, context: StageContext, settings: CurateSettings, sources: Sequence[Source]
    ) -> None:
        self._context = context
        self._settings = settings
        self._sources = sources
        self._records = 0
        self._costs: dict[str, dict[str, Any]] = {}
        self._duplicates: TaskInput
        self.documents: list[TaskInput] = []
        self.attributes: list[tuple[TaskInput, ...]] = []
        self.edits: list[TaskInput] = []
        self.decisions: list[TaskInput] = []

    def _run(self, tasks: Sequence[Task]) -> list[TaskResult]:
        results = self._context.runner.run(tasks, self._context.out / "tasks")
        for result in results:
            cost = self._costs.setdefault(
                result.task.step, {"tasks": 0, "seconds": 0.0, "peak_memory_bytes": 0}
            )
            cost["tasks"] += 1
            cost["seconds"] += result.manifest.seconds
            cost["peak_memory_bytes"] = max(
                cost["peak_memory_bytes"], result.manifest.peak_memory_bytes
            )
        return results

    def cost(self) -> dict[str, Any]:
        """What the steps took, also those that were done before: seconds of one worker each, and
        the largest worker. `crawl_bytes` is what was read, as it lies on disk.
        """
        return {
            "crawl_bytes": sum(source.bytes for source in self._sources),
            "worker_seconds": sum(step["seconds"] for step in self._costs.values()),
            "steps": self._costs,
        }

    @property
    def _partitions(self) -> int:
        """Partitions of an exchange over all records."""
        return min(_MOST_PARTITIONS, 1 + self._records // _RECORDS_A_PARTITION)

    def extract(self) -> None:
        """Raw records to texts and what is known of their pages."""
        settings = self._settings
        results = self._run(
            [
                Task(
                    "extract",
                    index,
                    "tongwen.curate.pages:extract_records",
                    tuple(TaskInput(source.path, source.digest) for source in group),
                    {
                        "files": [
                            {"name": source.path.name, "format": source.format,
                             "source": source.source, "license": source.license,
                             "text_field": source.text_field, "start": source.start,
                             "end": source.end, "first_row": source.first_row}
                            for source in group
                        ],
                        "remove_lines": settings.remove_boilerplate_lines,
                        "replace_personal": settings.replace_personal_data,
                    },
                )
                for index, group in enumerate(grouped(self._sources, settings.task_bytes))
            ]
        )  # fmt: skip
        self.documents = [result.file("documents.parquet") for result in results]
        self.attributes = [(result.file("pages.parquet"),) for result in results]
        self._records = sum(int(result.manifest.counts["records"]) for result in results)

    def measure(self) -> None:
        """The values that rules look at."""
        results = self._run(
            [
                Task("measure", index, "tongwen.curate.attributes:measure_records",
                     (documents, *self.edits), {"task": index})
                for index, documents in enumerate(self.documents)
            ]
        )  # fmt: skip
        self._add_attributes(results, "measures.parquet")

    def _add_attributes(self, results: Sequence[TaskResult], name: str) -> None:
        self.attributes = [
            (*files, result.file(name))
            for files, result in zip(self.attributes, results, strict=True)
        ]

    def decide(self) -> None:
        """Hold the thresholds against the attributes."""
        parameters = decision_parameters(self._settings)
        results = self._run(
            [
                Task("decide", index, "tongwen.curate.pages:decide_records", files, parameters)
                for index, files in enumerate(self.attributes)
            ]
        )
        self.decisions = [result.file("decisions.parquet") for result in results]

    def deduplicate(self) -> None:
        """An exchange for equal addresses and texts, then one for near duplicates."""
        settings = self._settings.duplicates
        fingerprints = self._fingerprint(settings)
        lost = self._exact(settings, fingerprints)
        pairs: list[TaskResult] = []
        if settings.similarity is not None:
            pairs = self._near_pairs(settings, fingerprints, lost)
        inputs = (
            lost,
            *(result.file("pairs.npy") for result in pairs),
            *(result.file("fingerprints.npy") for result in fingerprints),
            *(result.file("signatures.bin") for result in fingerprints),
        )
        parameters = {
            "tasks": len(fingerprints),
            "partitions": len(pairs),
            "hashes": settings.bands * settings.rows,
            "similarity": settings.similarity,
        }
        task = Task("cluster", 0, "tongwen.curate.dedup:cluster", inputs, parameters)
        self._duplicates = self._run([task])[0].file("duplicates.parquet")

    def _fingerprint(self, settings: DuplicateSettings) -> list[TaskResult]:
        parameters = {
            "sources": list(dict.fromkeys(source.source for source in self._sources)),
            "bands": settings.bands,
            "rows": settings.rows,
            "seed": settings.seed,
            "shingle_words": settings.shingle_words,
            "shingle_characters": settings.shingle_characters,
        }
        return self._run(
            [
                Task("fingerprint", index, "tongwen.curate.fingerprints:fingerprint_records",
                     (documents, *self.edits), {"task": index, **parameters})
                for index, documents in enumerate(self.documents)
            ]
        )  # fmt: skip

    def _exact(self, settings: DuplicateSettings, fingerprints: Sequence[TaskResult]) -> TaskInput:
        """Who loses to whom by address and by text."""
        partitions = self._partitions
        exact = self._run(
            [
                Task("exact-map", index, "tongwen.curate.dedup:map_exact",
                     (self.decisions[index], result.file("fingerprints.npy")),
                     {"task": index, "partitions": partitions, "same_url": settings.same_url,
                      "same_text": settings.same_text})
                for index, result in enumerate(fingerprints)
            ],
        )  # fmt: skip
        grouped = self._run(
            [
                Task("exact-group", index, "tongwen.curate.dedup:group_exact", files)
                for index, files in enumerate(exchange(exact, partitions))
            ],
        )
        groups = tuple(result.file("groups.npy") for result in grouped)
        task = Task("exact-lose", 0, "tongwen.curate.dedup:lose_exact", groups)
        return self._run([task])[0].file("losses.npy")

    def _near_pairs(
        self, settings: DuplicateSettings, fingerprints: Sequence[TaskResult], lost: TaskInput
    ) -> list[TaskResult]:
        """Pairs that share a band, one result a partition of the bands' hashes."""
        partitions = self._partitions
        banded = self._run(
            [
                Task("band-map", index, "tongwen.curate.dedup:map_bands",
                     (self.decisions[index], result.file("fingerprints.npy"),
                      result.file("signatures.bin"), lost),
                     {"task": index, "partitions": partitions, "bands": settings.bands,
                      "rows": settings.rows})
                for index, result in enumerate(fingerprints)
            ],
        )  # fmt: skip
        return self._run(
            [
                Task("band-pair", index, "tongwen.curate.dedup:pair_bands", files)
                for index, files in enumerate(exchange(banded, partitions))
            ],
        )

    def materialize(self) -> list[TaskResult]:
        """Documents that stay, edited; attributes with every decision."""
        return self._run(
            [
                Task(
                    "materialize",
                    index,
                    "tongwen.curate.materialize:materialize",
                    (
                        documents,
                        self.decisions[index],
                        self._duplicates,
                        *self.attributes[index],
                        *self.edits,
                    ),
                    {
                        "task": index,
                        "attribute_files": len(self.attributes[index]),
                        "similarity": self._settings.duplicates.similarity,
                        "reject_samples": self._settings.reject_samples,
                        "rules": decision_parameters(self._settings),
                    },
                )
                for index, documents in enumerate(self.documents)
            ]
        )
