"""Repeated spans by exchanges beside a suffix array: speed, memory and what each finds.

    python bench/spans.py TEXTS --characters 10_000_000

TEXTS are files `*.jsonl.zst`, whose rows hold `text` and `lang`. They are read in turn, a document
of each, until there are so many characters. Ours runs all six steps in one process, Parquet and
exchange files included; the peer gets one array of UTF-8 with a zero byte between documents, sorts
its suffixes and compares neighbours (`pydivsufsort`: libdivsufsort and Kasai's algorithm), in an
environment of its own below `--environment`. Its shortest repeat is given in bytes: 200 for
English, 150 (50 characters) for Chinese.

Ours counts units: 35 words of English, 50 characters of Chinese, and compares letters only.

Seconds are CPU time of one process, memory is the largest of its working set above what it
had before the texts.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from peers import interpreter

from tongwen.curate.duplicates.exact import DUPLICATE_SCHEMA
from tongwen.curate.repeats import spans
from tongwen.curate.repeats.span_kernels import anchors
from tongwen.curate.repeats.units import lines_of, placed_units
from tongwen.curate.rules.decide import DECISION_SCHEMA
from tongwen.flow.exchange import PARTS
from tongwen.flow.task import Task, TaskContext, TaskInput
from tongwen.formats.documents import DOCUMENT_SCHEMA

PEERS = ("pydivsufsort==0.0.20",)
_PARAMS = {"task": 0, "sources": ["texts"], "span_words": 35, "span_characters": 50}
_PARTITIONS = 4
_PEER_BYTES = {"en": 200, "zh-Hans": 150}


def rows_of(path: Path) -> Iterator[str]:
    """The texts of one file."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in TextIOWrapper(reader, encoding="utf-8"):
            yield json.loads(line)["text"]


def texts_of(paths: list[Path], characters: int) -> list[str]:
    """One text of each file in turn."""
    readers = [rows_of(path) for path in paths]
    texts: list[str] = []
    while readers and characters > 0:
        for reader in list(readers):
            text = next(reader, None)
            if text is None:
                readers.remove(reader)
            elif text.strip():
                texts.append(text)
                characters -= len(text)
    return texts


class Ours:
    """The six steps over some texts, one extraction task, in this process."""

    def __init__(self, folder: Path, texts: list[str], lang: str) -> None:
        self._folder = folder
        self.seconds: dict[str, float] = {}
        self.repeated_characters = 0
        rows = [
            {**dict.fromkeys(DOCUMENT_SCHEMA.names, ""), "text": text, "lang": lang,
             "source": "texts", "warc_offset": 0, "doc_id": f"{number:032x}"}
            for number, text in enumerate(texts)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, DOCUMENT_SCHEMA), folder / "documents.parquet")
        decisions = pa.Table.from_pylist([dict.fromkeys(DECISION_SCHEMA.names)] * len(rows),
                                         DECISION_SCHEMA)  # fmt: skip
        pq.write_table(decisions, folder / "decisions.parquet")
        pq.write_table(pa.Table.from_pylist([], DUPLICATE_SCHEMA), folder / "duplicates.parquet")

    def step(
        self,
        name: str,
        index: int,
        function: Any,
        inputs: dict[str, Path | list[Path]],
        **params: Any,
    ) -> Path:
        out = self._folder / name / str(index)
        out.mkdir(parents=True)
        given = {
            key: [TaskInput(path, "") for path in ([paths] if isinstance(paths, Path) else paths)]
            for key, paths in inputs.items()
        }
        context = TaskContext(Task(function, index, given, params), out, frozenset(), None)
        started = time.process_time()
        function(context)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - started
        return out

    def reduces(self, name: str, function: Any, mapped: Path) -> list[Path]:
        return [
            self.step(name, number, function, {"parts": mapped / PARTS}, partition=number)
            for number in range(_PARTITIONS)
        ]

    def run(self) -> np.ndarray[Any, Any]:
        """The edits; `repeated_characters` is what lies in repeats, cut or not."""
        real = spans.covered_units

        def counted(text: str, units: Any, *others: Any) -> Any:
            covered, refuted = real(text, units, *others)
            joined = covered[1:] & covered[:-1]  # what stands between two covered units too
            self.repeated_characters += int((units.ends - units.starts)[covered].sum())
            self.repeated_characters += int((units.starts[1:] - units.ends[:-1])[joined].sum())
            return covered, refuted

        spans.covered_units = counted
        texts = {"documents": self._folder / "documents.parquet", "edits": []}
        is_open = {name: self._folder / f"{name}.parquet" for name in ("decisions", "duplicates")}
        mapped = self.step("map anchors", 0, spans.map_anchors, {**texts, **is_open},
                           **_PARAMS, partitions=_PARTITIONS)  # fmt: skip
        repeats = self.reduces("find repeats", spans.find_repeats, mapped)
        files = {"repeats": [home / "repeats.npy" for home in repeats]}
        mapped = self.step("map windows", 0, spans.map_windows, {**texts, **files},
                           **_PARAMS, partitions=_PARTITIONS)  # fmt: skip
        paired = self.reduces("pair windows", spans.pair_windows, mapped)
        files = {"pairs": [home / "pairs.npy" for home in paired]}
        quoted = self.step("quote", 0, spans.quote_spans, {**texts, **files}, **_PARAMS)
        files = {name: quoted / f"{name}.npy" for name in ("spans", "letters")}
        cut = self.step("verify and cut", 0, spans.cut_spans, {**texts, **files}, **_PARAMS)
        spans.covered_units = real
        edits: np.ndarray[Any, Any] = np.load(cut / "edits.npy")
        return edits


