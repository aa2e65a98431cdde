"""Decontamination: speed of the scan, and what is found of planted copies of real test items.

    python bench/decontamination.py EVALS TEXTS...

EVALS is a folder with the public test sets, one folder each; every layout of `tongwen evaluate`
whose data is there is read. TEXTS are JSONL files with documents; they are taken to be clean, and
what is found in them is shown, so that a reader can judge. Copies of test items are planted in them
in the forms below. A copy is found when its document has a hit of that item. Seconds are processor
time of one process, the best of three rounds.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tongwen.curate.contamination.benchmarks import Benchmark, Item, read_items
from tongwen.curate.contamination.grams import units_of_text
from tongwen.curate.contamination.index import INDEX_FILES, Index, index_benchmarks
from tongwen.curate.contamination.settings import BenchmarkSettings, ContaminationSettings
from tongwen.curate.contamination.steps import index_task
from tongwen.curate.text.characters import script_tables
from tongwen.errors import InputError
from tongwen.evaluate.spec import builtin_names, builtin_spec
from tongwen.flow.task import TaskContext
from tongwen.formats.readers import read_records

FORMS = ("exact", "case and punctuation", "other script", "first half", "last two thirds")
PARTS = FORMS[3:]
SHARED_FOLDERS = {"winograd": "winograd_wsc273", "hellaswag6": "hellaswag"}


def benchmarks(folder: Path) -> list[BenchmarkSettings]:
    """Every layout whose data is in a folder of its name, or of the first part of its name."""
    found = []
    for name in builtin_names():
        short = SHARED_FOLDERS.get(name, name)
        while short and not (folder / short).is_dir():
            short = short.rpartition("_")[0]
        if short and any((folder / short).glob(builtin_spec(name).data.file)):
            found.append(BenchmarkSettings(name=name, path=str(folder / short)))
    if not found:
        raise InputError(f"{folder} has no data of any layout of `tongwen evaluate`")
    return found


def documents(paths: Sequence[Path], most_characters: int) -> Iterator[str]:
    """Texts of each file up to a number of characters."""
    for path in paths:
        characters = 0
        for record in read_records(path, "jsonl"):
            if record.problem is None and characters < most_characters:
                text = record.body.decode("utf-8")
                characters += len(text)
                yield text


def speed(index: Index, texts: Sequence[str], rounds: int = 3) -> float:
    """Characters a second."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for text in texts:
            index.find(units_of_text(text).hashes)
        best = min(best, time.process_time() - started)
    return sum(map(len, texts)) / best


def changed(text: str, form: str) -> str:
    """A test item's passage in one of the forms."""
    if form == "case and punctuation":
        return text.upper().translate(str.maketrans({",": ";", ".": "!", "，": " ", "。": "！"}))
    if form == "other script":
        table = script_tables()[0]
        traditional = {int(table[point]): point for point in range(0x4E00, 0xA000)
                       if table[point] != point}  # fmt: skip
        return text.translate(traditional)
    units = text.split(" ") if text.count(" ") > len(text) // 12 else list(text)
    joint = " " if len(units) < len(text) else ""
    if form == "first half":
        return joint.join(units[: (len(units) + 1) // 2])
    return joint.join(units[len(units) // 3 :]) if form == "last two thirds" else text


def planted(
    items: Sequence[tuple[int, Item]],
    texts: Sequence[str],
    index: Index,
    settings: ContaminationSettings,
) -> None:
    """Print the share of planted copies that is found, by form and language.

    The longest passage is planted, or all of them where an item is known only as a whole. Parts
    are taken of passages at least two n-grams long: less than one n-gram cannot be found.
    """
    found: Counter[tuple[str, str]] = Counter()
    tried: Counter[tuple[str, str]] = Counter()
    for number, (item, content) in enumerate(items):
        passage = max(content.passages, key=lambda text: len(units_of_text(text).hashes))
        units = units_of_text(passage)
        is_chinese = 2 * units.singles > len(units.hashes)
        language = "Chinese" if is_chinese else "English"
        least = settings.minimum_characters if is_chinese else settings.minimum_words
        if len(units.hashes) < least:
            passage = " ".join(content.passages)
        gram = settings.characters if is_chinese else settings.words
        for form in FORMS:
            if form in PARTS and len(units.hashes) < 2 * gram:
                continue
            if form == "other script" and not is_chinese:
                continue
            host = texts[(7 * number) % len(texts)]
            cut = len(host) // 2
            page = f"{host[:cut]}\n{changed(passage, form)}\n{host[cut:]}"
            grams = index.find(units_of_text(page).hashes)[:, 2]
            tried[form, language] += 1
            found[form, language] += any(
                item in index.occurrences(int(gram)).items for gram in grams
            )
    print("| planted form | English | Chinese |\n|---|---|---|")
    for form in FORMS:
        cells = []
        for language in ("English", "Chinese"):
            number = tried[form, language]
            share = 100 * found[form, language] / max(1, number)
            cells.append(f"{share:.1f} % of {number}" if number else "-")
        print(f"| {form} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("evals", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--characters", type=int, default=8_000_000, help="of each file")
    parser.add_argument("--items", type=int, default=2_000, help="planted in each form")
    options = parser.parse_args()
    settings = ContaminationSettings(benchmarks=tuple(benchmarks(options.evals)))
    task = index_task(settings)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        counts = index_benchmarks(TaskContext(task, Path(folder), frozenset(), None))
        seconds = time.process_time() - started
        index = Index([Path(folder) / name for name in INDEX_FILES])
        probes = index.self_test()
        short = sum(row["too_short"] for row in index.summary())
        print(
            f"{len(settings.benchmarks)} layouts, {counts['items']:,} items ({short:,} too short), "
            f"{counts['grams']:,} n-grams; indexed in {seconds:.0f} s; {probes} probes found\n"
        )
        print("| file | characters | characters/s | documents | with hits |\n|---|---|---|---|---|")
        every: list[str] = []
        table = index.items()
        shown = []
        for path in options.texts:
            texts = list(documents([path], options.characters))
            hits = [(text, index.find(units_of_text(text).hashes)) for text in texts]
            hit = [(text, grams) for text, grams in hits if len(grams)]
            print(
                f"| {path.name.split('.')[0]} | {sum(map(len, texts)):,} | "
                f"{speed(index, texts) / 1e6:.1f} M | {len(texts):,} | {len(hit)} |"
            )
            every += [text[:20_000] for text, grams in hits if not len(grams)]
            shown += hit[:3]
        for text, grams in shown:
            units = units_of_text(text)
            first, size, gram = grams[0].tolist()
            row = table.slice(index.occurrences(gram).items[0], 1).to_pylist()[0]
            part = text[units.starts[first] : units.ends[first + size - 1]]
            print(
                f"  hit: {row['benchmark']} {row['place']}: {json.dumps(part, ensure_ascii=False)}"
            )
        print()
        items: list[tuple[int, Item]] = []
        first_file = number = 0
        for values in task.params["benchmarks"]:
            benchmark = {key: item for key, item in values.items() if key != "files"}
            for file in task.inputs[first_file : first_file + values["files"]]:
                for item in read_items(Benchmark(**benchmark), file.path):
                    if table["gram_units"][number].as_py():
                        items.append((number, item))
                    number += 1
            first_file += values["files"]
        chosen = random.Random(1862).sample(items, min(options.items, len(items)))
        planted(chosen, every, index, settings)


if __name__ == "__main__":
    main()
