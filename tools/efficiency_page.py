"""Write the figures of docs/en/efficiency.md and docs/zh/efficiency.md from the ledger's rows.

    python tools/efficiency_page.py

Text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced. The rows are
`bench/cost.jsonl`, the text they were trained on `bench/cost-data.json`, and the proofs
`bench/proofs/`. Nothing is measured: the same files give the same pages.
"""

import json
import sys
from pathlib import Path
from typing import Any

from page_blocks import with_blocks

ROOT = Path(__file__).resolve().parent.parent
BENCH, DOCS = ROOT / "bench", ROOT / "docs"
sys.path.insert(0, str(BENCH))

import cost_text  # noqa: E402
from cost import SIZES  # noqa: E402
from cost_runs import ModelConfig, Run, read_levers  # noqa: E402
from cost_table import SizeTable, tables  # noqa: E402
from ladder import VOCABULARY  # noqa: E402

PACKAGED = ROOT / "tongwen" / "report" / "ledger.json"
GOAL = 1.667
"""What 1,200 devices in place of 2,000 ask for."""
SAID = {
    "en": {
        "goal": "Goal in FLOPs, {goal}, with the lower bound above it, English and Chinese "
                "together: {sizes}.",
        "met": "met at {size} ({low:.2f})", "missed": "not met at {size} ({low:.2f})",
        "open": "not measured at {size}",
        "trend": "From the smallest to the largest size the ratio in FLOPs goes {ratios}. Beyond "
                 "the largest nothing is claimed.",
        "law": "The planner's law says rate {rate}, batch {batch}.",
        "none": "Not measured yet.",
        "machine": "Measured on {machines}; {runs} runs.",
        "data": ("text", "documents", "megabytes", "tokens"),
        "title": "At {size}",
        "counts": "Counts, for the better: {names}.", "worse": "Counts, for the worse: {names}.",
        "nothing": "Shows no effect that counts: {names}.", "comma": "; ",
        "proof": ("question", "language", "groups: bits per byte", "last minus first",
                  "Spearman", "Kendall"),
    },
    "zh": {
        "goal": "以 FLOPs 计的目标为 {goal}，且区间下界高于它（中英文合计）：{sizes}。",
        "met": "{size} 达到（下界 {low:.2f}）", "missed": "{size} 未达到（下界 {low:.2f}）",
        "open": "{size} 未测",
        "trend": "从最小到最大规模，FLOPs 之比依次为 {ratios}。超出最大规模不作任何断言。",
        "law": "规划器的定律给出：学习率 {rate}，批大小 {batch}。",
        "none": "尚未测量。",
        "machine": "测量环境：{machines}；共 {runs} 次运行。",
        "data": ("文本", "文档数", "兆字节", "词元"),
        "title": "规模 {size}",
        "counts": "成立且更好：{names}。", "worse": "成立但更差：{names}。",
        "nothing": "未显示出成立的效果：{names}。", "comma": "；",
        "proof": ("问题", "语言", "各组每字节比特", "末组减首组", "Spearman", "Kendall"),
    },
}  # fmt: skip


def blocks(language: str) -> dict[str, str]:
    """Name of a block -> its Markdown."""
    said: dict[str, Any] = SAID[language]
    rows = [json.loads(line) for line in (BENCH / "cost.jsonl").read_text("utf-8").splitlines()]
    found = {
        name: table for name, table in tables(rows).items() if table.group("budget", "baseline")
    }
    levers = read_levers()
    parts: dict[str, list[str]] = {"sweep": [], "alone": [], "added": [], "left": []}
    for name, table in found.items():
        title = f"**{said['title'].format(size=name)}**"
        for part, text in (
            ("sweep", cost_text.sweep(table, language)),
            ("alone", cost_text.levers_alone(table, levers, language)),
            ("added", cost_text.levers_added(table, levers, language)),
            ("left", cost_text.levers_left_out(table, levers, language)),
        ):
            if text.count("\n") > 1:
                parts[part] += [title, "", text, ""]
                note = law(name, language) if part == "sweep" else verdicts(table, part, language)
                parts[part] += [note, ""]
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    return {
        "goal": goal(found, language),
        "headline": cost_text.headline(found, language),
        "split": cost_text.split(found, language),
        "lengths": cost_text.lengths(found, language),
        "curves": cost_text.curves(found, language),
        "deviations": cost_text.deviations(found, language),
        "data": data(language),
        "proofs": proofs(language),
        "machine": said["machine"].format(machines=machines, runs=len(rows)),
        **{name: "\n".join(lines).strip() or said["none"] for name, lines in parts.items()},
    }


def goal(found: dict[str, SizeTable], language: str) -> str:
    """Whether the goal is met at each size, and how the ratio goes with it."""
    said, sizes, ratios = SAID[language], [], []
    for name, table in found.items():
        worth = table.worth("mean", "flops")
        if worth is None or worth.low is None:
            sizes.append(said["open"].format(size=name))
            continue
        kind = "met" if worth.low > GOAL else "missed"
        sizes.append(said[kind].format(size=name, low=worth.low))
        ratios.append(f"{worth.ratio:.2f}")
    text = said["goal"].format(goal=GOAL, sizes=said["comma"].join(sizes))
    if len(ratios) > 1:
        text += " " + said["trend"].format(ratios=", ".join(ratios))
    return text


