"""Encoding beside SentencePiece, Hugging Face tokenizers, gigatoken, kitoken, tokie and tiktoken.

    python bench/encode.py CORPUS TOKENIZER [--record]

CORPUS is a folder with `text/*.jsonl.zst`, rows with `text`; half of the bytes are English, half
Chinese. TOKENIZER is a folder of `tongwen tokenizer train`: every encoder loads the same vocabulary
and must give the same ids, except tiktoken, which cannot and gets our pieces over bytes. Each is
timed from Python strings (ours from Arrow, as a stage reads them) to ids in its own form, with one
thread: in one process, and in two at the same time with half of the texts each. The median of
some passes after one that warms up.

The last rows are the whole stage, `tongwen encode` from Parquet to shards, start-up included.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from encode_peers import digest, timed
from minhash import sample
from peers import interpreter, result_of
from record import append_rows

from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.tokenizer.bulk import BulkEncoder
from tongwen.tokenizer.text import Tokenizer

PEERS = ("sentencepiece==0.2.3", "tokenizers==0.23.3", "gigatoken==0.10.0", "kitoken==0.11.1",
         "tokie==0.1.4", "tiktoken==0.14.0")  # fmt: skip
_BATCH_ROWS = 256
_GROUP_ROWS = 500
_HEAD = """
## Encoding, `python bench/encode.py shared/corpus TOKENIZER --record`
One vocabulary of 64,000 pieces for all, half English and half Chinese text. MB is 10^6 bytes of UTF-8. The rates are those of CPU seconds in one process, of CPU seconds in two at once, and of the wall clock with two. The stage reads Parquet and writes shards, start-up included.

| date | what | time against ours | MB/s per core | M characters/s per core | MB/s per core, 2 processes | MB/s, 2 processes | texts with other ids |
|---|---|---|---|---|---|---|---|
"""  # noqa: E501


def bulk_encoder(folder: Path) -> Any:
    """Ours as the stage uses it: batches of Arrow texts."""
    encoder = BulkEncoder(Tokenizer.load(folder))
    batches: dict[int, Any] = {}

    def encode(texts: Sequence[str]) -> list[Any]:
        if id(texts) not in batches:
            batches[id(texts)] = pa.array(texts, pa.large_string())
        table = batches[id(texts)]
        return [
            encoder.encode(table.slice(start, _BATCH_ROWS))
            for start in range(0, len(table), _BATCH_ROWS)
        ]

    def lists(found: list[Any]) -> list[Any]:
        return [ids[start:end].tolist() for ids, starts in found
                for start, end in pairwise(starts)]  # fmt: skip

    return encode, lists


def single_encoder(folder: Path) -> Any:
    """Ours text by text, as a server uses it."""
    tokenizer = Tokenizer.load(folder)
    return lambda texts: [tokenizer.encode(text) for text in texts], list


def run_stage(texts: list[str], tokenizer: Path, folder: Path, workers: int) -> tuple[float, float]:
    """Processor and wall seconds of `tongwen encode`."""
    documents = folder / "documents"
    if not documents.exists():
        documents.mkdir()
        empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
        rows = [{**empty, "warc_offset": number, "doc_id": f"{number:032x}", "lang": "en",
                 "text": text} for number, text in enumerate(texts)]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA),
                       documents / "all.parquet", row_group_size=_GROUP_ROWS)  # fmt: skip
    out = folder / f"out-{workers}-{time.monotonic_ns()}"
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "tongwen", "encode", documents, tokenizer, "--out", out,
               "--set", f"run.workers={workers}"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env={**os.environ})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return processor, time.monotonic() - started


def row(
    name: str, found: dict[str, Any], ours: float | None, texts: list[str], truth: list[str]
) -> str:
    """One line of the table."""
    date = datetime.now(UTC).date()
    if "error" in found:
        return f"| {date} | {name} | failed: {found['error']} | | | | | |"
    megabytes = sum(len(text.encode("utf-8")) for text in texts) / 1e6
    characters = sum(map(len, texts)) / 1e6
    one, two, wall = found["processor"]["1"], found["processor"]["2"], found["wall"]["2"]
    if "digests" in found:
        pairs = zip(found["digests"], truth, strict=True)
        other = f"{sum(first != second for first, second in pairs)} of {len(truth)}"
    else:
        other = ""
    ratio = "" if ours is None else f"{one / ours:.1f}x"
    return (
        f"| {date} | {name} | {ratio} | {megabytes / one:.1f} | {characters / one:.1f} "
        f"| {megabytes / two:.1f} | {megabytes / wall:.1f} | {other} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--megabytes", type=float, default=16.0, help="Of text, in all.")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--environment", type=Path, default=Path("build/bench/encode"))
    parser.add_argument("--only-stage", action="store_true", help="Time the stage alone.")
    parser.add_argument("--record", action="store_true", help="Append to docs/benchmarks.")
    options = parser.parse_args()
    texts = sample(options.corpus, "en", int(options.megabytes * 5e5))
    texts += sample(options.corpus, "zh", int(options.megabytes * 2e5))
    tokenizer = options.tokenizer.absolute()
    reference = Tokenizer.load(tokenizer)
    rows = []
    if not options.only_stage:
        results = {
            "tongwen, batches": timed(bulk_encoder, tokenizer, texts, options.passes),
            "tongwen, text by text": timed(single_encoder, tokenizer, texts, options.passes),
        }
        python = interpreter(options.environment, PEERS)
        peers = result_of(python, "encode_peers.py", texts, tokenizer, options.passes)
        names = {peer.partition("==")[0]: peer.replace("==", " ") for peer in PEERS}
        results.update({names[name]: found for name, found in peers.items()})
        truth = [digest(reference.encode(text)) for text in texts]
        ours = results["tongwen, batches"]["processor"]["1"]
        rows = [row(name, found, ours, texts, truth) for name, found in results.items()]
    much = sample(options.corpus, "en", 10**9) + sample(options.corpus, "zh", 10**9)
    stage: dict[str, Any] = {"processor": {}, "wall": {}}
    with tempfile.TemporaryDirectory() as name:
        for workers in (1, 2):
            runs = [run_stage(much, tokenizer, Path(name), workers) for _ in range(3)]
            stage["processor"][str(workers)] = statistics.median(run[0] for run in runs)
            stage["wall"][str(workers)] = statistics.median(run[1] for run in runs)
    size = sum(len(text.encode()) for text in much) / 1e6
    rows.append(row(f"tongwen, the whole stage, {size:.0f} MB", stage, None, much, []))
    print(f"{len(texts)} texts, {sum(len(text.encode()) for text in texts) / 1e6:.1f} MB")
    print(_HEAD.strip().split("\n\n")[1])
    print("\n".join(rows))
    if options.record:
        append_rows(_HEAD, rows)


if __name__ == "__main__":
    main()
