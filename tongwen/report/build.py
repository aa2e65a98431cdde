"""One offline HTML file about a run, a pure function of the files in its directory."""

import base64
import hashlib
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tongwen.files import write_text
from tongwen.packages import installed_versions
from tongwen.report.charts import bar
from tongwen.report.cost import build_cost
from tongwen.report.evaluation import build_evaluation
from tongwen.report.forecast import build_forecast
from tongwen.report.funnel import build_funnel
from tongwen.report.gold import build_gold
from tongwen.report.headline import build_headline
from tongwen.report.markdown import Language, markdown_text
from tongwen.report.problems import bad_names, build_problems
from tongwen.report.proofs import build_proofs
from tongwen.report.rules import rule_name
from tongwen.report.run_files import RunFiles
from tongwen.report.saving import build_saving
from tongwen.report.settings import ReportSettings
from tongwen.report.state import read_state
from tongwen.report.state_text import distinct_names, state_sentence
from tongwen.report.thresholds import build_thresholds
from tongwen.report.training import Phase, build_phase
from tongwen.report.words import amount, duration, number, share, size, words
from tongwen.report.yields import build_yield
from tongwen.stages import TRAINING_STAGES
from tongwen.train.metrics import METRICS

REPORT = "report.html"
MARKDOWN: dict[Language, str] = {"en": "report.md", "zh": "report.zh.md"}
_SETTINGS = ReportSettings()


def build_report(run_dir: Path, others: Sequence[Path] = ()) -> Path:
    """Write `report.html` of a run, and the same in Markdown; returns the page's path.

    What a stage has not written yet is left out, and the page says so. Texts that come from the
    crawl or the model are data: they are escaped, and the page's policy allows no script but its
    own.

    Args:
        run_dir: a run directory, or the folder of one stage that ran alone.
        others: runs whose training curves are drawn over this one's.

    Raises:
        InputError: one of them is not a run directory.
    """
    content = report_content(run_dir, others)
    folder: Path = content["run"].directory
    path = folder / REPORT
    write_text(path, page_text(content) + "\n")
    for language, name in MARKDOWN.items():
        write_text(folder / name, markdown_text(content, language))
    return path


def page_text(content: Mapping[str, Any], *, is_live: bool = False) -> str:
    """The page as HTML; a live one fetches its style, scripts and content from its server."""
    return _environment().get_template("report.html.jinja").render(**content, is_live=is_live)


def main_text(content: Mapping[str, Any]) -> str:
    """What is inside the page's `main`, as HTML."""
    return _environment().get_template("main.html.jinja").render(**content, is_live=True)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tongwen.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions = (bar, amount, duration, number, rule_name, share, size)
    environment.globals |= {"t": words} | {function.__name__: function for function in functions}
    return environment


def report_content(run_dir: Path, others: Sequence[Path] = ()) -> dict[str, Any]:
    """What the templates of the page are given; see `build_report`."""
    run = RunFiles.open(run_dir)
    state = read_state(run)
    manifests = run.manifests
    shards = run.json("encode/shards.json")
    funnel_data = run.json("curate/funnel.json")
    funnel = build_funnel(funnel_data, shards) if funnel_data else None
    gold_data = run.json("curate/score.json")
    gold = build_gold(gold_data) if gold_data else None
    phases = _phases(run, [RunFiles.open(other) for other in others])
    results = run.json("evaluate/results.json")
    evaluation = build_evaluation(results, run.rows("evaluate/items.jsonl")) if results else None
    cost = build_cost(manifests, run.json("plan/plan.json"))
    most = int(run.recipe.get("report", {}).get("dropped_examples", _SETTINGS.dropped_examples))
    rejects = _rejects(run.rows("curate/rejects.jsonl"), most)
    problems = build_problems(run)
    harvest = build_yield(run.json("curate/cost.json"), funnel)
    style, script = _page_file("report.css"), _page_file("report.js")
    return {
        "run": run,
        "state": state,
        "planned": [stage.name for stage in state.stages],
        "state_sentence": state_sentence(state),
        "headline": build_headline(
            run, funnel, shards, gold, phases, evaluation, cost, bad_names(problems)
        ),
        "funnel": funnel,
        "harvest": harvest,
        "proofs": build_proofs(run),
        "thresholds": build_thresholds(run.json("curate/histograms.json") or (), gold_data),
        "gold": gold,
        "phases": [
            {
                "training": phase,
                "sentence": _sentence(phase),
                "forecast": build_forecast(run, phase.stage),
                "saving": build_saving(run) if phase.stage == "pretrain" else None,
            }
            for phase in phases
        ],
        "phases_missing": [
            stage
            for stage in TRAINING_STAGES
            if stage not in manifests
            and stage not in {phase.stage for phase in phases}
            and run.alone in (None, stage)
        ],
        "evaluation": evaluation,
        "quantization": run.json("quantize/quality.json"),
        "cost": cost,
        "rejects": rejects,
        "rejected": {(group.stage, group.rule): group.anchor for group in rejects},
        "quarantined": [
            {"stage": stage, **item}
            for stage, manifest in manifests.items()
            for item in manifest.quarantined
        ],
        "problem_files": problems,
        "versions": _versions(),
        "problems": run.problems,
        "style": style,
        "style_hash": _policy_hash(style),
        "script": script,
        "script_hash": _policy_hash(script),
    }


