"""Write the figures of docs/en/plan.md and docs/zh/plan.md: answers of the planner to its examples.

    python tools/plan_page.py

Text between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in the pages is replaced. Nothing is
measured here: the same code gives the same pages on any machine. What benches measured is read from
`bench/ladder.json`, `bench/planned_runs.jsonl` and `bench/transfer.jsonl`.
"""

import json
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from page_blocks import with_blocks

from tongwen.cli.plan import command
from tongwen.files import read_json
from tongwen.model.config import ModelConfig
from tongwen.plan.devices import Devices
from tongwen.plan.formulas import training_memory
from tongwen.plan.ladder_text import result_lines
from tongwen.plan.laws import RATE_LAWS, DelphiReference, recommended_rate
from tongwen.train.settings import TrainSettings

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.append(str(ROOT / "bench"))
import planned_runs  # noqa: E402
import transfer  # noqa: E402

QUESTIONS = (
    ("64 cards for 30 days", "64 张卡用 30 天", "--gpu h800 --gpus 64 --days 30"),
    ("100,000 dollars on 16 cards", "16 张卡，10 万美元", "--gpu h100 --gpus 16 --money 100k"),
    ("100,000 dollars in two weeks", "10 万美元，两周内完成", "--gpu h100 --money 100k --days 14"),
    ("a week on one node", "单机一周", "--gpu a100-80gb --gpus 8 --days 7"),
    ("continue a 6B on 8 cards", "8 张卡续训 6B",
     "yi-6b --continued --gpu a800 --gpus 8 --tokens 20B"),
    ("a 34B on 64 cards", "64 张卡训练 34B", "yi-34b --gpu h800 --gpus 64"),
    ("a 34B on 1,200 cards", "1,200 张卡训练 34B", "yi-34b --gpu h800 --gpus 1200"),
    ("a 34B on 2,000 cards", "2,000 张卡训练 34B", "yi-34b --gpu h800 --gpus 2000"),
    ("extend a 34B to 200,000 tokens", "34B 扩展到 20 万词元",
     "yi-34b-200k --stage extend --gpu h800 --gpus 64"),
    ("a target loss at the least cost", "以最低成本达到目标损失",
     "--gpu h100 --gpus 64 --target-bits-per-byte 0.75"),
    ("the same, and cheap to serve", "同上，且推理成本最低",
     "--gpu h100 --gpus 64 --target-bits-per-byte 0.75 "
     "--objective cheapest-to-serve --serve-tokens 2T"),
    ("1e21 FLOPs", "1e21 次浮点运算", "--gpu h100 --flops 1e21"),
)  # fmt: skip
ADAPTERS = (
    ("--parameters 7B --gpu rtx-4090 --method lora"),
    ("--parameters 7B --gpu rtx-4090 --method qlora"),
    ("yi-34b --gpu a100-80gb --method lora"),
    ("yi-34b --gpu a100-80gb --method qlora"),
)
MEASURED_GIB = {16_384: 38.3, 32_768: 57.0}
"""Tokens of a pass -> peak memory, compiled, torch 2.11, 2026-11-28."""
SHARES = (0.24, 0.30, 0.40, 0.50)
EXAMPLE = "--gpu h800 --gpus 64 --days 30"

LADDER = {
    "en": "`{command}` printed it. The largest run has {smallest} times the FLOPs of the smallest, "
    "{fitted} times those of the largest fitted one; its loss was forecast with an error of {en} "
    "in English and {zh} in Chinese.",
    "zh": "以下由 `{command}` 输出。最大的一次训练，FLOPs 是最小一次的 {smallest} 倍，"
    "是拟合所用最大一次的 {fitted} 倍；其损失的预测误差：英文 {en}，中文 {zh}。",
}

MEMORY = {
    "en": "On one H200, 1.07B parameters, compiled, it says {low:.0f} to {high:.0f} % more than "
    "was measured; several cards were not measured:",
    "zh": "在一张 H200 上（1.07B 参数，已编译），"
    "公式比实测高 {low:.0f} % 到 {high:.0f} %；多卡未测：",
}

