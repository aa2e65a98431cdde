"""The step of extraction: raw records to texts."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tongwen.curate.extract.addresses import domain_files
from tongwen.curate.extract.pages import extract_records
from tongwen.curate.records.extracted import Extracted
from tongwen.curate.records.sources import Source, grouped
from tongwen.curate.settings import CurateSettings
from tongwen.files import file_digest, read_jsonl
from tongwen.flow.runner import RunTasks, outputs
from tongwen.flow.task import Task, TaskInput
from tongwen.formats.bad_files import check_bad_files


def extract(
    run: RunTasks,
    settings: CurateSettings,
    sources: Sequence[Source],
    resolve: Callable[[str], Path],
) -> Extracted:
    """Raw records to texts and what is known of their pages.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        sources: the crawl's inputs.
        resolve: from a path in the recipe to a path.

    Raises:
        InputError: more files than the settings allow cannot be read.
    """
    blocked, allowed = (
        [TaskInput(path, file_digest(path)) for path in domain_files(map(resolve, paths))]
        for paths in (settings.blocked_domains, settings.allowed_domains)
    )
    readers = {source.format: source.reader for source in sources if source.reader is not None}
    results = run(
        [
            Task(
                extract_records,
                index,
                {
                    "crawl": [TaskInput(source.path, source.digest) for source in group],
                    "blocked": blocked,
                    "allowed": allowed,
                    "readers": [
                        TaskInput(Path(item["path"]), item["digest"]) for item in readers.values()
                    ],
                },
                {
                    "files": [
                        {"name": source.path.name, "format": source.format,
                         "source": source.source, "license": source.license,
                         "text_field": source.text_field, "start": source.start,
                         "end": source.end, "first_row": source.first_row,
                         "trusted": source.trusted}
                        for source in group
                    ],
                    "line_reasons": list(settings.line_reasons),
                    "address_words": settings.address_words,
                    "readers": [
                        {"format": name, "function": item["function"], "module": item["module"],
                         "digest": item["digest"]}
                        for name, item in readers.items()
                    ],
                },
            )
            for index, group in enumerate(grouped(sources, settings.task_bytes))
        ]
    )  # fmt: skip
    bad_files = tuple(
        row
        for result in results
        if result.manifest.counts["bad_files"]
        for row in read_jsonl(result.directory / "bad_files.jsonl")
    )
    check_bad_files(bad_files, len(sources), settings.maximum_bad_files, "curate.maximum_bad_files")
    return Extracted(
        bad_files=bad_files,
        documents=outputs(results, "documents.parquet"),
        pages=outputs(results, "pages.parquet"),
        records=sum(int(result.manifest.counts["records"]) for result in results),
        sources=tuple(dict.fromkeys(source.source for source in sources)),
    )
