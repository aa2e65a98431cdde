"""Write the tables and heat maps of docs/en/long-context.md and docs/zh/long-context.md.

    python tools/long_page.py

Text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced. What was
measured is in `bench/long_memory.jsonl`, `bench/long_validation.jsonl` and
`bench/long_needles.json`. Nothing is measured here: the same files give the same pages.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from page_blocks import with_blocks

ROOT = Path(__file__).resolve().parent.parent
BENCH, DOCS = ROOT / "bench", ROOT / "docs"
PASSES = ("forward", "backward", "prefill", "decode")
ENGINES = ("tongwen", "transformers")
SAID: Mapping[str, Any] = {
    "en": {
        "memory": ("tokens", "pass", "CPU time, transformers / ours",
                   "memory, transformers / ours", "ours: CPU s", "MiB",
                   "transformers: CPU s", "MiB"),
        "passes": dict(zip(PASSES, ("forward", "forward and backward", "prefill",
                                    "decode, a token"), strict=True)),
        "too_big": "more than {gib} GiB",
        "prefill": "Prefill over forward, CPU time: {ratios}.",
        "planned": "Memory of forward and backward, as planned over as measured: {ratios}.",
        "at": "{ratio:.2f} at {tokens:,} tokens",
        "machine": "Measured on {machine}, one thread, float32.",
        "joint": ", ",
        "none": "Not measured yet.",
    },
    "zh": {
        "memory": ("词元数", "计算", "CPU 时间之比（transformers / 本项目）",
                   "内存之比（transformers / 本项目）", "本项目：CPU 秒", "MiB",
                   "transformers：CPU 秒", "MiB"),
        "passes": dict(zip(PASSES, ("前向", "前向加反向", "预填充", "解码一个词元"), strict=True)),
        "too_big": "超过 {gib} GiB",
        "prefill": "预填充与前向的 CPU 时间之比：{ratios}。",
        "planned": "前向加反向的内存，规划值与实测值之比：{ratios}。",
        "at": "{tokens:,} 个词元时 {ratio:.2f}",
        "machine": "测量环境：{machine}，单线程，float32。",
        "joint": "，",
        "none": "尚未测量。",
    },
}  # fmt: skip


def memory_table(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    """Time and memory of each pass, beside transformers; the newest measurement of each."""
    said = SAID[language]
    if not rows:
        return str(said["none"])
    found = {(row["tokens"], row["pass"], row["engine"]): row for row in rows}
    heads = said["memory"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for tokens in sorted({key[0] for key in found}):
        for name in PASSES:
            ours, theirs = (found.get((tokens, name, engine)) for engine in ENGINES)
            if ours is not None:
                cells = _cells(ours, theirs, said)
                lines.append(f"| {tokens:,} | {said['passes'][name]} | {' | '.join(cells)} |")
    machines = sorted({row["machine"] for row in found.values()})
    sentences = [*_ratios(found, said), said["machine"].format(machine=", ".join(machines))]
    return "\n".join([*lines, "", *sentences])


def _ratios(
    found: Mapping[tuple[int, str, str], Mapping[str, Any]], said: Mapping[str, Any]
) -> list[str]:
    """Prefill over a plain forward pass, and memory as planned over memory as measured."""
    lengths = sorted({key[0] for key in found})
    read, planned = [], []
    for tokens in lengths:
        forward, prefill, backward = (
            found.get((tokens, name, "tongwen")) for name in ("forward", "prefill", "backward")
        )
        if forward and prefill:
            ratio = prefill["seconds"] / forward["seconds"]
            read.append(said["at"].format(ratio=ratio, tokens=tokens))
        if backward and "planned_mib" in backward:
            ratio = backward["planned_mib"] / backward["mib"]
            planned.append(said["at"].format(ratio=ratio, tokens=tokens))
    named = (("prefill", read), ("planned", planned))
    return [said[name].format(ratios=said["joint"].join(all_)) for name, all_ in named if all_]


def _cells(
    ours: Mapping[str, Any], theirs: Mapping[str, Any] | None, said: Mapping[str, Any]
) -> list[str]:
    own = [f"{ours['seconds']:.3g}", f"{ours['mib']:,.0f}"]
    if theirs is None:
        return ["–", "–", *own, "–", "–"]
    if theirs["seconds"] is None:
        return ["–", "–", *own, "–", said["too_big"].format(gib=f"{theirs['most_gib']:g}")]
    ratios = [f"{theirs[key] / ours[key]:.2f}" for key in ("seconds", "mib")]
    return [*ratios, *own, f"{theirs['seconds']:.3g}", f"{theirs['mib']:,.0f}"]


def _rows(name: str) -> list[dict[str, Any]]:
    path = BENCH / name
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def filled(page: str, language: str) -> str:
    """The page with its generated parts."""
    return with_blocks(page, {"memory": memory_table(_rows("long_memory.jsonl"), language)})


def main() -> None:
    """Write both pages."""
    for language in SAID:
        path = DOCS / language / "long-context.md"
        path.write_text(filled(path.read_text("utf-8"), language), "utf-8")


if __name__ == "__main__":
    main()
