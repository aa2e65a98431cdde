"""Draw documents of a finished curation to be read, and count what the reader found.

    python bench/read_drawn.py draw CURATED SHEET.jsonl [--number 60] [--seed 1862] [--half B]
    python bench/read_drawn.py count SHEET.jsonl VERDICTS.tsv

`draw` takes documents that rules dropped and documents that were kept, at random, each text and
each address once, and writes what is needed to judge them. `--half A` or `--half B` takes hosts by
a hash of their name: settle thresholds on one half, and read the other. `count` reads verdicts,
one a line: number, `good` or `bad`, reason, parted by tabs, and prints the shares.
"""

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tongwen.curate.records.edits import edited_documents

_SHOWN = 600


def half_of(host: str) -> str:
    """A or B."""
    return "AB"[hashlib.sha256(host.encode()).digest()[0] % 2]


def judged(curated: Path) -> Iterator[dict[str, Any]]:
    """Every document that the rules dropped or that was kept, with the text they were shown."""
    for task, path in enumerate(sorted((curated / "attributes").glob("part-*.parquet"))):
        rows = pq.read_table(path).to_pylist()
        documents = curated / "tasks" / "extract" / f"{task:05d}" / "documents.parquet"
        edits = sorted((curated / "tasks" / "template-cut" / f"{task:05d}").glob("edits.npy"))
        for place, _, edited in edited_documents(documents, edits, task, []):
            if rows[place]["drop_stage"] in (None, "rules"):
                yield {**rows[place], "text": edited.text}


def draw(curated: Path, number: int, seed: int, half: str) -> list[dict[str, Any]]:
    """The documents to be read, those dropped first."""
    groups: dict[str, list[dict[str, Any]]] = {"dropped": [], "kept": []}
    seen: set[str] = set()
    for row in judged(curated):
        same = {row["url"], row["text"]}
        if not (half and half_of(row["host"] or row["url"]) != half) and not same & seen:
            seen |= same
            groups["dropped" if row["drop_stage"] else "kept"].append(row)
    drawn: list[dict[str, Any]] = []
    for group, rows in groups.items():
        chosen = random.Random(seed).sample(rows, min(number, len(rows)))
        drawn += [
            {"number": len(drawn) + place, "group": group, "url": row["url"], "lang": row["lang"],
             "characters": row["characters"], "rule": row["drop_rule"] or "",
             "value": row["drop_value"], "text": _excerpt(row["text"])}
            for place, row in enumerate(chosen)
        ]  # fmt: skip
    return drawn


def _excerpt(text: str) -> str:
    if len(text) <= 2 * _SHOWN:
        return text
    middle = len(text) // 2
    return f"{text[:_SHOWN]}\n[...]\n{text[middle : middle + _SHOWN]}"


def count(sheet: Path, verdicts: Path) -> None:
    """Print the shares, and what was wrong."""
    rows = [json.loads(line) for line in sheet.read_text(encoding="utf-8").splitlines()]
    lines = [line.split("\t") for line in verdicts.read_text(encoding="utf-8").splitlines()]
    said = {int(number): (verdict, reason) for number, verdict, reason in lines}
    for group, wrong in (("dropped", "good"), ("kept", "bad")):
        chosen = [row for row in rows if row["group"] == group]
        found = Counter(said[row["number"]][0] for row in chosen)
        share = found[wrong] / len(chosen)
        print(f"of {len(chosen)} {group}: {found[wrong]} {wrong}, {100 * share:.1f} %")
    for row in rows:
        verdict, reason = said[row["number"]]
        print(f"| {row['group']} | {row['url']} | {row['rule']} | {verdict} | {reason} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("curated", type=Path)
    drawing.add_argument("sheet", type=Path)
    drawing.add_argument("--number", type=int, default=60)
    drawing.add_argument("--seed", type=int, default=1862)
    drawing.add_argument("--half", choices=("A", "B", ""), default="")
    counting = commands.add_parser("count")
    counting.add_argument("sheet", type=Path)
    counting.add_argument("verdicts", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "count":
        count(arguments.sheet, arguments.verdicts)
        return
    drawn = draw(arguments.curated, arguments.number, arguments.seed, arguments.half)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in drawn]
    arguments.sheet.write_text("".join(lines), encoding="utf-8")
    print(f"{len(drawn)} documents in {arguments.sheet}")


if __name__ == "__main__":
    main()
