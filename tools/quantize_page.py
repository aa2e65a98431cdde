"""Write the measured tables of docs/en/quantize.md and docs/zh/quantize.md from the benches' rows.

    python tools/quantize_page.py

Text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced. The rows are
what `--record` of `bench/decode.py`, `serve_decode.py`, `prefix.py`, `quantization.py` and
`resident.py` added to the files of the same name in `bench`; of rows about the same thing the
newest counts. Nothing is measured: the same files give the same pages.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page_blocks import with_blocks

ROOT = Path(__file__).resolve().parent.parent
BENCH, DOCS = ROOT / "bench", ROOT / "docs"
Row = dict[str, Any]
_BOTH = ("ours_per_cpu_s", "llama_cpp_per_cpu_s")

SAID = {
    "en": {
        "speed": (
            "model, weights", "threads", "ours to llama.cpp: 1, 4, 8 rows", "prefill",
            "ours, tokens per CPU second", "llama.cpp", "prefill: ours, llama.cpp", "of roof",
        ),
        "kernel": "The int4 product alone, over all gates and ups of {model}: {shares} of a plain "
                  "read with {threads} threads.",
        "server": ("streams", "threads", "overhead", "bare loop, CPU ms a token", "server"),
        "prefix": ("cache", "question", "of the first", "CPU s", "known of the prompt"),
        "prefix_note": "{tokens:,} tokens of a random model of {parameters:.0f} M weights; the "
                       "cache of the document takes {cache} MB, the saved file {file} MB.",
        "questions": {"first": "first", "second": "second", "restart": "after a restart"},
        "quality": (
            "model", "weights", "bits a weight", "bits per byte, en", "zh", "{task}, en", "zh",
            "same choices, en", "zh",
        ),
        "variants": {"plain": "plain"},
        "resident": ("what", "formula, GB", "measured, GB"),
        "machine": "Measured on {machines}.",
        "none": "Not measured yet.",
        "and": " and ",
    },
    "zh": {
        "speed": (
            "模型与权重", "线程", "与 llama.cpp 之比：1、4、8 行", "预填充",
            "本项目，每 CPU 秒词元", "llama.cpp", "预填充：本项目、llama.cpp", "占读取上限",
        ),
        "kernel": "仅 int4 乘积（{model} 的全部 gate 与 up）：{threads} 线程时达到纯读取的 "
                  "{shares}。",
        "server": ("并发流", "线程", "额外开销", "裸循环，每词元 CPU 毫秒", "服务器"),
        "prefix": ("缓存", "提问", "相对第一次", "CPU 秒", "提示中已知"),
        "prefix_note": "{tokens:,} 个词元，{parameters:.0f} M 权重的随机模型；该文档的缓存占 "
                       "{cache} MB，保存的文件 {file} MB。",
        "questions": {"first": "第一次", "second": "第二次", "restart": "重启之后"},
        "quality": (
            "模型", "权重", "每权重比特", "每字节比特，en", "zh", "{task}，en", "zh",
            "选择相同，en", "zh",
        ),
        "variants": {"plain": "未量化"},
        "resident": ("内容", "公式，GB", "实测，GB"),
        "machine": "测量环境：{machines}。",
        "none": "尚未测量。",
        "and": "、",
    },
}  # fmt: skip


def main() -> None:
    for language in SAID:
        path = DOCS / language / "quantize.md"
        path.write_text(filled(path.read_text("utf-8"), language), "utf-8")


def filled(page: str, language: str) -> str:
    """The page with the tables that the rows make."""
    return with_blocks(page, blocks(language))


def blocks(language: str) -> dict[str, str]:
    """Name of a block -> its Markdown."""
    tables = {"speed": speed, "server": server, "prefix": prefix, "quality": quality,
              "resident": resident}  # fmt: skip
    files = {"speed": "decode", "server": "serve_decode", "quality": "quantization"}
    found = {}
    for name, table in tables.items():
        rows = rows_of(files.get(name, name))
        found[name] = table(rows, SAID[language]) if rows else SAID[language]["none"]
    return found


def rows_of(name: str) -> list[Row]:
    """What a bench recorded, oldest first."""
    path = BENCH / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def newest(rows: Sequence[Row], *keys: str) -> dict[tuple[Any, ...], Row]:
    """The newest row for each set of values, in the order in which the sets came first."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        found[tuple(row.get(key) for key in keys)] = row
    return found


