"""The ledger's tables as Markdown, in English and Chinese."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cost_runs import BASELINE, RECIPE, Lever
from cost_table import COSTS, MEASURES, Effect, Row, SizeTable, Worth, bits, spent, tables

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "size": "size", "parameters": "parameters", "seeds": "seeds", "text": "text",
        "tokens": "tokens", "flops": "FLOPs", "cpu_seconds": "CPU seconds",
        "en": "English", "zh": "Chinese", "mean": "both",
        "bits": "baseline, bits per byte", "lever": "lever", "difference": "difference in bits",
        "counts": "counts", "yes": "yes", "no": "no", "worse": "yes, for the worse",
        "worth": "worth in", "export": "plain Llama", "rate": "rate", "batch": "batch",
        "learning": "learning", "speed": "speed", "product": "both", "best": "best",
        "budget": "budget", "recipe": "recipe", "baseline": "baseline", "epochs": "epochs",
        "deviation": "deviation of a run", "left": "left out",
    },
    "zh": {
        "size": "规模", "parameters": "参数量", "seeds": "种子数", "text": "文本",
        "tokens": "词元", "flops": "FLOPs", "cpu_seconds": "CPU 秒",
        "en": "英文", "zh": "中文", "mean": "合计",
        "bits": "基线，每字节比特", "lever": "手段", "difference": "比特差",
        "counts": "是否成立", "yes": "是", "no": "否", "worse": "是，但变差",
        "worth": "价值：", "export": "普通 Llama", "rate": "学习率", "batch": "批大小",
        "learning": "学习", "speed": "速度", "product": "合计", "best": "最佳",
        "budget": "预算", "recipe": "配方", "baseline": "基线", "epochs": "遍数",
        "deviation": "单次运行的标准差", "left": "去掉的手段",
    },
}  # fmt: skip


_SEEDS_OF_TIMES = 3
"""Fewer say nothing of the time a lever takes: the least of them is what counts."""


def headline(found: Mapping[str, SizeTable], language: str) -> str:
    """Baseline's cost over the recipe's at the baseline's loss."""
    words = WORDS[language]
    rows = []
    for name, table in found.items():
        base = table.group("budget", BASELINE)
        for measure in MEASURES:
            worths = [table.worth(measure, cost) for cost in COSTS]
            if not base or None in worths:
                continue
            rows.append(
                [name, words[measure], f"{table.mean(base, measure):.4f}",
                 *(ratio_text(worth) for worth in worths), str(len(base))]
            )  # fmt: skip
    head = ["size", "text", "bits", *COSTS, "seeds"]
    return _table([words[name] for name in head], rows)


def split(found: Mapping[str, SizeTable], language: str) -> str:
    """The ratio in CPU seconds as what is learnt from a token times how fast tokens go."""
    words, rows = WORDS[language], []
    for name, table in found.items():
        learning, seconds = (table.worth("mean", cost) for cost in ("tokens", "cpu_seconds"))
        if learning is None or seconds is None:
            continue
        rows.append(
            [name, f"{learning.ratio:.2f}", f"{seconds.ratio / learning.ratio:.2f}",
             f"{seconds.ratio:.2f}"]
        )  # fmt: skip
    return _table([words[name] for name in ("size", "learning", "speed", "product")], rows)


def lengths(found: Mapping[str, SizeTable], language: str) -> str:
    """The ratio at the loss of shorter and longer runs of the baseline."""
    words, rows = WORDS[language], []
    for name, table in found.items():
        for share in table.shares(BASELINE):
            worths = [table.worth("mean", cost, share) for cost in COSTS]
            if None in worths:
                continue
            base = table.group("budget", BASELINE, share)
            rows.append(
                [name, f"{share:g}", f"{table.mean(base, 'mean'):.4f}",
                 *(ratio_text(worth) for worth in worths), str(len(base))]
            )  # fmt: skip
    head = ["size", "budget", "bits", *COSTS, "seeds"]
    return _table([words[name] for name in head], rows)


def curves(found: Mapping[str, SizeTable], language: str) -> str:
    """Loss of baseline and recipe at every budget."""
    words, rows = WORDS[language], []
    for name, table in found.items():
        for variant in (BASELINE, RECIPE):
            for share in table.shares(variant):
                group = table.group("budget", variant, share)
                row = group[0]
                epochs = " / ".join(f"{row['epochs'][key]:.2f}" for key in ("en", "zh"))
                rows.append(
                    [name, words[variant], f"{share:g}", f"{row['tokens']:,}",
                     f"{row['flops']:.3g}", f"{spent(group, 'cpu_seconds'):.1f}",
                     *(f"{table.mean(group, key):.4f}" for key in ("en", "zh")), epochs,
                     str(len(group))]
                )  # fmt: skip
    head = [words["size"], "", *(words[name] for name in ("budget", *COSTS, "en", "zh", "epochs",
                                                         "seeds"))]  # fmt: skip
    return _table(head, rows)


def levers_alone(table: SizeTable, levers: Mapping[str, Lever], language: str) -> str:
    """Each lever on the baseline at one size."""
    return _effects(table, levers, language, "lever", BASELINE)


