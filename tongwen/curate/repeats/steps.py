"""The steps that find repeated pieces, planned (see `templates`, `pieces` and `spans`).

Each function gives files of edits. `run` runs the tasks of one step.
"""

from collections.abc import Callable, Sequence

from tongwen.curate.settings import RepeatSettings
from tongwen.flow.runner import TaskResult, exchange
from tongwen.flow.task import Task, TaskInput

RunTasks = Callable[[Sequence[Task]], list[TaskResult]]
Files = Sequence[TaskInput]


def _over_partitions(
    run: RunTasks, step: str, function: str, results: Sequence[TaskResult], partitions: int
) -> list[TaskResult]:
    return run(
        [
            Task(step, index, f"tongwen.curate.repeats.{function}", files)
            for index, files in enumerate(exchange(results, partitions))
        ]
    )


def _all(results: Sequence[TaskResult], name: str) -> tuple[TaskInput, ...]:
    return tuple(result.file(name) for result in results)


def template_edits(
    run: RunTasks, settings: RepeatSettings, documents: Files, pages: Files, partitions: int
) -> list[TaskInput]:
    """Cuts of the frames that hosts print around their pages.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        documents: of each extraction task.
        pages: of each extraction task, `pages.parquet`.
        partitions: of the lines.
    """
    mapped = run(
        [
            Task("template-map", index, "tongwen.curate.repeats.templates:map_templates", files,
                 {"task": index, "partitions": partitions})
            for index, files in enumerate(zip(documents, pages, strict=True))
        ]
    )  # fmt: skip
    least = {"minimum_documents": settings.template_documents}
    hosts = run(
        [Task("template-hosts", 0, "tongwen.curate.repeats.templates:count_hosts",
              _all(mapped, "hosts.npy"), least)]
    )[0].file("hosts.npy")  # fmt: skip
    found = run(
        [
            Task("template-find", index, "tongwen.curate.repeats.templates:find_templates",
                 (hosts, *parts), {**least, "minimum_share": settings.template_share})
            for index, parts in enumerate(exchange(mapped, partitions))
        ]
    )  # fmt: skip
    cut = run(
        [
            Task("template-cut", index, "tongwen.curate.repeats.templates:cut_templates",
                 (file, *_all(found, "frequent.npy")), {"task": index, "edit_files": 0})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    return list(_all(cut, "edits.npy"))


def paragraph_edits(
    run: RunTasks,
    settings: RepeatSettings,
    documents: Files,
    decided: Sequence[Files],
    edits: Sequence[Files],
    sources: Sequence[str],
    partitions: int,
) -> list[TaskInput]:
    """Cuts of paragraphs that a preferred document has too.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        documents: of each extraction task.
        decided: of each extraction task its decisions and all duplicates: who is still there.
        edits: of each extraction task the files known so far.
        sources: names in the order of the inputs, for the preference.
        partitions: of the paragraphs.
    """
    mapped = run(
        [
            Task("paragraph-map", index, "tongwen.curate.repeats.paragraphs:map_paragraphs",
                 (file, *decided[index], *edits[index]),
                 {"task": index, "partitions": partitions, "sources": list(sources),
                  "minimum_paragraph_letters": settings.paragraph_letters})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    cut = _over_partitions(run, "paragraph-cut", "paragraphs:cut_paragraphs", mapped, partitions)
    return list(_all(cut, "edits.npy"))


def span_edits(
    run: RunTasks,
    settings: RepeatSettings,
    documents: Files,
    decided: Sequence[Files],
    edits: Sequence[Files],
    sources: Sequence[str],
    partitions: int,
) -> list[TaskInput]:
    """Cuts of sentences inside exact copies of a preferred document; arguments as above."""
    sizes = {"span_words": settings.span_words, "span_characters": settings.span_characters}
    anchors = run(
        [
            Task("span-anchors", index, "tongwen.curate.repeats.spans:map_anchors",
                 (file, *decided[index], *edits[index]),
                 {"task": index, "partitions": partitions, **sizes})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    repeats = _over_partitions(run, "span-repeats", "spans:find_repeats", anchors, partitions)
    known = {"edit_files": len(edits[0]), **sizes}  # the same number for every task
    windows = run(
        [
            Task("span-windows", index, "tongwen.curate.repeats.spans:map_windows",
                 (file, *edits[index], *_all(repeats, "repeats.npy")),
                 {"task": index, "partitions": partitions, "sources": list(sources), **known})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    pairs = _over_partitions(run, "span-pairs", "spans:pair_windows", windows, partitions)
    quoted = run(
        [
            Task("span-quotes", index, "tongwen.curate.repeats.spans:quote_spans",
                 (file, *edits[index], *_all(pairs, "pairs.npy")), {"task": index, **known})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    spans = (*_all(quoted, "spans.npy"), *_all(quoted, "letters.npy"))
    cut = run(
        [
            Task("span-cut", index, "tongwen.curate.repeats.spans:cut_spans",
                 (file, *edits[index], *spans), {"task": index, **known})
            for index, file in enumerate(documents)
        ]
    )  # fmt: skip
    return list(_all(cut, "edits.npy"))