HEADS = {
    "en": {
        "answers": ("question", "`tongwen plan ...`", "size", "tokens", "days", "dollars",
                    "layout", "GiB a card", "bits/byte en"),
        "adapters": ("`tongwen plan ...`", "size", "GiB", "sequences at once", "recompute",
                     "tokens/s"),
        "devices": ("device", "TFLOP/s bf16", "GiB", "GB/s", "links GB/s", "network GB/s", "W",
                    "dollars/h", "source of the price"),
        "measured": ("device", "trainer", "size", "cards", "share of peak", "source"),
        "cards": ("share of peak", "1,200 cards: days", "2,000 cards: days"),
        "planned": "as planned",
        "memory": ("tokens of a pass", "closed form, GiB", "measured, GiB", "off by"),
        "laws": ("size, tokens", "recommended", "Step Law", "DeepSeek", "Porian",
                 "Delphi (Adam's part)"),
    },
    "zh": {
        "answers": ("问题", "`tongwen plan ...`", "规模", "词元", "天", "美元", "并行方式",
                    "每卡 GiB", "英文每字节比特"),
        "adapters": ("`tongwen plan ...`", "规模", "GiB", "单次序列数", "重计算", "词元/秒"),
        "devices": ("设备", "TFLOP/s bf16", "GiB", "GB/s", "卡间 GB/s", "节点间 GB/s", "W",
                    "美元/小时", "价格来源"),
        "measured": ("设备", "训练器", "规模", "卡数", "峰值占比", "来源"),
        "cards": ("峰值占比", "1,200 张卡：天", "2,000 张卡：天"),
        "planned": "规划值",
        "memory": ("单次词元数", "公式，GiB", "实测，GiB", "偏差"),
        "laws": ("规模、词元", "推荐值", "Step Law", "DeepSeek", "Porian", "Delphi（Adam 部分）"),
    },
}  # fmt: skip


@cache
def answered(words: str) -> Any:
    """The answer's values."""
    result = CliRunner().invoke(command, [*words.split(), "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def count(value: float) -> str:
    """3.1T, 34.4B."""
    for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:,.0f}"


def answer_row(place: int, words: str, found: Any) -> list[str]:
    """One question's row, without its name."""
    degrees = found["settings"]["parallel"]
    layout = ", ".join(f"{name} {n}" for name, n in degrees.items() if n > 1)
    bits = found["bits_per_byte"]["en"]
    loss = "–"
    if bits["expected"] is not None:
        mark = f", ×{bits['extrapolation']:.3g}" if bits["extrapolation"] > 1 else ""
        loss = f"{bits['expected']:.3f} ({bits['low']:.3f}–{bits['high']:.3f}{mark})"
    days = found["days"]
    return [
        f"`{words}`",
        count(found["model"]["parameters"]),
        count(found["tokens"]),
        f"{days['expected']:,.1f} ({days['low']:,.1f}–{days['high']:,.1f})",
        f"{found['price']['expected']:,.0f}",
        f"{layout}; {found['settings']['recompute']}",
        f"{found['memory_bytes'] / 2**30:.1f}",
        loss,
    ]


def blocks(language: str) -> dict[str, str]:
    """Name -> generated Markdown."""
    heads: Any = HEADS[language]
    devices = Devices.load()
    answers = [
        [english if language == "en" else chinese, *answer_row(place, words, answered(words))]
        for place, (english, chinese, words) in enumerate(QUESTIONS)
    ]
    example = CliRunner().invoke(command, EXAMPLE.split(), catch_exceptions=False).output
    return measured_blocks() | {
        "example": f"```text\n$ tongwen plan {EXAMPLE}\n{example.rstrip()}\n```",
        "answers": table(heads["answers"], answers),
        "adapters": table(heads["adapters"], [_adapter_row(words) for words in ADAPTERS]),
        "cards": table(heads["cards"], _card_rows(heads["planned"])),
        "laws": table(heads["laws"], _law_rows()),
        "memory": f"{memory_sentence(language)}\n\n{table(heads['memory'], memory_rows())}",
        "ladder": ladder_text(language),
        "devices": table(
            heads["devices"],
            [
                [
                    f"`{device.name}`",
                    f"{device.peak_tflops:g}",
                    f"{device.memory_gib:g}",
                    f"{device.memory_gbs:g}",
                    f"{device.link_gbs:g}",
                    f"{device.network_gbs:g}",
                    f"{device.power_watts:g}",
                    f"{device.price_per_hour:g}",
                    device.price_source,
                ]
                for device in devices.devices.values()
            ],
        ),
        "measured": table(
            heads["measured"],
            [
                [
                    f"`{row.device}`",
                    row.by,
                    count(row.parameters),
                    f"{row.cards}",
                    f"{row.mfu:.1%}",
                    row.source,
                ]
                for row in devices.measured
            ],
        ),
    }


def _adapter_row(words: str) -> list[str]:
    found = answered(words)
    return [
        f"`{words}`",
        count(found["model"]["parameters"]),
        f"{found['memory_bytes'] / 2**30:.1f}",
        f"{found['sequences_per_micro_batch']} x {found['sequence_tokens']:,}",
        found["recompute"],
        f"{found['tokens_per_second']:,.0f}",
    ]


def _card_rows(planned: str) -> list[list[str]]:
    """Days of Yi-34B's 3.1T tokens on 1,200 and on 2,000 cards, by the share of peak reached."""
    rows = []
    for share in (None, *SHARES):
        option = "" if share is None else f" --mfu {share}"
        pair = [answered(f"yi-34b --gpu h800 --gpus {gpus}{option}") for gpus in (1_200, 2_000)]
        name = f"{planned}: " if share is None else ""
        shares = sorted({f"{found['efficiency']['mfu']:.1%}" for found in pair}, reverse=True)
        rows.append([name + ", ".join(shares), *(f"{f['days']['expected']:.1f}" for f in pair)])
    return rows


def memory_rows() -> list[list[str]]:
    """The closed form beside what was measured of 1.07B on one H200 (docs/en/training.md)."""
    config = ModelConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=18, num_attention_heads=16,
        num_key_value_heads=4, vocabulary_size=64_000,
    )  # fmt: skip
    rows = []
    for tokens, measured in MEASURED_GIB.items():
        settings = TrainSettings(
            max_tokens=131_072, batch_tokens=131_072, micro_batch_tokens=tokens
        )
        found = training_memory(config, settings, bf16=True, on_cpu=False, process_bytes=0)
        gib = found.total / 2**30
        rows.append([f"{tokens:,}", f"{gib:.1f}", f"{measured:.1f}", f"{gib / measured - 1:+.1%}"])
    return rows


