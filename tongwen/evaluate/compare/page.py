"""A comparison as JSON, as Markdown, and as one HTML page that needs no network and no script."""

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tongwen.evaluate.compare.runs import LOWER_IS_BETTER
from tongwen.evaluate.compare.verdicts import Comparison, Report, Score, TaskComparison
from tongwen.evaluate.statistics import Difference, Estimate

Language = Literal["en", "zh"]
SCHEMA = "tongwen.comparison"
VERSION = 1  # raise it when a field changes its meaning

_WORDS = {
    "en": {
        "title": "Comparison of evaluations",
        "against": "Every run against {first}, on the same items.",
        "how": "Differences are second minus first, with 95 % intervals from cluster-robust paired "
        "errors; p is adjusted over the whole table (Holm). A verdict needs p < 0.05. “Could see” "
        "is the smallest difference that this many items would have shown in four of five tries.",
        "task": "task", "run": "run", "metric": "metric", "n": "n", "score": "score",
        "difference": "difference", "p": "p", "verdict": "verdict", "detectable": "could see",
        "better": "better", "worse": "worse", "not separable": "not separable",
        "all": "all", "clean": "clean", "contaminated": "contaminated",
        "gap": "contaminated − clean",
        "differences": "Differences", "scores": "Scores", "contamination": "Contamination",
        "contamination_how": "Clean items are those whose texts curate did not find in the "
        "documents; the gap is between different questions, so it also holds how hard they are.",
        "series": "Checkpoints",
        "series_how": "Noise is the spread of the last five checkpoints around their trend. "
        "Progress means that the first and the last differ by more than it explains.",
        "noise": "noise", "progress": "progress", "yes": "yes", "no": "no", "mean": "mean of tasks",
        "left_out": "Not compared", "not_scored": "{n} items of {task} are left out: not every run "
        "has scored them.", "others": "pass@k", "chance": "chance",
        "lower": "lower is better",
    },
    "zh": {
        "title": "评测对比",
        "against": "各次评测均与 {first} 在相同的题目上比较。",
        "how": "差值为后者减前者，95 % 区间由按簇计算的配对标准误得出；"
        "p 值按整张表校正（Holm），p < 0.05 才下结论。"
        "“可测差值”是这么多题在五次中有四次能发现的最小差值。",
        "task": "任务", "run": "评测", "metric": "指标", "n": "题数", "score": "得分",
        "difference": "差值", "p": "p", "verdict": "结论", "detectable": "可测差值",
        "better": "更好", "worse": "更差", "not separable": "无法区分",
        "all": "全部", "clean": "未污染", "contaminated": "已污染", "gap": "已污染 − 未污染",
        "differences": "差值", "scores": "得分", "contamination": "污染",
        "contamination_how": "未污染的题目，是语料整理时没有在文档中找到的题目；"
        "两组题目不同，差值也包含难度的不同。",
        "series": "检查点",
        "series_how": "噪声是最后五个检查点围绕趋势的波动。"
        "首尾之差大于噪声所能解释的，才算有进展。",
        "noise": "噪声", "progress": "有进展", "yes": "是", "no": "否", "mean": "各任务平均",
        "left_out": "未比较", "not_scored": "{task} 有 {n} 题未计入：并非每次评测都给出了分数。",
        "others": "pass@k", "chance": "随机水平", "lower": "越低越好",
    },
}  # fmt: skip

_STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;max-width:72rem;margin:2rem auto;
padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th.text,td.text{text-align:left}
.better{color:#176b3a;font-weight:600}.worse{color:#a3261b;font-weight:600}
svg{max-width:100%;height:auto}svg text{font-size:12px;fill:currentColor}
.axis{stroke:#bbb}.zero{stroke:#555}.range{stroke:#888;stroke-width:2}.dot{fill:#888}
.range.better,.line{stroke:#176b3a}.dot.better{fill:#176b3a}
.range.worse{stroke:#a3261b}.dot.worse{fill:#a3261b}.line{fill:none;stroke-width:2}
.band{fill:#176b3a;opacity:.12}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}
.better{color:#6fce96}.worse{color:#f08a80}.axis{stroke:#555}.zero{stroke:#aaa}}
"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first columns, `texts` of them, are words, not numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int


@dataclass(frozen=True)
class Section:
    """A heading, what is said under it, and a table."""

    heading: str
    text: str
    table: Table


def to_json(report: Report) -> dict[str, Any]:
    """The whole comparison as JSON values."""
    return {"schema": SCHEMA, "version": VERSION, **asdict(report)}


def markdown(report: Report, language: Language) -> str:
    """The comparison as Markdown, for a pull request or a terminal."""
    words = _WORDS[language]
    parts = [f"# {words['title']}", _introduction(report, language)]
    for section in _sections(report, language):
        parts.append(f"## {section.heading}")
        parts += [section.text] if section.text else []
        parts.append(_markdown_table(section.table))
    parts += _notes(report, language)
    return "\n\n".join(parts) + "\n"


def page(report: Report, language: Language) -> str:
    """The comparison as one HTML page with its plots."""
    words = _WORDS[language]
    body = [f"<h1>{_safe(words['title'])}</h1>", f"<p>{_safe(_introduction(report, language))}</p>"]
    for section in _sections(report, language):
        body.append(f"<h2>{_safe(section.heading)}</h2>")
        body += [f"<p>{_safe(section.text)}</p>"] if section.text else []
        body.append(_html_table(section.table, language))
        if section.heading == words["differences"]:
            body.append(_difference_plot(report))
        if section.heading == words["series"]:
            body += [_series_plot(task) for task in report.tasks]
    body += [f"<p>{_safe(note)}</p>" for note in _notes(report, language)]
    tag = {"en": "en", "zh": "zh-Hans"}[language]
    return (
        f'<!doctype html><html lang="{tag}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_safe(words['title'])}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _introduction(report: Report, language: Language) -> str:
    words = _WORDS[language]
    return words["against"].format(first=report.runs[0]) + " " + words["how"]


def _notes(report: Report, language: Language) -> list[str]:
    words = _WORDS[language]
    notes = [
        words["not_scored"].format(n=f"{task.not_scored:,}", task=task.label)
        for task in report.tasks
        if task.not_scored
    ]
    if report.left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in report.left_out)
        notes.append(f"{words['left_out']}: {reasons}")
    return notes


def _sections(report: Report, language: Language) -> Iterator[Section]:
    words = _WORDS[language]
    yield Section(words["differences"], "", _difference_table(report, language))
    yield Section(words["scores"], "", _score_table(report, language))
    if any(task.others for task in report.tasks):
        yield Section(words["others"], "", _others_table(report, language))
    if any(score.clean or score.contaminated for task in report.tasks for score in task.scores):
        yield Section(
            words["contamination"], words["contamination_how"], _contamination(report, language)
        )
    if report.is_series:
        yield Section(words["series"], words["series_how"], _series_table(report, language))


def _difference_table(report: Report, language: Language) -> Table:
    words = _WORDS[language]
    rows = [
        [
            task.label,
            one.name,
            words[one.verdict],
            _metric(task, language),
            f"{one.difference.n:,}",
            _signed(one.difference.value),
            _range(one.difference.interval),
            _p(one.adjusted),
            _plain(one.difference.detectable),
        ]
        for task in report.tasks
        for one in task.comparisons
    ]
    rows += [
        [words["mean"], one.name, "", "", "", _signed(one.value), _range(one.interval),
         _p(one.p_value), ""]
        for one in report.overall
    ]  # fmt: skip
    names = ("task", "run", "verdict", "metric", "n", "difference", "95 %", "p", "detectable")
    return Table([words.get(name, name) for name in names], rows, texts=4)


def _metric(task: TaskComparison, language: Language) -> str:
    if task.metric not in LOWER_IS_BETTER:
        return task.metric
    return f"{task.metric} ({_WORDS[language]['lower']})"


def _score_table(report: Report, language: Language) -> Table:
    words = _WORDS[language]
    rows = [
        [task.label, score.name, task.metric, f"{score.all.n:,}", _plain(score.all.value),
         _range(score.all.interval), _plain(task.chance)]
        for task in report.tasks
        for score in task.scores
    ]  # fmt: skip
    names = ("task", "run", "metric", "n", "score", "95 %", "chance")
    return Table([words.get(name, name) for name in names], rows, texts=3)


def _others_table(report: Report, language: Language) -> Table:
    words = _WORDS[language]
    rows = [
        [task.label, name, metric, f"{one.n:,}", _plain(one.value), _range(one.interval)]
        for task in report.tasks
        for metric, estimates in task.others.items()
        for name, one in zip(report.runs, estimates, strict=True)
    ]
    names = ("task", "run", "metric", "n", "score", "95 %")
    return Table([words.get(name, name) for name in names], rows, texts=3)


def _contamination(report: Report, language: Language) -> Table:
    words = _WORDS[language]
    rows = [
        [task.label, score.name, *_halves(score), *_clean(task, score)]
        for task in report.tasks
        for score in task.scores
        if score.clean or score.contaminated
    ]
    names = ("task", "run", "all", "clean", "contaminated", "gap", "95 %")
    header = [words.get(name, name) for name in names]
    return Table([*header, f"{words['difference']} ({words['clean']})", "95 %"], rows, texts=2)


def _halves(score: Score) -> list[str]:
    cells = [_counted(score.all), _counted(score.clean), _counted(score.contaminated)]
    gap = score.gap
    return [*cells, *(("–", "–") if gap is None else (_signed(gap[0]), _range(gap[1])))]


def _clean(task: TaskComparison, score: Score) -> list[str]:
    found = next((one for one in task.comparisons if one.name == score.name), None)
    if found is None or found.clean is None:
        return ["–", "–"]
    return [_signed(found.clean.value), _range(found.clean.interval)]


def _counted(one: Estimate | None) -> str:
    return "–" if one is None else f"{one.value:.3f} ({one.n:,})"


def _series_table(report: Report, language: Language) -> Table:
    words = _WORDS[language]
    rows = [
        [
            task.label,
            {True: words["yes"], False: words["no"], None: "–"}[task.is_progress],
            _plain(task.noise),
            *(_plain(score.all.value) for score in task.scores),
        ]
        for task in report.tasks
    ]
    return Table([words["task"], words["progress"], words["noise"], *report.runs], rows, texts=2)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _range(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return "–"
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]".replace("-", "−")


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown_table(table: Table) -> str:
    marks = ["---" if place < table.texts else "---:" for place in range(len(table.header))]
    lines = [table.header, marks, *table.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _html_table(table: Table, language: Language) -> str:
    words = _WORDS[language]
    classes = {words["better"]: "better", words["worse"]: "worse"}

    def cell(tag: str, place: int, text: str) -> str:
        names = ["text"] if place < table.texts else []
        names += [classes[text]] if text in classes else []
        mark = f' class="{" ".join(names)}"' if names else ""
        return f"<{tag}{mark}>{_safe(text)}</{tag}>"

    head = "".join(cell("th", place, text) for place, text in enumerate(table.header))
    body = "".join(
        "<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>"
        for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_ROW, _LABEL, _WIDTH, _MARGIN = 24, 260, 420, 20


def _difference_plot(report: Report) -> str:
    """Every difference with its interval, on one axis with zero marked."""
    drawn = [(task, one) for task in report.tasks for one in task.comparisons]
    ends = [end for _, one in drawn for end in (one.difference.interval or (one.difference.value,))]
    reach = max(0.01, *(abs(end) for end in ends)) * 1.05
    height = _ROW * len(drawn) + 30

    def x(value: float) -> float:
        return _LABEL + _WIDTH * (value + reach) / (2 * reach)

    parts = [
        f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{height - 25}"/>',
        *(
            f'<text x="{x(at):.1f}" y="{height - 8}" text-anchor="middle">{_signed(at)}</text>'
            for at in (-reach / 1.05, 0.0, reach / 1.05)
        ),
    ]
    for row, (task, one) in enumerate(drawn):
        y = _ROW * row + _ROW / 2
        label = task.label if len(report.runs) == 2 else f"{task.label}, {one.name}"
        parts.append(f'<text x="0" y="{y + 4:.1f}">{_safe(_short(label))}</text>')
        parts.append(_whisker(one, y, x))
    return _svg(_LABEL + _WIDTH + _MARGIN, height, parts, "95 %")


def _whisker(one: Comparison, y: float, x: Any) -> str:
    kind = one.verdict if one.verdict != "not separable" else ""
    difference: Difference = one.difference
    line = ""
    if difference.interval is not None:
        low, high = difference.interval
        line = (
            f'<line class="range {kind}" x1="{x(low):.1f}" x2="{x(high):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    return f'{line}<circle class="dot {kind}" cx="{x(difference.value):.1f}" cy="{y:.1f}" r="4"/>'


def _series_plot(task: TaskComparison) -> str:
    """The scores of a series in order, with the intervals as a band."""
    low = min((s.all.interval or (s.all.value,))[0] for s in task.scores)
    high = max((s.all.interval or (s.all.value,))[-1] for s in task.scores)
    span = (high - low) or 1.0
    height, width = 160, _WIDTH

    def place(index: int, value: float) -> str:
        x = _MARGIN * 3 + width * index / max(1, len(task.scores) - 1)
        return f"{x:.1f},{height - 30 - (height - 50) * (value - low) / span:.1f}"

    line = " ".join(place(index, score.all.value) for index, score in enumerate(task.scores))
    upper = [place(i, (s.all.interval or (s.all.value,))[-1]) for i, s in enumerate(task.scores)]
    lower = [place(i, (s.all.interval or (s.all.value,))[0]) for i, s in enumerate(task.scores)]
    parts = [
        f'<polygon class="band" points="{" ".join([*upper, *reversed(lower)])}"/>',
        f'<polyline class="line" points="{line}"/>',
        f'<text x="0" y="{height - 30}">{low:.3f}</text>',
        f'<text x="0" y="22">{high:.3f}</text>',
        f'<text x="{_MARGIN * 3}" y="{height - 6}">{_safe(_short(task.scores[0].name))}</text>',
        f'<text x="{_MARGIN * 3 + width}" y="{height - 6}" text-anchor="end">'
        f"{_safe(_short(task.scores[-1].name))}</text>",
    ]
    title = f"<h3>{_safe(task.label)}, {_safe(task.metric)}</h3>"
    return title + _svg(width + _MARGIN * 4, height, parts, task.label)


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {math.ceil(width)} {math.ceil(height)}" '
        f'width="{math.ceil(width)}" role="img">'
        f"<title>{_safe(title)}</title>{''.join(parts)}</svg>"
    )


def _short(text: str, most: int = 36) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _safe(text: str) -> str:
    return html.escape(text)
