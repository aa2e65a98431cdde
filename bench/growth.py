"""Time and memory of curation as the input grows: 1, 4 and 16 times the same folder.

    python bench/growth.py CORPUS [--limit PAGES] [--factors 1 4 16] [--record]

CORPUS is a folder of WARC files. A copy of a page is a page of its own: its host gets the
copy's number, and its longer words and its Chinese characters are exchanged for one another
by a permutation drawn for that copy, so that lengths and frequencies stay and no copy is a
duplicate of another. Ours runs as `tongwen curate`; time is wall clock, and the seconds that its
workers spent in tasks; memory the largest resident set of a worker during a task, as the tasks'
manifests say.

A step with as many tasks as the extraction works on one part of the input (at most 2 GiB is
allowed), the others bring parts together (at most 1 GiB). Exit code 1 when a step needs more.
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from record import put_below

from tongwen.flow.manifest import Manifest
from tongwen.formats.charset.decode import decode
from tongwen.formats.readers import read_records

_FILE_PAGES = 1_000
_TEXT = re.compile(r">([^<]+)<")
_WORD = re.compile(r"[A-Za-z]{4,}|[\u4e00-\u9fff]")
_ALLOWED_MIB = {"part": 2_048, "together": 1_024}
_TITLE = "## Curation as the input grows, `python bench/growth.py CORPUS --record`"


@dataclass(frozen=True)
class Step:
    """What a step of one run took: tasks, seconds of a worker, and the largest worker in MiB."""

    tasks: int
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Run:
    """One size of the input."""

    factor: int
    pages: int
    kept: int
    wall_seconds: float
    worker_seconds: float
    steps: dict[str, Step]


def changed(html: str, key: str) -> str:
    """The page with the words of its text exchanged by a permutation that `key` decides."""
    words = sorted({word for text in _TEXT.findall(html) for word in _WORD.findall(text)})
    chinese = [word for word in words if not word.isascii()]
    latin = [word for word in words if word.isascii()]
    generator = random.Random(key)
    exchange = {}
    for kind in (chinese, latin):
        exchange.update(zip(kind, generator.sample(kind, len(kind)), strict=True))
    return _TEXT.sub(
        lambda text: ">" + _WORD.sub(lambda word: exchange[word[0]], text[1]) + "<", html
    )


def record(url: str, html: str) -> bytes:
    """A gzip member with one response."""
    body = html.encode("utf-8", "replace")
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    identity = hashlib.sha256(url.encode()).hexdigest()[:32]
    fields = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2024-05-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{identity}>\r\n"
        "Content-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(head) + len(body)}\r\n\r\n"
    )
    return gzip.compress(fields.encode() + head + body + b"\r\n\r\n", 1, mtime=0)


def pages_of(corpus: Path, pattern: str, limit: int | None) -> Iterator[tuple[str, str]]:
    """(address, HTML) of the pages of the folder, as many from each file."""
    paths = sorted(corpus.glob(pattern))
    if not paths:
        sys.exit(f"no {pattern} in {corpus}")
    for path in paths:
        share = None if limit is None else max(1, limit // len(paths))
        for number, page in enumerate(read_records(path, "warc")):
            if number == share:
                break
            if page.problem is None and page.url.startswith("http"):
                yield page.url, decode(page.body, page.charset).text


def write_copy(pages: Iterator[tuple[str, str]], copy: int, folder: Path) -> int:
    """Write one copy of all pages in files of a thousand; their number."""
    count, file = 0, None
    for count, (url, html) in enumerate(pages, start=1):
        if file is None or count % _FILE_PAGES == 1:
            if file is not None:
                file.close()
            file = (folder / f"{copy:03d}-{count // _FILE_PAGES:05d}.warc.gz").open("wb")
        address = url.replace("://", f"://copy{copy}.", 1) if copy else url
        file.write(record(address, changed(html, f"{copy} {url}") if copy else html))
    if file is not None:
        file.close()
    return count


def run(folder: Path, out: Path, factor: int, overrides: list[str]) -> Run:
    """Curate the folder; read what the tasks took from their manifests."""
    command = [sys.executable, "-m", "tongwen", "curate", "run", str(folder), "--out", str(out)]
    for override in overrides:
        command += ["--set", override]
    started = time.monotonic()
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=variables)
    wall = time.monotonic() - started
    steps: dict[str, list[Manifest]] = {}
    for path in out.glob("tasks/*/*/task.json"):
        manifest = Manifest.read(path)
        assert manifest is not None
        steps.setdefault(path.parents[1].name, []).append(manifest)
    funnel = json.loads((out / "funnel.json").read_text(encoding="utf-8"))
    return Run(
        factor=factor,
        pages=funnel["read"]["pages"],
        kept=sum(row["pages"] for row in funnel["kept"]),
        wall_seconds=wall,
        worker_seconds=sum(manifest.seconds for found in steps.values() for manifest in found),
        steps={
            name: Step(
                len(found),
                sum(manifest.seconds for manifest in found),
                max(manifest.peak_memory_bytes for manifest in found) / 2**20,
            )
            for name, found in steps.items()
        },
    )


def kind_of(step: str, runs: list[Run]) -> str:
    """Whether a step works on a `part` of the input or brings them `together`."""
    largest = runs[-1].steps
    return "part" if largest[step].tasks == largest["extract"].tasks else "together"


def tables(runs: list[Run]) -> str:
    """The two tables: whole runs, then steps by size."""
    lines = [
        "| input | pages | kept | wall s | worker s | pages/s per worker | largest worker MiB |",
        "|" + "---|" * 7,
    ]
    for found in runs:
        peak = max(step.peak_mib for step in found.steps.values())
        lines.append(
            f"| {found.factor}x | {found.pages} | {found.kept} | {found.wall_seconds:.0f} "
            f"| {found.worker_seconds:.0f} | {found.pages / found.worker_seconds:.1f} "
            f"| {peak:.0f} |"
        )
    sizes = [f"{found.factor}x" for found in runs]
    lines += [
        "",
        "| step | works on | " + " | ".join(f"{size} tasks, s, peak MiB" for size in sizes) + " |",
        "|" + "---|" * (2 + len(sizes)),
    ]
    for name in runs[-1].steps:
        cells = [
            f"{step.tasks}, {step.seconds:.1f}, {step.peak_mib:.0f}"
            if (step := found.steps.get(name))
            else "-"
            for found in runs
        ]
        lines.append(f"| {name} | {kind_of(name, runs)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def too_large(runs: list[Run]) -> list[str]:
    """The steps that needed more memory than they may."""
    return [
        f"{name} at {found.factor}x: {step.peak_mib:.0f} MiB"
        for found in runs
        for name, step in found.steps.items()
        if step.peak_mib > _ALLOWED_MIB[kind_of(name, runs)]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--pattern", default="crawl-*.warc.gz", help="Files of CORPUS to read.")
    parser.add_argument("--limit", type=int, help="Pages of CORPUS to take, evenly of each file.")
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--record", action="store_true", help="Append to docs/benchmarks.")
    options = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "warc"
        folder.mkdir()
        copies = 0
        for factor in sorted(options.factors):
            for copy in range(copies, factor):
                write_copy(pages_of(options.corpus, options.pattern, options.limit), copy, folder)
            copies = factor
            runs.append(run(folder, Path(name) / f"out-{factor}", factor, options.overrides))
            print(f"{factor}x: {runs[-1].pages} pages, {runs[-1].wall_seconds:.0f} s", flush=True)
    text = tables(runs)
    print(text)
    excess = too_large(runs)
    print("memory: " + ("; ".join(excess) if excess else "all steps within their limits"))
    if options.record:
        put_below(_TITLE, f"{datetime.now(UTC).date()}\n\n{text}")
    sys.exit(bool(excess))


if __name__ == "__main__":
    main()
