"""Trials of the training recipe on the sample web's gold texts, without crawl and curation.

    python bench/sample_trial.py WORK
    python bench/sample_trial.py WORK --name wide --set model.hidden_size=384

The first call writes the sample web, its tokenizer and its shards below WORK; every call trains
`pretrain`, `extend` (where the recipe has it) and `tune` below WORK/NAME, asks the held-out
questions and prints one JSON line: seconds and tokens/s of each stage, validation bits per byte
and the scores. What has not changed is not run again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.files import read_json, read_jsonl
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.road.alone import run_alone
from tongwen.road.recipe import load_recipe
from tongwen.train.metrics import read_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--name", default="trial")
    parser.add_argument("--recipe", default="sample")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    arguments = parser.parse_args()
    overrides = tuple(arguments.overrides)
    work, out = arguments.work, arguments.work / arguments.name

    def stage(name: str, folder: Path, **inputs: Path) -> Path:
        run_alone(name, inputs=inputs, out=folder, recipe=arguments.recipe, overrides=overrides)
        return folder

    crawl = stage("crawl", work / "crawl")
    documents = gold_documents(crawl, work / "documents")
    tokenizer = stage("tokenizer", work / "tokenizer", documents=documents)
    shards = stage("encode", work / "encode", documents=documents, tokenizer=tokenizer)
    data = {"shards": shards, "tokenizer": tokenizer}
    model = stage("pretrain", out / "pretrain", **data)
    if load_recipe(arguments.recipe, overrides).extend is not None:
        model = stage("extend", out / "extend", model=model, **data)
    model = stage("tune", out / "tune", model=model, tokenizer=tokenizer, crawl=crawl)
    stage("evaluate", out / "evaluate", model=model, crawl=crawl)
    print(json.dumps(summary(out), ensure_ascii=False))


def gold_documents(crawl: Path, folder: Path) -> Path:
    """The expected texts of the good pages, as curation would give them if it were perfect."""
    rows = [
        {
            **{field.name: "" for field in DOCUMENT_SCHEMA},
            "doc_id": f"{number:032x}",
            "url": page["url"],
            "lang": page["lang"],
            "text": page["text"],
            "warc_offset": number,
        }
        for number, page in enumerate(read_jsonl(crawl / "gold" / "pages.jsonl"))
        if page["label"] == "good"
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), folder / "part-00000.parquet")
    return folder


def summary(out: Path) -> dict[str, Any]:
    """What a trial cost and what came of it."""
    result: dict[str, Any] = {"name": out.name}
    for name in ("pretrain", "extend", "tune"):
        rows = read_metrics(out / name / "metrics.jsonl")
        steps = [row for row in rows if row["kind"] == "train"]
        if steps:
            seconds = sum(row["seconds"] for row in steps)
            result[name] = {
                "seconds": round(seconds, 1),
                "tokens_per_second": round(steps[-1]["tokens"] / seconds),
                "last_loss": round(steps[-1]["loss"], 4),
                "epochs": read_json(out / name / "manifest.json")["counts"]["epochs"],
            }
        for row in rows:
            if row["kind"] == "validation":
                result[name][f"bits_per_byte_{row['language']}"] = round(row["bits_per_byte"], 4)
    result["scores"] = read_json(out / "evaluate" / "manifest.json")["counts"]
    return result


if __name__ == "__main__":
    main()
