"""Peak memory and time of the near-duplicate steps at a size no corpus here has.

    python bench/near_memory.py [--records 20000000]

Makes the inputs of one task of each step as a run with so many records has them: 200,000 records a
block and a partition, 22 bands, 110 hashes, half of the records in families of 2 to 20. Every step
runs in a process of its own; its peak is above what Python and the libraries take. Clustering is
one task for all records: its links come from as many files as there are blocks.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.curate.duplicates.clusters import cluster
from tongwen.curate.duplicates.exact import LOSS
from tongwen.curate.duplicates.fingerprints import FINGERPRINT
from tongwen.curate.duplicates.near import LINK, pair_bands, sign_pairs, verify_pairs
from tongwen.flow.memory import peak_memory_bytes, reset_peak_memory
from tongwen.flow.task import Task, TaskContext, TaskInput

HASHES = 110
BANDS = 22
BLOCK = 200_000
PAIRS_A_RECORD = 5

Function = Callable[[TaskContext], Any]
Inputs = dict[str, list[Path]]


def families(records: int, draw: np.random.Generator) -> np.ndarray:
    """A family for every record: half of them alone, half in families of 2 to 20, anywhere."""
    sizes = draw.integers(2, 21, records // 22)
    owners = np.repeat(np.arange(len(sizes)), sizes)[: records // 2]
    alone = np.arange(records - len(owners)) + len(sizes)
    every = np.concatenate([owners, alone])
    draw.shuffle(every)
    return every


def numbers(places: np.ndarray) -> np.ndarray:
    """Record numbers, one task a block."""
    return (places // BLOCK).astype(np.uint64) << np.uint64(40) | (places % BLOCK).astype(np.uint64)


def run(function: Function, inputs: Inputs, params: dict[str, Any], out: Path) -> None:
    """Run one task in a process of its own; print its time, its peak memory and its counts."""
    out.mkdir()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_measured, args=(function, inputs, params, out))
    process.start()
    process.join()
    assert process.exitcode == 0, function.__name__


def _measured(function: Function, inputs: Inputs, params: dict[str, Any], out: Path) -> None:
    files = {name: [TaskInput(path, "") for path in paths] for name, paths in inputs.items()}
    task = Task(function, 0, files, params)
    reset_peak_memory()
    before = peak_memory_bytes()
    started = time.process_time()
    counts = function(TaskContext(task, out, frozenset(), None))
    seconds = time.process_time() - started
    peak = peak_memory_bytes() - before
    print(
        f"| {function.__name__} | {seconds:.1f} | {peak / 2**20:.0f} | {dict(counts)} |", flush=True
    )


def measure_block(folder: Path, blocks: int, draw: np.random.Generator) -> None:
    """One task of the steps before clustering."""
    starts = list(range(blocks))
    band = np.dtype([("key", "<u8"), ("mark", "<u8"), ("record", "<u8")])
    entries = np.zeros(BLOCK * BANDS, band)
    entries["key"] = families(len(entries), draw)
    entries["mark"] = draw.integers(0, 2**63, len(entries))
    entries["record"] = numbers(draw.integers(0, blocks * BLOCK, len(entries)))
    for number, part in enumerate(np.array_split(entries, 10)):
        part.tofile(folder / f"bands-{number}")
    bands = [folder / f"bands-{number}" for number in range(10)]
    run(pair_bands, {"parts": bands}, {"blocks": starts}, folder / "pair")
    draw.integers(0, 2**32, (BLOCK, HASHES), np.uint32).tofile(folder / "signatures.bin")
    pairs = np.zeros(BLOCK * PAIRS_A_RECORD, np.dtype([("first", "<u8"), ("second", "<u8")]))
    pairs["first"] = np.sort(draw.integers(0, BLOCK, len(pairs)))
    pairs["second"] = numbers(draw.integers(BLOCK, blocks * BLOCK, len(pairs)))
    pairs.tofile(folder / "pairs")
    params: dict[str, Any] = {"first_task": 0, "hashes": HASHES}
    inputs = {"pairs": [folder / "pairs"], "signatures": [folder / "signatures.bin"]}
    run(sign_pairs, inputs, {**params, "blocks": starts}, folder / "sign")
    signed = np.dtype([("first", "<u8"), ("second", "<u8"), ("signature", "<u4", (HASHES,))])
    paths = sorted((folder / "sign").glob("part-*"))
    for path in paths:  # as if they came from all blocks: their second record is in this one
        rows = np.fromfile(path, signed)
        rows["first"], rows["second"] = rows["second"].copy(), rows["first"].copy()
        rows.tofile(path)
    params["least_similarity"] = 0.0
    run(verify_pairs, {**inputs, "pairs": paths}, params, folder / "verify")


def measure_clusters(folder: Path, blocks: int, draw: np.random.Generator) -> None:
    """The one task that clusters all records."""
    records = blocks * BLOCK
    owner = families(records, draw)
    order = np.argsort(owner, kind="stable")
    same = owner[order][1:] == owner[order][:-1]
    links = np.zeros(int(same.sum()) * 2, LINK)
    one, other = order[:-1][same], order[1:][same]
    links["first"] = np.tile(numbers(np.minimum(one, other)), 2)  # each link found twice
    links["second"] = np.tile(numbers(np.maximum(one, other)), 2)
    links["equal"] = 90
    draw.shuffle(links)
    paths = []
    for number, part in enumerate(np.array_split(links, blocks)):
        paths.append(folder / f"links-{number:05d}.npy")
        np.save(paths[-1], part)
    known = np.zeros(BLOCK, FINGERPRINT)
    known["doc_id"] = draw.integers(0, 2**63, (BLOCK, 2))
    np.save(folder / "fingerprints.npy", known)
    np.save(folder / "losses.npy", np.zeros(0, LOSS))
    linked = len(np.unique(np.concatenate([one, other])))
    print(f"{records} records, {linked} of them with a link, {len(links)} links")
    inputs = {
        "losses": [folder / "losses.npy"],
        "links": paths,
        "fingerprints": [folder / "fingerprints.npy"] * blocks,
    }
    params = {"hashes": HASHES, "similarity": 0.7}
    del links, order, owner, same, one, other
    run(cluster, inputs, params, folder / "cluster")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000_000)
    options = parser.parse_args()
    blocks = max(2, options.records // BLOCK)
    draw = np.random.Generator(np.random.PCG64(1))
    print("| step | processor s | MiB above the start | counts |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        measure_block(Path(name), blocks, draw)
    with tempfile.TemporaryDirectory() as name:
        measure_clusters(Path(name), blocks, draw)


if __name__ == "__main__":
    main()
