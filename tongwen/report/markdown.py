"""The report in Markdown, for a terminal, a pull request or a wiki; one file a language."""

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from markupsafe import Markup

from tongwen.report.training import Phase
from tongwen.report.words import Bilingual, duration, number, share, size, words

Language = Literal["en", "zh"]

_MOST_REASONS = 15  # a rule each; the page has them all
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def markdown_text(content: Mapping[str, Any], language: Language) -> str:
    """The essentials of a report: state, figures, training, scores, drops and cost.

    Texts from outside are data: whatever Markdown or HTML would take for markup is escaped.

    Args:
        content: of `tongwen.report.build.report_content`.
        language: of the texts around the figures.
    """
    say = partial(_said, language=language)
    lines = [f"# {say(content['headline'].sentence)}", "", say(content["state_sentence"])]
    for problem in content["problems"]:
        lines += ["", say(words("unreadable", problem=problem))]
    lines += ["", *_tiles(content, say)]
    for phase in content["phases"]:
        lines += ["", *_phase(phase["training"], phase["sentence"], say)]
    if content["evaluation"]:
        lines += [
            "",
            f"## {say(words('nav_evaluation'))}",
            "",
            *_scores(content["evaluation"], say),
        ]
    if content["funnel"]:
        lines += ["", f"## {say(words('nav_data'))}", "", *_drops(content["funnel"], say)]
    lines += ["", f"## {say(words('nav_cost'))}", "", *_cost(content["cost"], say)]
    return "\n".join(lines) + "\n"


def _said(value: object, *, language: Language) -> str:
    """One language of a bilingual text, or any other value, with its markup escaped."""
    if isinstance(value, Bilingual):
        value = value.english if language == "en" else value.chinese
    elif isinstance(value, Markup) and 'class="en"' in value:
        value = Markup(_of_language(str(value), language))
    plain = html.unescape(Markup(value).striptags()) if isinstance(value, Markup) else str(value)
    return _SPECIAL.sub(r"\\\1", " ".join(plain.split()))


def _of_language(text: str, language: Language) -> str:
    """Of spans in both languages, joined as `Markup.join` does, those of one."""
    other = "zh" if language == "en" else "en"
    return re.sub(rf'<span class="{other}"[^>]*>.*?</span>', "", text, flags=re.DOTALL)


Say = Callable[[object], str]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    marks = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]


def _tiles(content: Mapping[str, Any], say: Say) -> list[str]:
    return [
        f"- **{say(tile.name)}**: {say(tile.value)}{f' ({say(tile.note)})' if tile.note else ''}"
        for tile in content["headline"].tiles
    ]


def _phase(phase: Phase, sentence: Markup, say: Say) -> list[str]:
    lines = [f"## {say(words(f'stage_{phase.stage}'))}", "", say(sentence)]
    faults = {
        "not_finite": phase.not_finite,
        "damaged": phase.damaged,
        "rollbacks": phase.rollbacks,
    }
    for fault, count in faults.items():
        if count:
            lines += ["", say(words(fault, count=count))]
    if phase.courses:
        names = ("loss", "valid_en_bits_per_byte", "valid_zh_bits_per_byte", "tokens_per_second")
        rows = [
            [
                say(course.name),
                number(course.last["step"]),
                *(_value(course.last, name) for name in names),
            ]
            for course in phase.courses
        ]
        head = [say(words("column_run")), say(words("column_step")), *map(say, names)]
        lines += ["", *_table(head, rows)]
    else:
        rows = [[_value(row, name) for name in phase.columns] for row in phase.rows]
        lines += ["", *_table([say(name) for name in phase.columns], rows)]
    if phase.samples:
        newest = [item for item in phase.samples if item.step == phase.samples[0].step]
        lines += ["", f"### {say(words('written'))}", ""]
        lines += [f"- {say(item.step)}: **{say(item.prompt)}**{say(item.text)}" for item in newest]
    return lines


def _value(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return number(value) if isinstance(value, int | float) else ""


def _scores(evaluation: Any, say: Say) -> list[str]:
    names = ("task", "language", "metric", "score", "interval", "chance")
    head = [say(words(f"column_{name}")) for name in names]
    rows = []
    for row in evaluation.scores:
        shown = partial(share, whole=1) if row.is_share else "{:.3f}".format
        interval = " – ".join(map(shown, row.interval)) if row.interval else ""
        chance = share(row.chance, 1) if row.is_share and row.chance is not None else ""
        rows.append(
            [say(row.task), say(row.language), say(row.metric), shown(row.score), interval, chance]
        )
    head.insert(3, "n")
    for line, row in zip(rows, evaluation.scores, strict=True):
        line.insert(3, number(row.n))
    return [*_table(head, rows), *(line for note in evaluation.notes for line in ("", say(note)))]


def _drops(funnel: Any, say: Say) -> list[str]:
    read, kept = funnel.read["all"].pages, funnel.kept["all"].pages
    values = {"read": number(read), "kept": number(kept), "share": share(kept, read)}
    reasons = sorted(
        ((step.stage, reason) for step in funnel.steps for reason in step.reasons),
        key=lambda item: -item[1].amounts["all"].pages,
    )
    rows = [
        [
            f"{say(words(f'drop_{stage}'))}: {say(reason.rule)}",
            number(reason.amounts["all"].pages),
            share(reason.amounts["all"].pages, read),
        ]
        for stage, reason in reasons[:_MOST_REASONS]
    ]
    head = [say(words("column_reason")), say(words("pages")), "%"]
    return [say(words("funnel_intro", **values)), "", *_table(head, rows)]


def _cost(cost: Any, say: Say) -> list[str]:
    rows = [
        [say(words(f"stage_{row.stage}")), say(duration(row.seconds)), size(row.memory_bytes)]
        for row in cost.rows
    ]
    names = ("column_stage", "column_time", "column_memory")
    total = [say(words("total")), say(duration(cost.seconds)), ""]
    return _table([say(words(name)) for name in names], [*rows, total])