def memory_sentence(language: str) -> str:
    """How far the closed form is from what was measured on the GPU."""
    shares = [float(row[-1].rstrip("%")) for row in memory_rows()]
    return MEMORY[language].format(low=min(shares), high=max(shares))


def ladder_text(language: str) -> str:
    """The recorded ladder, and how far its largest run is from the others."""
    found = read_json(ROOT / "bench" / "ladder.json")
    flops = {part: [row["flops"] for row in found["runs"] if row["part"] == part]
             for part in ("fitted", "held out")}  # fmt: skip
    largest = max(flops["held out"])
    values = {
        "command": found["command"],
        "smallest": f"{largest / min(flops['fitted']):.0f}",
        "fitted": f"{largest / max(flops['fitted']):.1f}",
    }
    ends = {
        code: max((row for row in found["forecasts"] if row["language"] == code),
                  key=lambda row: row["flops"])["error"]
        for code in ("en", "zh")
    }  # fmt: skip
    values |= {code: f"{error:+.2%}" for code, error in ends.items()}
    return "\n".join([LADDER[language].format(**values), "", *result_lines(found)])


def measured_blocks() -> dict[str, str]:
    """Tables of the benches whose records are there."""
    tables = {"planned_runs": planned_runs.lines, "transfer": transfer.table}
    found = {}
    for name, lines in tables.items():
        record = ROOT / "bench" / f"{name}.jsonl"
        if record.exists():
            rows = [json.loads(row) for row in record.read_text("utf-8").splitlines()]
            found[name] = "\n".join(lines(rows))
    return found


def _law_rows() -> list[list[str]]:
    rows = []
    for parameters, tokens in ((1.2e8, 2.4e9), (1e9, 2e10), (5.54e9, 3.1e12), (33.5e9, 3.1e12)):
        flops = 6 * parameters * tokens
        said = [law.at(parameters, tokens, flops) for law in RATE_LAWS]
        best = recommended_rate(parameters, tokens, flops)
        delphi = DelphiReference().adam_rate(best.batch_tokens, tokens)
        rows.append(
            [
                f"{count(parameters)}, {count(tokens)}",
                *(f"{row.rate:.2e}, {count(row.batch_tokens)}" for row in (best, *said)),
                f"{delphi:.2e}",
            ]
        )
    return rows


def filled(page: str, language: str) -> str:
    """The page with its blocks generated anew."""
    return with_blocks(page, blocks(language))


def main() -> None:
    """Write both pages."""
    for language in ("en", "zh"):
        path = DOCS / language / "plan.md"
        path.write_text(filled(path.read_text("utf-8"), language), "utf-8")


if __name__ == "__main__":
    main()