def _phases(run: RunFiles, others: Sequence[RunFiles]) -> list[Phase]:
    names = distinct_names([run.directory, *(other.directory for other in others)])
    phases = []
    for stage in TRAINING_STAGES:
        own, *rows = (list(one.rows(f"{stage}/{METRICS}")) for one in (run, *others))
        drawn = dict(zip(names[1:], rows, strict=True))
        phases.append(build_phase(stage, own, name=names[0], others=drawn))
    return [phase for phase in phases if phase.steps]


def _sentence(phase: Phase) -> Markup:
    """The outcome of a training stage, in words."""
    last = phase.last
    parts = [
        words(
            "phase",
            tokens=amount(last.get("tokens", 0)),
            steps=number(phase.steps),
            loss=f"{last.get('loss', math.nan):.3f}",
        )
    ]
    if "valid_en_bits_per_byte" in last and "valid_zh_bits_per_byte" in last:
        english, chinese = last["valid_en_bits_per_byte"], last["valid_zh_bits_per_byte"]
        parts.append(words("phase_bits", english=f"{english:.3f}", chinese=f"{chinese:.3f}"))
    if phase.tokens_per_second is not None:
        parts.append(words("phase_rate", rate=number(round(phase.tokens_per_second))))
    return Markup("").join(parts)


@dataclass(frozen=True)
class RejectGroup:
    """Samples of the documents that one rule dropped."""

    stage: str
    rule: str
    anchor: str
    rows: list[dict[str, Any]]


def _rejects(rows: Iterable[Mapping[str, Any]], most: int) -> list[RejectGroup]:
    """Samples by rule, at most `most` of each language."""

    def reason(row: Mapping[str, Any]) -> tuple[str, str]:
        return str(row.get("drop_stage") or ""), str(row.get("drop_rule") or "")

    shown: Counter[tuple[Any, ...]] = Counter()
    chosen_rows = []
    for row in rows:
        shown[*reason(row), row.get("lang")] += 1
        if shown[*reason(row), row.get("lang")] <= most:
            chosen_rows.append(row)
    grouped = groupby(sorted(chosen_rows, key=reason), key=reason)
    return [
        RejectGroup(
            stage, rule, f"dropped-{place}", [{**row, "reason": _reason(row)} for row in chosen]
        )
        for place, ((stage, rule), chosen) in enumerate(grouped)
    ]


def _reason(row: Mapping[str, Any]) -> str:
    """The measured value and its threshold, or which document it duplicates."""
    value, threshold = row.get("drop_value"), row.get("drop_threshold")
    if value is None:
        return f"= {row['duplicate_of']}" if row.get("duplicate_of") else ""
    if threshold is None:
        return number(value)
    sign = "<" if value < threshold else "≥" if value == threshold else ">"
    return f"{number(value)} {sign} {number(threshold)}"


def _versions() -> list[tuple[str, str]]:
    machine = [("python", platform.python_version()), ("system", platform.platform())]
    return [*machine, *installed_versions("data", "train").items()]


def _page_file(name: str) -> Markup:
    """A file that becomes part of the page as it is: our own, so trusted."""
    return Markup((resources.files("tongwen.report") / "page" / name).read_text("utf-8"))


def _policy_hash(content: str) -> str:
    """How a content security policy names an inline script or style."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