def verdicts(table: SizeTable, part: str, language: str) -> str:
    """The levers of a table by what the rule of evidence says."""
    said, levers = SAID[language], read_levers()
    kind = {"alone": "lever", "added": "added", "left": "left out"}[part]
    against = table.group("budget", "baseline" if part == "alone" else "recipe")
    sorted_names: dict[str, list[str]] = {"counts": [], "worse": [], "nothing": []}
    for name in table.variants(kind):
        if name not in levers:
            continue
        effect = table.effect(table.group(kind, name), against, "mean")
        is_better = (effect.difference < 0) != (part == "left")
        key = "nothing" if not effect.counts else "counts" if is_better else "worse"
        sorted_names[key].append(getattr(levers[name], language))
    return " ".join(
        said[key].format(names=said["comma"].join(names))
        for key, names in sorted_names.items()
        if names
    )


def law(name: str, language: str) -> str:
    """What the planner's law says in place of a sweep."""
    size = next(size for size in SIZES if size.name == name)
    lever = read_levers()["law"]
    run = Run(size, "lever", "law", (lever,), 1.0, 1, size.rate, size.batch_tokens)
    settings = run.settings(ModelConfig.from_settings(run.model, VOCABULARY))
    return SAID[language]["law"].format(
        rate=f"{settings.peak_learning_rate:.2g}", batch=f"{settings.batch_tokens:,}"
    )


def data(language: str) -> str:
    """What each text holds."""
    counts = json.loads((BENCH / "cost-data.json").read_text("utf-8"))
    lines = [_line(SAID[language]["data"]), "|---|---|---|---|"]
    for name, parts in counts.items():
        for part, values in parts.items():
            if part.startswith("valid") and name != "raw":
                continue
            shown = f"`{name}`, {'en' if part.endswith('00000') and 'zh' not in part else 'zh'}"
            if part.startswith("valid"):
                shown = f"`{part.rpartition('-')[0]}`"
            lines.append(
                _line((shown, f"{values['documents']:,}", f"{values['bytes'] / 1e6:.1f}",
                       f"{values['tokens']:,}"))
            )  # fmt: skip
    return "\n".join(lines)


def proofs(language: str) -> str:
    """One line for each proof and language."""
    lines = [_line(SAID[language]["proof"]), "|---|---|---|---|---|---|"]
    for path in sorted((BENCH / "proofs").glob("*/proof.json")):
        proof = json.loads(path.read_text("utf-8"))
        for name, found in proof["languages"].items():
            groups = ", ".join(
                f"{group['name']}: {group['bits_per_byte']:.4f}" for group in found["groups"]
            )
            gap, ranks = found["difference"], found["agreement"]
            reach = "" if gap["reach"] is None else f" ± {gap['reach']:.4f}"
            link = f"[{proof['title']}](../../bench/proofs/{path.parent.name}/proof.md)"
            shown = [f"{ranks[key]:+.2f}" if ranks else "" for key in ("spearman", "kendall")]
            lines.append(_line((link, name, groups, f"{gap['value']:+.4f}{reach}", *shown)))
    return "\n".join(lines) if len(lines) > 2 else SAID[language]["none"]


def packaged() -> dict[str, Any]:
    """What the report of a run may say at each size: Muon's worth, left out of the recipe, and the
    baseline's cost over the recipe's.
    """
    rows = [json.loads(line) for line in (BENCH / "cost.jsonl").read_text("utf-8").splitlines()]
    muon, baseline = [], []
    for table in tables(rows).values():
        group, base = table.group("left out", "muon"), table.group("budget", "recipe")
        worth = table.worth_of(group, "recipe", "mean", "flops")
        if worth is not None:
            effect = table.effect(group, base, "mean")
            muon.append(
                {
                    "parameters": group[0]["parameters"],
                    "ratio": round(1 / worth.ratio, 3),
                    "counts": effect.counts and effect.difference > 0,
                }
            )
        flops, seconds = (table.worth("mean", cost) for cost in ("flops", "cpu_seconds"))
        if flops is not None and seconds is not None:
            baseline.append(
                {
                    "parameters": base[0]["parameters"],
                    "flops": round(flops.ratio, 3),
                    "cpu_seconds": round(seconds.ratio, 3),
                }
            )
    return {"muon": muon, "baseline": baseline}


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def filled(page: str, language: str) -> str:
    """The page with its blocks generated anew."""
    return with_blocks(page, blocks(language))


def main() -> None:
    """Write both pages, and what the report takes of them."""
    for language in ("en", "zh"):
        path = DOCS / language / "efficiency.md"
        path.write_text(filled(path.read_text("utf-8"), language), "utf-8")
    PACKAGED.write_text(json.dumps(packaged(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
