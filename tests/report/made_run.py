"""A run directory as the stages leave it, with texts that try to break out of the page."""

import json
import math
import random
from pathlib import Path
from typing import Any

from tongwen.files import write_json, write_jsonl, write_text

HOSTILE = (
    '"><script>document.title = "broken"</script><img src=http://outside.invalid/x>{{ 7 * 7 }}'
)
STAGES = ("read", "extract", "language", "rules", "same_url", "same_text", "near_duplicate")
SECONDS = {
    "crawl": 4.2, "curate": 21.0, "tokenizer": 6.5, "encode": 3.1, "plan": 7.7, "pretrain": 205.0,
    "extend": 38.0, "tune": 71.0, "evaluate": 16.4, "quantize": 3.3, "export": 1.9,
}  # fmt: skip

DROPPED = [  # stage, rule, language, pages, characters
    ("read", "too_many_replaced", "und", 18, 0),
    ("extract", "no_text", "und", 41, 0),
    ("language", "language", "ja", 26, 31_000),
    ("language", "language", "fr", 25, 40_100),
    ("rules", "maximum_spam_share", "zh-Hans", 120, 210_000),
    ("rules", "maximum_spam_share", "en", 110, 330_000),
    ("rules", "minimum_words", "en", 35, 6_200),
    ("rules", "minimum_han_characters", "zh-Hans", 30, 1_900),
    ("same_text", "same_text", "en", 62, 150_000),
    ("same_text", "same_text", "zh-Hant", 40, 52_000),
    ("near_duplicate", "near_duplicate", "zh-Hans", 88, 120_000),
    ("near_duplicate", "near_duplicate", "en", 101, 260_000),
]
KEPT = [("en", 640, 1_480_000), ("zh-Hans", 560, 702_000), ("zh-Hant", 104, 131_000)]


def make_run(directory: Path, *, without: tuple[str, ...] = ()) -> Path:
    """A whole run, or one that lacks the stages in `without`."""
    stages = directory / "stages"
    stages.mkdir(parents=True)
    writers = {
        "curate": _curate, "encode": _encode, "plan": _plan, "pretrain": _train, "extend": _train,
        "tune": _train, "evaluate": _evaluate, "quantize": _quantize,
    }  # fmt: skip
    for number, (name, seconds) in enumerate(SECONDS.items()):
        if name in without:
            continue
        writers.get(name, lambda folder: None)(stages / name)
        quarantined = [{"item": f"warc/{HOSTILE}", "reason": "killed its worker twice"}]
        manifest = {
            "digest": "0" * 32, "parameters": {}, "inputs": {}, "outputs": [], "counts": {},
            "quarantined": quarantined if name == "curate" else [],
            "seconds": seconds, "peak_memory_bytes": (number + 2) * 137 << 20,
        }  # fmt: skip
        write_json(stages / name / "manifest.json", manifest)
    write_text(
        directory / "recipe.toml", '[run]\nname = "sample"\n\n[crawl.sample]\npages = 2000\n'
    )
    write_jsonl(directory / "events.jsonl", [{"time": 1_795_000_000.0, "event": "end"}])
    if "export" not in without:
        (directory / "model").mkdir()
    return directory


def _curate(folder: Path) -> None:
    counts = ("pages", "characters", "raw_bytes")
    dropped = [
        {"stage": s, "rule": r, "lang": lang, "pages": p, "characters": c, "raw_bytes": c * 5}
        for s, r, lang, p, c in DROPPED
    ]
    kept = [{"lang": lang, "pages": p, "characters": c, "raw_bytes": c * 5} for lang, p, c in KEPT]
    read = {name: sum(row[name] for row in [*kept, *dropped]) for name in counts}  # type: ignore[misc]
    write_json(
        folder / "funnel.json",
        {"read": read, "kept": kept, "dropped": dropped, "stages": [{"stage": s} for s in STAGES]},
    )
    write_json(
        folder / "score.json",
        {
            "good": {"pages": 1304, "kept_share": 0.984},
            "good en": {"pages": 640, "kept_share": 0.991},
            "good zh-Hans": {"pages": 664, "kept_share": 0.977},
            "spam": {"pages": 240, "dropped_share": 0.93},
            "duplicate": {"pages": 300, "dropped_share": 0.99},
            "foreign": {"pages": 51, "dropped_share": 1.0},
            "broken": {"pages": 60, "dropped_share": 0.97},
            "text_similarity": {"pages": 1283, "precision": 0.981, "recall": 0.993, "f1": 0.9868},
            "good_outside": {"english.minimum_words": 2},
            "wrong": [{"url": HOSTILE, "label": "spam", "lang": "en", "drop_rule": None}],
        },
    )
    histogram = {
        "section": "english",
        "documents": 900,
        "counts": [0] * 10 + [35, 165, 700] + [0] * 27,
    }
    write_json(
        folder / "histograms.json",
        [
            {**histogram, "rule": "minimum_words", "threshold": 50.0, "outside": 35,
             "alone": 21, "alone_characters": 4_200,
             "edges": [10 ** (n / 5 - 1) for n in range(41)]},
            {**histogram, "rule": "maximum_spam_share", "threshold": 0.3, "outside": 35,
             "edges": [n / 40 for n in range(41)]},
        ],
    )  # fmt: skip
    steps = {"extract": {"tasks": 2, "seconds": 30.0, "peak_memory_bytes": 300 << 20}}
    write_json(
        folder / "cost.json", {"crawl_bytes": 10_000_000, "worker_seconds": 36.0, "steps": steps}
    )
    samples = [
        (
            "rules",
            "maximum_spam_share",
            "zh-Hans",
            0.21,
            0.04,
            "澳门娱乐 首页",
            "注册送彩金，贷款秒批，" * 20,
        ),
        ("rules", "maximum_spam_share", "en", 0.11, 0.04, HOSTILE, HOSTILE),
        ("rules", "minimum_words", "en", 12.0, 50.0, "Contact", "Write to us. We answer soon."),
        ("same_text", "same_text", "en", None, None, "Harbour news", "The harbour of Linchuan…"),
        (
            "near_duplicate",
            "near_duplicate",
            "zh-Hans",
            0.91,
            0.8,
            "临川港",
            "临川港建于1884年。" * 9,
        ),
    ]
    write_jsonl(
        folder / "rejects.jsonl",
        [
            {"drop_stage": stage, "drop_rule": rule, "lang": lang, "drop_value": value,
             "drop_threshold": threshold, "title": title, "excerpt": excerpt,
             "url": f"http://site.invalid/{HOSTILE}", "doc_id": f"{number:032x}"}
            for number, (stage, rule, lang, value, threshold, title, excerpt) in enumerate(samples)
        ],
    )  # fmt: skip