def levers_added(table: SizeTable, levers: Mapping[str, Lever], language: str) -> str:
    """Each lever that is measured on the recipe, at one size."""
    return _effects(table, levers, language, "added", RECIPE)


def levers_left_out(table: SizeTable, levers: Mapping[str, Lever], language: str) -> str:
    """The recipe without each lever at one size; the worth is what the recipe loses."""
    return _effects(table, levers, language, "left out", RECIPE)


def _effects(
    table: SizeTable, levers: Mapping[str, Lever], language: str, part: str, against: str
) -> str:
    words, rows = WORDS[language], []
    base = table.group("budget", against)
    for name in table.variants(part):
        group = table.group(part, name)
        if name not in levers or not base:
            continue
        effects = [table.effect(group, base, measure) for measure in MEASURES]
        worths = [table.worth_of(group, against, "mean", cost) for cost in ("flops", "cpu_seconds")]
        is_removed = part == "left out"
        if len(group) < _SEEDS_OF_TIMES:
            worths[1] = None
        rows.append(
            [getattr(levers[name], language), *(effect_text(effect) for effect in effects[:2]),
             verdict(effects, language, is_removed=is_removed),
             *(_worth_text(worth, is_removed=is_removed) for worth in worths),
             words["yes" if levers[name].survives_export else "no"], str(len(group))]
        )  # fmt: skip
    costs = [f"{words['worth']} {words[key]}" for key in ("flops", "cpu_seconds")]
    gaps = [f"{words[key]}: {words['difference']}" for key in ("en", "zh")]
    first = words["left" if part == "left out" else "lever"]
    head = [first, *gaps, words["counts"], *costs, words["export"], words["seeds"]]
    return _table(head, rows)


def verdict(effects: Sequence[Effect], language: str, *, is_removed: bool = False) -> str:
    """Whether the effect on the mean of both languages counts, and in which direction."""
    words, effect = WORDS[language], effects[-1]
    if not effect.counts:
        return words["no"]
    is_better = (effect.difference < 0) != is_removed
    return words["yes" if is_better else "worse"]


def sweep(table: SizeTable, language: str) -> str:
    """Bits per byte of every rate and batch that was tried, mean of both languages."""
    words = WORDS[language]
    batches = sorted({row["batch_tokens"] for row in table.sweep})
    rates = sorted({row["rate"] for row in table.sweep})
    values = {(row["rate"], row["batch_tokens"]): bits(row, "mean") for row in table.sweep}
    best = min(values, key=lambda pair: values[pair])
    rows = []
    for rate in rates:
        cells = []
        for batch in batches:
            value = values.get((rate, batch))
            text = "" if value is None else f"{value:.4f}"
            cells.append(f"**{text}**" if (rate, batch) == best else text)
        rows.append([f"{rate:g}", *cells])
    return _table([words["rate"], *(f"{words['batch']} {batch:,}" for batch in batches)], rows)


def deviations(found: Mapping[str, SizeTable], language: str) -> str:
    """Pooled standard deviation of a run, at each size."""
    words, rows = WORDS[language], []
    for name, table in found.items():
        values = [table.deviation(measure) for measure in MEASURES]
        if None not in values:
            rows.append([name, *(f"{value:.4f}" for value in values), str(len(table.rows))])
    head = [words["size"], *(f"{words[key]}: {words['deviation']}" for key in MEASURES), "n"]
    return _table(head, rows)


def table_text(rows: Iterable[Row], levers: Mapping[str, Lever], language: str) -> str:
    """All tables that the rows allow."""
    found = tables(rows)
    parts = [
        headline(found, language),
        split(found, language),
        lengths(found, language),
        curves(found, language),
    ]
    for table in found.values():
        parts += [sweep(table, language), levers_alone(table, levers, language),
                  levers_added(table, levers, language),
                  levers_left_out(table, levers, language)]  # fmt: skip
    return "\n\n".join([*(part for part in parts if part.count("\n") > 1),
                        deviations(found, language)])  # fmt: skip


def ratio_text(worth: Worth) -> str:
    """A ratio with its interval; a dagger where it is extrapolated."""
    mark = "†" if worth.is_extrapolated else ""
    if worth.low is None or worth.high is None:
        return f"{worth.ratio:.2f}{mark}"
    return f"{worth.ratio:.2f}{mark} ({worth.low:.2f}–{worth.high:.2f})"


def effect_text(effect: Effect) -> str:
    """A difference with its standard error."""
    error = "" if effect.standard_error is None else f" ± {effect.standard_error:.4f}"
    return f"{effect.difference:+.4f}{error}"


def _worth_text(worth: Worth | None, *, is_removed: bool) -> str:
    if worth is None:
        return "–"
    return ratio_text(_inverse(worth) if is_removed else worth)


def _inverse(worth: Worth) -> Worth:
    low = None if worth.high is None else 1 / worth.high
    high = None if worth.low is None else 1 / worth.low
    return Worth(1 / worth.ratio, low, high, worth.is_extrapolated)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
