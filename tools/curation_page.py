"""Write the figures of a finished curate stage into docs/en/curation.md and docs/zh/curation.md.

    python tools/curation_page.py RUN/stages/curate

What stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tongwen.curate.records.edits import CUTS, KINDS
from tongwen.files import read_json

DOCS = Path(__file__).resolve().parent.parent / "docs"
LANGUAGES = ("en", "zh-Hans", "zh-Hant", "code")
WORDS = {
    "en": {
        "step": "step", "reason": "rule", "pages": "pages", "characters": "characters",
        "read": "read", "kept": "kept", "other": "other", "tasks": "tasks",
        "seconds": "worker seconds", "memory": "largest worker, MiB", "rule": "rule",
        "threshold": "threshold", "documents": "documents", "outside": "outside",
        "kind": "edit", "places": "places", "cut": "characters cut", "share": "share of time",
        "yield": "{pages:,} records ({raw:.1f} MB of archives) gave {kept:,} documents with "
                 "{characters:,} characters in {seconds:,.0f} seconds of one worker: "
                 "{rate:.0f} records a second and worker. One terabyte of such archives would give "
                 "{tera:.2f} × 10¹² characters and take {hours:,.0f} worker hours.",
        "task": "benchmark", "items": "items", "found": "items found", "dropped": "documents "
        "dropped", "documents_cut": "documents cut",
    },
    "zh": {
        "step": "步骤", "reason": "规则", "pages": "网页", "characters": "字符",
        "read": "读入", "kept": "保留", "other": "其他", "tasks": "任务数",
        "seconds": "工作进程秒数", "memory": "最大进程内存，MiB", "rule": "规则",
        "threshold": "阈值", "documents": "文档", "outside": "阈值之外",
        "kind": "编辑", "places": "处", "cut": "删去字符", "share": "时间占比",
        "yield": "{pages:,} 条记录（归档 {raw:.1f} MB）得到 {kept:,} 篇文档、"
                 "{characters:,} 个字符，单个工作进程用时 {seconds:,.0f} 秒："
                 "每进程每秒 {rate:.0f} 条。这样的归档每太字节约得 {tera:.2f} 万亿字符，"
                 "需 {hours:,.0f} 进程小时。",
        "task": "评测集", "items": "题数", "found": "命中题数", "dropped": "剔除文档",
        "documents_cut": "删改文档",
    },
}  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; numbers are grouped."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def funnel_rows(funnel: Mapping[str, Any], words: Mapping[str, str]) -> list[list[Any]]:
    """Pages by step, rule and language, then what is kept; characters in the last column."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for row in funnel["dropped"]:
        count = sums.setdefault((row["stage"], row["rule"]), Counter())
        count[row["lang"] if row["lang"] in LANGUAGES else "other"] += row["pages"]
        count["characters"] += row["characters"]
    kept: Counter[str] = Counter()
    for row in funnel["kept"]:
        kept[row["lang"]] += row["pages"]
        kept["characters"] += row["characters"]
    columns = (*LANGUAGES, "other")
    body = [
        [stage, f"`{rule}`", *(count[name] for name in columns), count["characters"]]
        for (stage, rule), count in sums.items()
    ]
    ends = [f"**{words['kept']}**", "", *(kept[name] for name in columns), kept["characters"]]
    return [*body, ends]


def edit_rows(folder: Path) -> list[list[Any]]:
    """Characters cut, or places replaced, by kind, over the documents that are kept."""
    rows = []
    columns = [f"{kind}_{'characters' if kind in CUTS else 'count'}" for kind in KINDS]
    sums = dict.fromkeys(columns, 0)
    touched = dict.fromkeys(columns, 0)
    for path in sorted((folder / "attributes").glob("*.parquet")):
        attributes = pq.read_table(path, columns=["drop_stage", *columns])
        kept = attributes.filter(pc.is_null(attributes["drop_stage"]))
        for column in columns:
            sums[column] += pc.sum(kept[column]).as_py() or 0
            touched[column] += pc.sum(pc.greater(kept[column], 0)).as_py() or 0
    for kind, column in zip(KINDS, columns, strict=True):
        rows.append([f"`{kind}`", touched[column], sums[column]])
    return rows


def blocks(folder: Path, language: str) -> dict[str, str]:
    """Name -> generated Markdown."""
    words = WORDS[language]
    funnel, cost = read_json(folder / "funnel.json"), read_json(folder / "cost.json")
    kept = Counter[str]()
    for row in funnel["kept"]:
        kept.update({name: row[name] for name in ("pages", "characters")})
    terabytes = cost["crawl_bytes"] / 1e12
    seconds = cost["worker_seconds"]
    found = {
        "yield": words["yield"].format(
            pages=funnel["read"]["pages"], raw=cost["crawl_bytes"] / 1e6, kept=kept["pages"],
            characters=kept["characters"], seconds=seconds,
            rate=funnel["read"]["pages"] / seconds, tera=kept["characters"] / terabytes / 1e12,
            hours=seconds / terabytes / 3600,
        ),
        "funnel": table(
            [words["step"], words["reason"], *LANGUAGES, words["other"], words["characters"]],
            funnel_rows(funnel, words),
        ),
        "edits": table([words["kind"], words["documents"], words["cut"]], edit_rows(folder)),
        "cost": table(
            [words["step"], words["tasks"], words["seconds"], words["share"], words["memory"]],
            [[f"`{name}`", step["tasks"], round(step["seconds"], 1),
              f"{100 * step['seconds'] / seconds:.1f} %", step["peak_memory_bytes"] >> 20]
             for name, step in cost["steps"].items()],
        ),
        "thresholds": table(
            ["", words["rule"], words["threshold"], words["documents"], words["outside"]],
            [[row["section"], f"`{row['rule']}`", float(row["threshold"]), row["documents"],
              row["outside"]]
             for row in read_json(folder / "histograms.json") if row["outside"]],
        ),
    }  # fmt: skip
    contamination = folder / "contamination.json"
    if contamination.is_file():
        found["contamination"] = table(
            [words["task"], words["items"], words["found"], words["dropped"],
             words["documents_cut"]],
            [[f"`{row['benchmark']}`", row["items"], row["items_found"], row["documents_dropped"],
              row["documents_cut"]] for row in read_json(contamination)["benchmarks"]],
        )  # fmt: skip
    return found


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page with its marked blocks replaced.

    Raises:
        ValueError: a block of the page has no figures.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in parts:
            raise ValueError(f"there are no figures for the block `{name}`")
        return f"<!-- {name}: begin -->\n{parts[name]}\n<!-- {name}: end -->"

    return re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", replace, page, flags=re.S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of a finished curate stage")
    folder = parser.parse_args().folder
    for language in WORDS:
        path = DOCS / language / "curation.md"
        path.write_text(
            filled(path.read_text(encoding="utf-8"), blocks(folder, language)), encoding="utf-8"
        )
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
