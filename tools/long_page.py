"""Write the tables and heat maps of docs/en/long-context.md and docs/zh/long-context.md.

    python tools/long_page.py

Text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced. What was
measured is in `bench/long_memory.jsonl`, `bench/long_validation.jsonl` and
`bench/long_needles.json`, the `needles.json` of `tongwen evaluate long` on the study's model. The
heat maps are docs/images/needles-LANGUAGE.svg. Nothing is measured here: the same files give the
same pages.
"""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from page_blocks import with_blocks

from tongwen.model.config import ModelConfig
from tongwen.plan.formulas import training_memory
from tongwen.train.settings import TrainSettings

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
        "validation": ("language", "tokens of a sequence", "before, bits per byte",
                       "after the extension to {longer:,}", "change"),
        "needles": ("language", "kind"),
        "languages": {"en": "English", "zh": "Chinese", "zh-Hans": "Chinese", "code": "code"},
        "depth": "depth", "length": "tokens",
        "picture": "Share of needles found by depth and length, with 95 % intervals",
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
        "validation": ("语言", "序列的词元数", "扩展前，每字节比特", "扩展到 {longer:,} 之后",
                       "变化"),
        "needles": ("语言", "类别"),
        "languages": {"en": "英文", "zh": "中文", "zh-Hans": "中文", "code": "代码"},
        "depth": "位置", "length": "词元数",
        "picture": "按位置和长度统计的找到比例，附 95 % 置信区间",
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
        if backward:
            ratio = planned_mib(backward) / backward["mib"]
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


def planned_mib(row: Mapping[str, Any]) -> float:
    """What `tongwen plan` reckons with above the loaded model, without an optimizer."""
    tokens = row["tokens"]
    settings = TrainSettings(
        max_tokens=tokens, sequence_tokens=tokens, batch_tokens=tokens, micro_batch_tokens=tokens,
        recompute="layer",
    )  # fmt: skip
    config = ModelConfig(**row["shape"], vocabulary_size=row["vocabulary"])
    memory = training_memory(config, settings, bf16=False, on_cpu=True, process_bytes=0)
    return (memory.activations + memory.logits + memory.gradients) / 2**20


def validation_table(rows: Sequence[Mapping[str, Any]], language: str) -> str:
    """Bits per byte at the old window before and after an extension; the newest of each."""
    said = SAID[language]
    if not rows:
        return str(said["none"])
    found = {row["language"]: row for row in rows}
    heads = [head.format(longer=rows[-1]["extended_to"]) for head in said["validation"]]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [
        f"| {said['languages'].get(name, name)} | {row['window']:,} | {row['before']:.4f} | "
        f"{row['after']:.4f} | {100 * row['change']:+.2f} % |"
        for name, row in sorted(found.items())
    ]
    return "\n".join(lines)


def needle_table(found: Mapping[str, Any] | None, language: str) -> str:
    """Rates with their intervals by language, kind and length, and the picture."""
    said = SAID[language]
    if found is None:
        return str(said["none"])
    rates = {(row["language"], row["kind"], row["length"]): row for row in found["lengths"]}
    lengths = sorted({key[2] for key in rates})
    heads = [*said["needles"], *(f"{length:,}" for length in lengths)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name, kind in sorted({key[:2] for key in rates}):
        cells = [_rate(rates.get((name, kind, length))) for length in lengths]
        lines.append(f"| {said['languages'][name]} | `{kind}` | {' | '.join(cells)} |")
    picture = f"![{said['picture']}](../images/needles-{language}.svg)"
    return "\n".join([*lines, "", picture])


def _rate(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    low, high = row["interval"] or (0.0, 1.0)
    return f"{100 * row['rate']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] n={row['n']}"


WIDE, HIGH, LEFT = 108, 30, 96
"""Of a cell and of the names left of it, in pixels."""


def heat_maps(found: Mapping[str, Any], language: str) -> str:
    """An SVG with a map of depth by length for each language and kind of needle."""
    said, cells = SAID[language], found["cells"]
    rates = {(row["language"], row["kind"], row["cell"], row["length"]): row for row in cells}
    lengths = sorted({row["length"] for row in cells})
    depths = sorted({row["cell"] for row in cells})
    parts, y = [], 0
    for name, kind in sorted({key[:2] for key in rates}):
        title = f"{said['languages'][name]} · {kind}"
        parts.append(_text(4, y + 20, title, weight="bold"))
        parts.append(_text(4, y + 44, f"{said['depth']} / {said['length']}", size=11))
        for column, length in enumerate(lengths):
            parts.append(_text(LEFT + column * WIDE + 8, y + 44, f"{length:,}"))
        y += 52
        for depth in depths:
            span = f"{100 * depth // len(depths)}–{100 * (depth + 1) // len(depths)} %"
            parts.append(_text(4, y + 20, span))
            for column, length in enumerate(lengths):
                row = rates.get((name, kind, depth, length))
                parts.append(_cell(LEFT + column * WIDE, y, row))
            y += HIGH
        y += 16
    width = LEFT + len(lengths) * WIDE + 8
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
    head += f'viewBox="0 0 {width} {y}" font-family="sans-serif" role="img">'
    title = f"<title>{html.escape(str(said['picture']))}</title>"
    back = f'<rect width="{width}" height="{y}" fill="#fff"/>'
    return "\n".join([head, title, back, *parts, "</svg>"]) + "\n"


def _text(x: int, y: int, text: str, *, size: int = 13, weight: str = "normal") -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}">'
        f"{html.escape(text)}</text>"
    )


def _cell(x: int, y: int, row: Mapping[str, Any] | None) -> str:
    """Red where nothing is found to green where everything is, with the rate and its interval."""
    colour = "#eee" if row is None else f"hsl({120 * row['rate']:.0f},60%,75%)"
    box = f'<rect x="{x}" y="{y}" width="{WIDE - 2}" height="{HIGH - 2}" fill="{colour}"/>'
    if row is None:
        return box
    low, high = row["interval"] or (0.0, 1.0)
    said = f"{100 * row['rate']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    return box + _text(x + 6, y + 19, said, size=12)


def _rows(name: str) -> list[dict[str, Any]]:
    path = BENCH / name
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _needles() -> dict[str, Any] | None:
    path = BENCH / "long_needles.json"
    found: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    return found


def filled(page: str, language: str) -> str:
    """The page with its generated parts."""
    return with_blocks(
        page,
        {
            "memory": memory_table(_rows("long_memory.jsonl"), language),
            "validation": validation_table(_rows("long_validation.jsonl"), language),
            "needles": needle_table(_needles(), language),
        },
    )


def main() -> None:
    """Write both pages and their pictures."""
    found = _needles()
    for language in SAID:
        path = DOCS / language / "long-context.md"
        path.write_text(filled(path.read_text("utf-8"), language), "utf-8")
        if found is not None:
            picture = DOCS / "images" / f"needles-{language}.svg"
            picture.write_text(heat_maps(found, language), "utf-8")


if __name__ == "__main__":
    main()