def _encode(folder: Path) -> None:
    languages = {"en": (640, 371_000), "zh-Hans": (560, 402_000), "zh-Hant": (104, 88_000)}
    shard = {
        "path": "train-00000.shard", "split": "train", "documents": 1304, "tokens": 861_000,
        "languages": {
            name: {"documents": documents, "tokens": tokens, "utf8_bytes": 1}
            for name, (documents, tokens) in languages.items()
        },
    }  # fmt: skip
    write_json(folder / "shards.json", {"vocabulary_size": 6000, "shards": [shard]})


def _plan(folder: Path) -> None:
    pretrain = {"predicted_seconds": 221.0, "predicted_memory_bytes": 900 << 20}
    tune = {"predicted_seconds": None, "predicted_memory_bytes": 1 << 30}
    write_json(folder / "plan.json", {"stages": {"pretrain": pretrain, "tune": tune}})


def _train(folder: Path) -> None:
    draw = random.Random(folder.name)
    rows: list[dict[str, Any]] = []
    for step in range(1, 245):
        loss = 1.9 + 6.5 * math.exp(-step / 40) + draw.gauss(0, 0.06)
        place = {"step": step, "tokens": step * 16_384}
        rows.append(
            {"kind": "train", **place, "loss": loss, "learning_rate": 2e-3, "gradient_norm": 0.8,
             "tokens_per_second": 19_800 + draw.gauss(0, 300), "skipped": False}
        )  # fmt: skip
        if step % 20 == 0:
            for language, bits in (("en", 0.7), ("zh", 0.9)):
                bits += 2.4 * math.exp(-step / 50)
                row = {"language": language, "loss": bits, "bits_per_byte": bits}
                rows.append({"kind": "validation", **place, **row})
    rows[30] |= {"loss": None, "gradient_norm": None, "skipped": True}
    write_jsonl(folder / "metrics.jsonl", rows)
    header = json.dumps({"a": {"dtype": "BF16", "shape": [6000, 1320], "data_offsets": [0, 1]}})
    (folder / "model").mkdir()
    data = len(header).to_bytes(8, "little") + header.encode()
    (folder / "model" / "model.safetensors").write_bytes(data)


def _evaluate(folder: Path) -> None:
    results, items = [], []
    for task, kind, metric, language, value, question in (
        ("sample_choice", "choice", "acc", "en", 0.943, "Who built the bridge of Linchuan?"),
        ("sample_choice", "choice", "acc", "zh", 0.921, "临川大桥是谁建的？"),
        ("sample_answer", "generate", "contains", "en", 0.935, f"Who? {HOSTILE}"),
        ("sample_answer", "generate", "contains", "zh", 0.882, "临川大桥是谁建的？"),
    ):
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        results.append(
            {"task": task, "language": language, "metric": metric, "kind": kind, "value": value,
             "interval": [value - 0.03, value + 0.02], "n": 400, "truncated": 0, "left_out": 0,
             "chance": 0.25 if kind == "choice" else 0.0, "example": {"prompt": prompt}}
        )  # fmt: skip
        for number in range(8):
            right = float(number % 3 > 0)
            item: dict[str, Any] = {"task": task, "id": str(number), "language": language,
                                    "prompt": prompt, "scores": {metric: right}}  # fmt: skip
            if kind == "choice":
                texts = ["Wen Qiao", "Lin Shu", "闻桥", "林舒"]
                item |= {"choices": [{"text": text} for text in texts], "gold": 0}
                item["predicted"] = 0 if right else 1
            else:
                item |= {"answer": "Wen Qiao built it." if right else HOSTILE, "choices": []}
                item |= {"accepted": ["Wen Qiao", "闻桥"], "gold": None}
            items.append(item)
    write_json(folder / "results.json", {"results": results})
    write_jsonl(folder / "items.jsonl", items)


def _quantize(folder: Path) -> None:
    row = {"bits_per_byte_before": 0.7312, "bits_per_byte_after": 0.7319}
    row["same_greedy_choice_share"] = 0.991
    write_json(
        folder / "quality.json",
        {"weights": "int8", "bytes_before": 15_800_000, "bytes_after": 8_100_000,
         "languages": {"en": row, "zh": row}},
    )  # fmt: skip
