"""The steps that cut repeated pieces (see `templates`, `paragraphs` and `spans`).

Each function returns the edits it was given and its own; a step that is off returns them unchanged.
"""

from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.curate.repeats import paragraphs, spans, templates
from tongwen.curate.settings import RepeatSettings
from tongwen.flow.runner import RunTasks, outputs, reduce_tasks
from tongwen.flow.task import Task, TaskInput

_RECORDS_A_SPAN_PARTITION = 20_000
"""A page has tens of anchors and windows of 130 bytes: 1 GiB is about 8 million."""

_RECORDS_A_LINE_PARTITION = 50_000
"""A page has tens of lines of 40 bytes, which are sorted."""


def cut_templates(
    run: RunTasks, settings: RepeatSettings, extracted: Extracted, edits: EditFiles
) -> EditFiles:
    """Cut the frames that hosts print around their pages."""
    if not settings.templates:
        return edits
    partitions = extracted.partitions(_RECORDS_A_LINE_PARTITION)
    mapped = run(
        [
            Task(templates.map_templates, index,
                 {"documents": documents, "pages": extracted.pages[index],
                  "edits": edits.by_task[index]},
                 {"task": index, "partitions": partitions})
            for index, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip
    least = {"minimum_documents": settings.template_documents}
    counted = run(
        reduce_tasks(templates.count_hosts, mapped, partitions, least, name=templates.HOSTS)
    )
    found = run(
        reduce_tasks(
            templates.find_templates, mapped, partitions,
            {**least, "minimum_share": settings.template_share},
            name=templates.LINES, hosts=outputs(counted, "hosts.npy"),
        )
    )  # fmt: skip
    cut = run(
        [
            Task(templates.cut_templates, index,
                 {"documents": documents, "edits": edits.by_task[index],
                  "frequent": outputs(found, "frequent.npy")},
                 {"task": index})
            for index, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip
    return edits.plus(outputs(cut, "edits.npy"))


def cut_paragraphs(
    run: RunTasks,
    settings: RepeatSettings,
    extracted: Extracted,
    edits: EditFiles,
    decisions: Files,
    duplicates: Files,
) -> EditFiles:
    """Cut paragraphs that a preferred document has too.

    Args:
        run: runs the tasks of one step.
        settings: of the recipe.
        extracted: the records.
        edits: known so far.
        decisions: of each extraction task; with `duplicates` they say which records are open.
        duplicates: of each extraction task, as `decisions`.
    """
    if not settings.paragraphs:
        return edits
    partitions = extracted.partitions()
    mapped = run(
        [
            Task(paragraphs.map_paragraphs, index,
                 {"documents": documents, "decisions": decisions[index],
                  "duplicates": duplicates[index],
                  "edits": edits.by_task[index]},
                 {"task": index, "partitions": partitions, "sources": list(extracted.sources),
                  "minimum_paragraph_letters": settings.paragraph_letters})
            for index, documents in enumerate(extracted.documents)
        ]
    )  # fmt: skip
    cut = run(reduce_tasks(paragraphs.cut_paragraphs, mapped, partitions))
    return edits.plus_shared(outputs(cut, "edits.npy"))


def cut_spans(
    run: RunTasks,
    settings: RepeatSettings,
    extracted: Extracted,
    edits: EditFiles,
    decisions: Files,
    duplicates: Files,
) -> EditFiles:
    """Cut sentences inside exact copies of a preferred document; arguments as above."""
    if not settings.spans:
        return edits
    partitions = extracted.partitions(_RECORDS_A_SPAN_PARTITION)
    sizes = {"span_words": settings.span_words, "span_characters": settings.span_characters}
    texts: list[dict[str, TaskInput | Files]] = [
        {"documents": documents, "edits": known}
        for documents, known in zip(extracted.documents, edits.by_task, strict=True)
    ]
    anchors = run(
        [
            Task(spans.map_anchors, index,
                 {**text, "decisions": decisions[index], "duplicates": duplicates[index]},
                 {"task": index, "partitions": partitions, **sizes})
            for index, text in enumerate(texts)
        ]
    )  # fmt: skip
    repeated = run(reduce_tasks(spans.find_repeats, anchors, partitions))
    windows = run(
        [
            Task(spans.map_windows, index,
                 {**text, "repeats": outputs(repeated, "repeats.npy")},
                 {"task": index, "partitions": partitions, "sources": list(extracted.sources),
                  **sizes})
            for index, text in enumerate(texts)
        ]
    )  # fmt: skip
    paired = run(reduce_tasks(spans.pair_windows, windows, partitions))
    quoted = run(
        [
            Task(spans.quote_spans, index, {**text, "pairs": outputs(paired, "pairs.npy")},
                 {"task": index, **sizes})
            for index, text in enumerate(texts)
        ]
    )  # fmt: skip
    cut = run(
        [
            Task(spans.cut_spans, index,
                 {**text, "spans": outputs(quoted, "spans.npy"),
                  "letters": outputs(quoted, "letters.npy")},
                 {"task": index, **sizes})
            for index, text in enumerate(texts)
        ]
    )  # fmt: skip
    return edits.plus(outputs(cut, "edits.npy"))
