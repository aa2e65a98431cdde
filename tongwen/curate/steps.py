"""The steps of curation, each a set of tasks over the outputs of those before it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.curate.contamination.steps import find_contamination
from tongwen.curate.duplicates.near_steps import near_links
from tongwen.curate.extract.addresses import domain_files
from tongwen.curate.extract.record import PAGE_SCHEMA
from tongwen.curate.mix.settings import WeightSettings
from tongwen.curate.mix.steps import mix_documents
from tongwen.curate.records.edits import CUTS, KINDS
from tongwen.curate.records.sources import Source, grouped
from tongwen.curate.repeats.steps import paragraph_edits, span_edits, template_edits
from tongwen.curate.rules.attributes import MEASURE_SCHEMA
from tongwen.curate.rules.decide import DECISION_SCHEMA, decision_parameters
from tongwen.curate.rules.own import own_values
from tongwen.curate.scorers.clusters import cluster_weights
from tongwen.curate.scorers.folder import open_folder
from tongwen.curate.scorers.scoring import SCORE_SCHEMA
from tongwen.curate.scorers.tasks import scorer_inputs
from tongwen.curate.settings import SCORE_RULES, CurateSettings, DuplicateSettings
from tongwen.errors import RecipeError
from tongwen.files import file_digest
from tongwen.flow.local import TaskResult, exchange
from tongwen.flow.stage import StageContext
from tongwen.flow.task import Task, TaskInput

COLUMNS = frozenset(
    (
        *PAGE_SCHEMA.names,
        *MEASURE_SCHEMA.names,
        *SCORE_SCHEMA.names,
        *DECISION_SCHEMA.names,
        *(f"{kind}_{'characters' if kind in CUTS else 'count'}" for kind in KINDS),
        *("duplicate_of", "cluster_size", "language", "tokens"),
    )
)
"""Columns of the attributes and of the mix's conditions, which a value of the user's own must not
be named after."""
FAILURES = "failures.jsonl"
_RECORDS_A_PARTITION = 200_000
_RECORDS_A_SPAN_PARTITION = 20_000
"""A page has tens of anchors and windows of 130 bytes: 1 GiB is about 8 million."""
_MOST_PARTITIONS = 1_024


class Steps:
    """One run of the cascade. Call the methods in the order they stand.

    Raises:
        InputError: a scorer is damaged, or there are labels of clusters without their scorer.
        RecipeError: a rule needs a scorer that is not named.

    Attributes:
        documents: of every extraction task its `documents.parquet`.
        attributes: of every extraction task the tables with a row for each record, so far.
        edits: of every extraction task the files with edits of its records, so far.
        decisions: of every extraction task what the rules have decided.
        failures: files of documents on which the user's own rules and scorers failed.
    """

    def __init__(
        self,
        context: StageContext[CurateSettings],
        settings: CurateSettings,
        sources: Sequence[Source],
    ) -> None:
        self._context = context
        self._settings = settings
        self._sources = sources
        self._records = 0
        self._costs: dict[str, dict[str, Any]] = {}
        self._scorers = [context.resolve(path) for path in settings.scorers]
        folders = [open_folder(path) for path in self._scorers]
        self._check_score_rules({folder.kind for folder in folders})
        self._cluster_weights: Mapping[int, float] = cluster_weights(
            folders, settings.cluster_labels, context.resolve
        )
        self._own = {
            section: own_values(settings, section, COLUMNS) for section in ("rules", "own_scorers")
        }
        self._personal: list[TaskInput] = []
        self._duplicates: TaskInput
        self._drops: list[tuple[TaskInput, ...]] = []
        self.documents: list[TaskInput] = []
        self.attributes: list[tuple[TaskInput, ...]] = []
        self.edits: list[tuple[TaskInput, ...]] = []
        self.decisions: list[TaskInput] = []
        self.failures: list[Path] = []

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
    def _source_names(self) -> list[str]:
        return list(dict.fromkeys(source.source for source in self._sources))

    @property
    def _partitions(self) -> int:
        """Partitions of an exchange over all records."""
        return min(_MOST_PARTITIONS, 1 + self._records // _RECORDS_A_PARTITION)

    def extract(self) -> None:
        """Raw records to texts and what is known of their pages."""
        settings = self._settings
        block, allow = (
            domain_files([self._context.resolve(path) for path in paths])
            for paths in (settings.blocked_domains, settings.allowed_domains)
        )
        lists = tuple(TaskInput(path, file_digest(path)) for path in (*block, *allow))
        readers = {
            source.format: source.reader for source in self._sources if source.reader is not None
        }
        code = tuple(TaskInput(Path(item["path"]), item["digest"]) for item in readers.values())
        results = self._run(
            [
                Task(
                    "extract",
                    index,
                    "tongwen.curate.extract.pages:extract_records",
                    (*(TaskInput(source.path, source.digest) for source in group), *lists, *code),
                    {
                        "files": [
                            {"name": source.path.name, "format": source.format,
                             "source": source.source, "license": source.license,
                             "text_field": source.text_field, "start": source.start,
                             "end": source.end, "first_row": source.first_row}
                            for source in group
                        ],
                        "line_reasons": list(settings.line_reasons),
                        "address_words": settings.address_words,
                        "block_lists": len(block),
                        "readers": [
                            {"format": name, "function": item["function"],
                             "module": item["module"], "digest": item["digest"]}
                            for name, item in readers.items()
                        ],
                    },
                )
                for index, group in enumerate(grouped(self._sources, settings.task_bytes))
            ]
        )  # fmt: skip
        self.documents = [result.file("documents.parquet") for result in results]
        self.attributes = [(result.file("pages.parquet"),) for result in results]
        self.edits = [() for _ in results]
        self._drops = [() for _ in results]
        self._records = sum(int(result.manifest.counts["records"]) for result in results)

    def cut_templates(self) -> None:
        """Take out the frames that hosts print around their pages."""
        if self._settings.repeats.templates:
            pages = [files[0] for files in self.attributes]
            cut = template_edits(
                self._run, self._settings.repeats, self.documents, pages, self._partitions
            )
            self.edits = [(*files, file) for files, file in zip(self.edits, cut, strict=True)]

    def measure(self) -> None:
        """The values that rules look at, and where personal data stands."""
        replaces = self._settings.replace_personal_data
        results = self._run(
            [
                Task("measure", index, "tongwen.curate.rules.attributes:measure_records",
                     (documents, *self.edits[index]), {"task": index, "personal": replaces})
                for index, documents in enumerate(self.documents)
            ]
        )  # fmt: skip
        self._add_attributes(results, "measures.parquet")
        self._personal = [result.file("edits.npy") for result in results]

    def _add_attributes(self, results: Sequence[TaskResult], name: str) -> None:
        self.attributes = [
            (*files, result.file(name))
            for files, result in zip(self.attributes, results, strict=True)
        ]

    def score(self) -> None:
        """The values of the user's scorers."""
        if not self._scorers:
            return
        digests = [open_folder(path).digest for path in self._scorers]
        results = self._run(
            [
                Task("score", index, "tongwen.curate.scorers.tasks:score_records",
                     (documents, *scorer_inputs(self._scorers), *self.edits[index]),
                     {"task": index, "scorers": digests})
                for index, documents in enumerate(self.documents)
            ]
        )  # fmt: skip
        self._add_attributes(results, "scores.parquet")

    def measure_own(self) -> None:
        """The values of the user's own rules and scorers; what failed is said."""
        failed: Counter[str] = Counter()
        for step, section in (("measure-own", "rules"), ("score-own", "own_scorers")):
            values = self._own[section]
            if not values:
                continue
            code = tuple(TaskInput(value.path, value.digest) for value in values)
            parameters = {
                "values": [value.to_json() for value in values],
                "digests": [value.digest for value in values],
                "allowed_failure_share": self._settings.allowed_failure_share,
            }
            results = self._run(
                [
                    Task(step, index, "tongwen.curate.rules.own:measure_own",
                         (documents, *code, *self.edits[index]), {"task": index, **parameters})
                    for index, documents in enumerate(self.documents)
                ]
            )  # fmt: skip
            self._add_attributes(results, "own.parquet")
            self.failures += [result.file("failures.jsonl").path for result in results]
            for result in results:
                for value in values:
                    failed[value.name] += int(result.manifest.counts[f"failures of {value.name}"])
        for name, number in sorted(failed.items()):
            if number:
                self._context.progress.say(
                    f"  {name} failed on {number:,} documents and has no value for them: "
                    f"{self._context.out / FAILURES}"
                )

    def _check_score_rules(self, kinds: Collection[str]) -> None:
        for section in ("english", "chinese"):
            for name, kind in SCORE_RULES.items():
                if getattr(getattr(self._settings, section), name) and kind not in kinds:
                    raise RecipeError(
                        f"curate.{section}.{name} needs a {kind} scorer; curate.scorers has "
                        + ", ".join(sorted(kinds)),
                        hint=f"train one with `tongwen curate train-scorer {kind}`",
                    )

    def decide(self) -> None:
        """Hold the thresholds against the attributes."""
        parameters = decision_parameters(self._settings)
        parameters["dropped_clusters"] = sorted(
            cluster for cluster, weight in self._cluster_weights.items() if not weight
        )
        results = self._run(
            [
                Task(
                    "decide",
                    index,
                    "tongwen.curate.extract.pages:decide_records",
                    files,
                    parameters,
                )
                for index, files in enumerate(self.attributes)
            ]
        )
        self.decisions = [result.file("decisions.parquet") for result in results]

    def deduplicate(self) -> None:
        """An exchange for equal addresses and texts, then one for near duplicates."""
        settings = self._settings.duplicates
        fingerprints = self._fingerprint(settings)
        lost = self._exact(settings, fingerprints)
        links: list[TaskInput] = []
        if settings.similarity is not None:
            links = near_links(
                self._run, settings, self.decisions, fingerprints, lost,
                partitions=self._partitions, records_a_block=_RECORDS_A_PARTITION,
            )  # fmt: skip
        inputs = (lost, *links, *(result.file("fingerprints.npy") for result in fingerprints))
        parameters = {
            "link_files": len(links),
            "hashes": settings.bands * settings.rows,
            "similarity": settings.similarity,
        }
        task = Task("cluster", 0, "tongwen.curate.duplicates.clusters:cluster", inputs, parameters)
        self._duplicates = self._run([task])[0].file("duplicates.parquet")

    def _fingerprint(self, settings: DuplicateSettings) -> list[TaskResult]:
        parameters = {
            "sources": self._source_names,
            "bands": settings.bands,
            "rows": settings.rows,
            "seed": settings.seed,
            "shingle_words": settings.shingle_words,
            "shingle_characters": settings.shingle_characters,
        }
        return self._run(
            [
                Task("fingerprint", index, "tongwen.curate.duplicates.fingerprints:fingerprint_records",
                     (documents, *self.edits[index]), {"task": index, **parameters})
                for index, documents in enumerate(self.documents)
            ]
        )  # fmt: skip

    def _exact(self, settings: DuplicateSettings, fingerprints: Sequence[TaskResult]) -> TaskInput:
        """Who loses to whom by address and by text."""
        partitions = self._partitions
        exact = self._run(
            [
                Task("exact-map", index, "tongwen.curate.duplicates.exact:map_exact",
                     (self.decisions[index], result.file("fingerprints.npy")),
                     {"task": index, "partitions": partitions, "same_url": settings.same_url,
                      "same_text": settings.same_text})
                for index, result in enumerate(fingerprints)
            ],
        )  # fmt: skip
        grouped = self._run(
            [
                Task("exact-group", index, "tongwen.curate.duplicates.exact:group_exact", files)
                for index, files in enumerate(exchange(exact, partitions))
            ],
        )
        groups = tuple(result.file("groups.npy") for result in grouped)
        task = Task("exact-lose", 0, "tongwen.curate.duplicates.exact:lose_exact", groups)
        return self._run([task])[0].file("losses.npy")

    def cut_repeats(self) -> None:
        """Take out paragraphs and spans that a preferred document has too."""
        settings = self._settings.repeats
        decided = [(decisions, self._duplicates) for decisions in self.decisions]
        if settings.paragraphs:
            cut = paragraph_edits(
                self._run, settings, self.documents, decided, self.edits, self._source_names,
                self._partitions,
            )  # fmt: skip
            self.edits = [(*files, *cut) for files in self.edits]
        if settings.spans:
            cut = span_edits(
                self._run, settings, self.documents, decided, self.edits, self._source_names,
                min(_MOST_PARTITIONS, 1 + self._records // _RECORDS_A_SPAN_PARTITION),
            )  # fmt: skip
            self.edits = [(*files, file) for files, file in zip(self.edits, cut, strict=True)]

    def decontaminate(self) -> dict[str, Any] | None:
        """Cut or drop what holds items of the benchmarks; gives the report, None without any."""
        settings = self._settings.contamination
        if not settings.benchmarks:
            return None
        decided = [(decisions, self._duplicates) for decisions in self.decisions]
        found = find_contamination(
            self._run, settings, self.documents, decided, self.edits, self._partitions
        )
        self.edits = [(*files, file) for files, file in zip(self.edits, found.edits, strict=True)]
        self._drops = [(file,) for file in found.drops]
        return found.report

    def mix(
        self, materialized: Sequence[TaskResult]
    ) -> tuple[Sequence[TaskResult], dict[str, Any] | None]:
        """Results whose `documents.parquet` go into training, and the report of the mix if any."""
        settings = self._settings.mix
        if settings is None:
            return materialized, None
        by_weight: dict[float, list[int]] = {}
        for cluster, weight in sorted(self._cluster_weights.items()):
            by_weight.setdefault(weight, []).append(cluster)
        labelled = tuple(
            WeightSettings(when=f"cluster in {tuple(clusters)}", weight=weight)
            for weight, clusters in sorted(by_weight.items())
            if weight not in (0, 1)
        )
        settings = replace(settings, weights=(*settings.weights, *labelled))
        return mix_documents(self._run, settings, materialized)

    def materialize(self) -> list[TaskResult]:
        """Documents that stay, edited; attributes with every decision."""
        repeats = self._settings.repeats
        return self._run(
            [
                Task(
                    "materialize",
                    index,
                    "tongwen.curate.outcome.materialize:materialize",
                    (
                        documents,
                        self.decisions[index],
                        self._duplicates,
                        *self.attributes[index],
                        *self._drops[index],
                        *self.edits[index],
                        self._personal[index],
                    ),
                    {
                        "task": index,
                        "attribute_files": len(self.attributes[index]),
                        "drop_files": len(self._drops[index]),
                        "similarity": self._settings.duplicates.similarity,
                        "reject_samples": self._settings.reject_samples,
                        "rules": decision_parameters(self._settings),
                        "repeats": {
                            name: getattr(repeats, name)
                            for name in ("maximum_repeated_share", "minimum_remaining_characters")
                        },
                    },
                )
                for index, documents in enumerate(self.documents)
            ]
        )
