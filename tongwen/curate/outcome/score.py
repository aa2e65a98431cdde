"""How well curation meets gold labels: what it kept of the good, what it dropped of the bad."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tongwen.curate.outcome.histograms import histograms, merged_histograms
from tongwen.curate.text.characters import folded
from tongwen.files import read_jsonl
from tongwen.formats.documents import read_documents

GOLD_PAGES = "gold/pages.jsonl"
_SHINGLE_CHARACTERS = 5  # shorter ones meet in unrelated texts


def gold_score(curated: Path, gold: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the attributes and documents of a curate folder with `gold/pages.jsonl`.

    `good_outside` is what each rule alone would cost: the good pages outside its threshold, by
    `SECTION.RULE`, where there are any.

    Args:
        curated: folder of the stage.
        gold: the labels.
        parameters: those of the decisions (`rules.steps.decision_parameters`).

    A good page counts as kept when a page of its duplicate group is: the page itself, the one it
    was found to be a duplicate of, or one that the gold calls its duplicate. A duplicate counts as
    dropped when of its group no more than one page is kept.
    """
    labels = {row["url"]: row for row in read_jsonl(gold)}
    drops = _drops(curated)
    kept_urls = {url for url, drop in drops.items() if drop["drop_stage"] is None}
    kept_ids = {drops[url]["doc_id"] for url in kept_urls}
    groups: dict[str, list[str]] = defaultdict(list)
    for url, row in labels.items():
        groups[row.get("duplicate_of") or url].append(url)
    total: dict[str, int] = defaultdict(int)
    right: dict[str, int] = defaultdict(int)
    wrong: list[dict[str, Any]] = []
    for url, row in labels.items():
        label = row["label"]
        group = groups[row.get("duplicate_of") or url]
        if label == "good":
            is_right = any(member in kept_urls for member in group) or (
                drops.get(url, {}).get("duplicate_of") in kept_ids
            )
        elif label == "duplicate":
            is_right = url not in kept_urls or sum(one in kept_urls for one in group) == 1
        else:
            is_right = url not in kept_urls
        total[f"{label} {row['lang']}"] += 1
        total[label] += 1
        right[f"{label} {row['lang']}"] += is_right
        right[label] += is_right
        if not is_right:
            wrong.append({"url": url, "label": label, "lang": row["lang"], **drops.get(url, {})})
    shares = {
        key: {
            "pages": number,
            "kept_share" if key.startswith("good") else "dropped_share": right[key] / number,
        }
        for key, number in sorted(total.items())
    }
    return {
        "good": {"pages": 0, "kept_share": 0.0},
        **shares,
        "text_similarity": _text_similarity(curated, labels),
        "good_outside": _good_outside(curated, labels, parameters),
        "wrong": sorted(wrong, key=lambda row: (row["label"], row["url"])),
    }


def _drops(curated: Path) -> dict[str, dict[str, Any]]:
    """Decision by URL; of several records with one URL the one that is kept counts."""
    columns = ["url", "doc_id", "drop_stage", "drop_rule", "drop_value", "duplicate_of"]
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((curated / "attributes").glob("*.parquet")):
        for row in pq.read_table(path, columns=columns).to_pylist():
            url = row.pop("url")
            if url not in found or row["drop_stage"] is None:
                found[url] = row
    return found


def _good_outside(
    curated: Path, labels: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, int]:
    good = pa.array([url for url, row in labels.items() if row["label"] == "good"], pa.string())
    tables = [
        pq.read_table(path, filters=pc.field("url").isin(good))
        for path in sorted((curated / "attributes").glob("*.parquet"))
    ]
    rows = merged_histograms(histograms(table, parameters) for table in tables)
    return {f"{row['section']}.{row['rule']}": row["outside"] for row in rows if row["outside"]}


def _text_similarity(curated: Path, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Precision, recall and F1 of 5-character shingles of kept good pages' text, the mean."""
    values = []
    for document in read_documents(curated, ["url", "text"]):
        row = labels.get(document["url"])
        if row and row["label"] == "good" and row.get("text"):
            values.append(_overlap(document["text"], row["text"]))
    if not values:
        return {"pages": 0}
    precision, recall, f1 = np.mean(values, axis=0).tolist()
    return {"pages": len(values), "precision": precision, "recall": recall, "f1": f1}


def _overlap(text: str, expected: str) -> tuple[float, float, float]:
    found, wanted = _shingles(text), _shingles(expected)
    common = len(found & wanted)
    precision, recall = common / max(1, len(found)), common / max(1, len(wanted))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def _shingles(text: str) -> set[bytes]:
    points = folded(text)
    units = points[points != 0]
    return {
        units[start : start + _SHINGLE_CHARACTERS].tobytes()
        for start in range(len(units) - _SHINGLE_CHARACTERS + 1)
    }