def speed(rows: list[Row], said: Any) -> str:
    """Tokens per CPU second, ours beside llama.cpp's."""
    lines = [_line(said["speed"]), "|---" * len(said["speed"]) + "|"]
    steps = newest([row for row in rows if "rows" in row], "model", "weights", "threads", "rows")
    prompts = newest([row for row in rows if "prompt" in row], "model", "weights", "threads")
    for case in dict.fromkeys(key[:3] for key in steps):
        found = [steps[(*case, count)] for count in (1, 4, 8) if (*case, count) in steps]
        prompt = prompts.get(case, {})
        lines.append(
            _line(
                (
                    f"{case[0]}, {case[1]}", str(case[2]),
                    f"**{_join(found, 'ours_to_llama_cpp')}**",
                    _join([prompt], "ours_to_llama_cpp"),
                    _join(found, "ours_per_cpu_s"), _join(found, "llama_cpp_per_cpu_s"),
                    ", ".join(_join([prompt], key) for key in _BOTH if prompt),
                    f"{found[0]['of_roof']:.0%}" if "of_roof" in found[0] else "",
                )
            )
        )  # fmt: skip
    kernels = newest([row for row in rows if "kernel" in row], "model", "threads")
    notes = []
    for model in dict.fromkeys(key[0] for key in kernels):
        mine = {key[1]: row for key, row in kernels.items() if key[0] == model}
        shares = said["and"].join(f"{row['of_roof']:.0%}" for row in mine.values())
        threads = said["and"].join(map(str, mine))
        notes.append(said["kernel"].format(model=model, shares=shares, threads=threads))
    return "\n".join([*lines, "", *notes, _machines(rows, said)])


def server(rows: list[Row], said: Any) -> str:
    """What a server adds to a token."""
    lines = [_line(said["server"]), "|---" * len(said["server"]) + "|"]
    for (shape, threads, streams), row in newest(rows, "shape", "threads", "streams").items():
        milliseconds = [f"{row[f'{name}_cpu_ms_per_token']:.2f}" for name in ("loop", "server")]
        share = f"**{row['overhead']:+.1%}**"
        lines.append(_line((f"{streams} ({shape})", str(threads), share, *milliseconds)))
    return "\n".join([*lines, "", _machines(rows, said)])


def prefix(rows: list[Row], said: Any) -> str:
    """The second question on a long document."""
    lines = [_line(said["prefix"]), "|---" * len(said["prefix"]) + "|"]
    notes = []
    for (_, kind), row in newest(rows, "tokens", "cache").items():
        for name, asked in row["questions"].items():
            known = f"{asked['cached_tokens']:,} / {asked['prompt_tokens']:,}"
            share = f"**{asked['cpu_s'] / row['questions']['first']['cpu_s']:.2%}**"
            shown = said["questions"][name]
            lines.append(_line((kind, shown, share, f"{asked['cpu_s']:.2f}", known)))
        note = said["prefix_note"].format(
            tokens=row["tokens"], parameters=row["parameters"] / 1e6,
            cache=f"{row['cache_mb']:.1f}", file=f"{row['file_mb']:.1f}",
        )  # fmt: skip
        notes.append(f"{kind}: {note}")
    return "\n".join([*lines, "", *notes, _machines(rows, said)])


def quality(rows: list[Row], said: Any) -> str:
    """Bits per byte and answers before and after."""
    task = rows[-1]["task"]
    head = [word.format(task=f"`{task}`") for word in said["quality"]]
    lines = [_line(head), "|---" * len(head) + "|"]
    for (model, variant), row in newest(rows, "model", "variant").items():
        cells = [
            f"{model}, {row['parameters'] / 1e6:.1f} M",
            said["variants"].get(variant, variant),
        ]
        cells.append(f"{8 * row['bytes'] / row['parameters']:.2f}")
        cells += [f"{row['bits_per_byte'][language]:.4f}" for language in ("en", "zh")]
        cells += [f"{row['scores'][language]['value']:.1%}" for language in ("en", "zh")]
        same = row.get("same_greedy_choice_share", {})
        cells += [f"{same[language]:.1%}" if same else "" for language in ("en", "zh")]
        lines.append(_line(cells))
    return "\n".join([*lines, "", _machines(rows, said)])


def resident(rows: list[Row], said: Any) -> str:
    """Memory by formula and as measured."""
    lines = [_line(said["resident"]), "|---" * len(said["resident"]) + "|"]
    for (what,), row in newest(rows, "what").items():
        lines.append(_line((what, f"{row['formula_gb']:.2f}", f"{row['measured_gb']:.2f}")))
    return "\n".join([*lines, "", _machines(rows, said)])


def _join(rows: Sequence[Row], key: str) -> str:
    return ", ".join(f"{row[key]:.2f}" if row[key] < 10 else f"{row[key]:,.0f}"
                     for row in rows if key in row)  # fmt: skip


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _machines(rows: Sequence[Row], said: Any) -> str:
    machines = ", ".join(dict.fromkeys(row["machine"] for row in rows))
    return str(said["machine"].format(machines=machines))


if __name__ == "__main__":
    main()