def run_peer(texts: list[str], shortest_bytes: int, environment: Path) -> dict[str, Any]:
    """Seconds, memory and repeated characters of the suffix array."""
    python = interpreter(environment, PEERS)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "texts.bin"
        given.write_bytes(b"\0".join(text.encode() for text in texts))
        script = Path(__file__).with_name("spans_peers.py")
        command = [python, script, given, str(shortest_bytes)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def kernel_rates(texts: list[str], size: int) -> dict[str, float]:
    """Million characters a second of what the map tasks compile: the median of five rounds."""
    kernels = {
        "units and anchors": lambda text: anchors(placed_units(text).hashes, size),
        "lines": lines_of,
    }
    characters = sum(map(len, texts))
    rates = {}
    for name, kernel in kernels.items():
        kernel(texts[0])
        seconds = []
        for _ in range(5):
            started = time.process_time()
            for text in texts:
                kernel(text)
            seconds.append(time.process_time() - started)
        rates[name] = characters / sorted(seconds)[2] / 1e6
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--lang", choices=sorted(_PEER_BYTES), required=True)
    parser.add_argument("--characters", type=int, default=10_000_000)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/spans"))
    options = parser.parse_args()
    texts = texts_of(options.texts, options.characters)
    characters = sum(map(len, texts))
    size = spans.span_units(options.lang, _PARAMS)
    assert size is not None
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        warm.mkdir()
        Ours(warm, [texts[0], texts[0] + " end"], options.lang).run()  # compiles
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours = Ours(Path(folder), texts, options.lang)
        edits = ours.run()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    cut = int((edits["end"].astype(np.int64) - edits["start"]).sum())
    peer = run_peer(texts, _PEER_BYTES[options.lang], options.environment)
    seconds = sum(ours.seconds.values())
    print(f"{options.lang}: {len(texts)} documents, {characters / 1e6:.1f} million characters")
    for name, rate in kernel_rates(texts, size).items():
        print(f"{name}: {rate:.0f} million characters a second")
    for name, spent in ours.seconds.items():
        print(f"step {name}: {spent:.2f} s")
    print("| | million characters/s | seconds | MiB | characters in repeats | of them cut |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| tongwen, six steps | {characters / seconds / 1e6:.1f} | {seconds:.1f} | {memory:.0f} "
          f"| {ours.repeated_characters} | {cut} |")  # fmt: skip
    print(f"| suffix array | {characters / peer['seconds'] / 1e6:.1f} | {peer['seconds']:.1f} "
          f"| {peer['mebibytes']:.0f} | {peer['characters']} | |")  # fmt: skip


if __name__ == "__main__":
    main()
