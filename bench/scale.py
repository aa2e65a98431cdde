"""Near duplicates at scale: synthetic signatures through grouping, pairing and clustering.

    python bench/scale.py --records 1_000_000
    python bench/scale.py --records 100_000_000 --folder /large/disk

Families of up to 20 records share most of their hashes, as copies on the web do. Every task runs
as in a curation, in a worker that is stopped beyond 2 GiB; what it costs is
then carried on to a crawl of 10 TB. The folder needs about 4 kB a record.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.duplicates.fingerprints import FINGERPRINT, fingerprint_records
from tongwen.curate.duplicates.steps import (
    dropped_for,
    exact_losses,
    layout_of,
    near_links,
    near_losses,
)
from tongwen.curate.records.extracted import RECORDS_A_PARTITION
from tongwen.curate.settings import DuplicateSettings
from tongwen.files import remove_tree
from tongwen.flow.local import LocalRunner
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.runner import TaskResult
from tongwen.flow.task import Task, TaskInput
from tongwen.progress import Progress

SETTINGS = DuplicateSettings()
HASHES = SETTINGS.bands * SETTINGS.rows
_MEMORY_BYTES = 2 << 30
_SIZES = [1] * 100 + list(range(2, 21))
_FAMILIES = np.repeat(np.arange(len(_SIZES)), _SIZES)
"""Of 309 records in a row which family each belongs to: a third have no copy."""
_LARGEST_NOISE = 0.3
_ROWS_AT_ONCE = 20_000
_OF_EXTRACTION = ("exact-map", "band-map")
"""Steps with a task for each extraction task; the others have one for so many records."""
_SPENT = {"band-pair": "band-map", "pair-sign": "band-pair", "pair-verify": "pair-sign"}
"""Exchanges that are removed once they are read, to save disk."""
_CRAWL_BYTES = 10e12
_FORMER_PARTITIONS = 1_024


def mixed(values: np.ndarray[Any, Any], salt: int) -> np.ndarray[Any, Any]:
    """Random-looking 64 bits for each number (the finalizer of splitmix64)."""
    values = values.astype(np.uint64) + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def families(records: np.ndarray[Any, Any], total: int) -> np.ndarray[Any, Any]:
    """The family of each record. Its members are far from one another."""
    step = next(step for step in range(int(total * 0.618) | 1, 2 * total, 2) if _gcd_1(step, total))
    places = records.astype(np.int64) * step % total
    return places // len(_FAMILIES) * len(_SIZES) + _FAMILIES[places % len(_FAMILIES)]


def _gcd_1(one: int, other: int) -> bool:
    while other:
        one, other = other, one % other
    return one == 1


def signatures(records: np.ndarray[Any, Any], family: np.ndarray[Any, Any]) -> Any:
    """[records, hashes]: those of the family, 0 to 30 % of them replaced."""
    place = np.arange(HASHES, dtype=np.int64)
    own = mixed(records[:, None] * HASHES + place, 1)
    shared = mixed(family[:, None] * HASHES + place, 2)
    noise = mixed(records, 3) / 2.0**64 * _LARGEST_NOISE
    is_own = (own >> np.uint64(32)) / 2.0**32 < noise[:, None]
    return np.where(is_own, own, shared).astype(np.uint32)


def write_task(folder: Path, index: int, records: int, total: int) -> TaskResult:
    """What `fingerprint` leaves of one extraction task, and the decisions of its records."""
    directory = folder / "fingerprint" / f"{index:05d}"
    directory.mkdir(parents=True)
    first = index * records
    numbers = np.arange(first, min(total, first + records))
    family = families(numbers, total)
    known = np.zeros(len(numbers), FINGERPRINT)
    known["doc_id"] = mixed(numbers[:, None] * 2 + np.arange(2), 4)
    known["characters"] = 1_000 + mixed(numbers, 5) % np.uint64(1_000)
    text = np.where(numbers % 50 == 0, family, numbers + total)  # 2 % are equal texts
    known["text"] = mixed(text[:, None] * 2 + np.arange(2), 6)
    known["has_signature"] = True
    np.save(directory / "fingerprints.npy", known)
    with (directory / "signatures.bin").open("wb") as file:
        for start in range(0, len(numbers), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            file.write(signatures(numbers[part], family[part]).tobytes())
    column = pa.table({"drop_stage": pa.nulls(len(numbers), pa.string())})
    pq.write_table(column, directory / "decisions.parquet")
    manifest = Manifest(digest=f"{index}", counts={"records": len(numbers)})
    manifest = replace(manifest, outputs=describe_outputs(directory))
    task = Task(fingerprint_records, index, {"documents": (), "edits": ()})
    return TaskResult(task, directory, manifest)


class Costs:
    """Runs the tasks of steps in workers, and adds up what each took."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._runner = LocalRunner(
            workers=workers, memory_bytes=_MEMORY_BYTES, progress=Progress(sys.stderr)
        )
        self.steps: dict[str, dict[str, float]] = {}

    def run(self, tasks: Sequence[Task]) -> list[TaskResult]:
        results = self._runner.run(tasks, self._folder)
        cost = self.steps.setdefault(
            tasks[0].step, dict.fromkeys(("turns", "tasks", "files", "bytes", "seconds", "peak"), 0)
        )
        cost["turns"] += 1
        for result in results:
            manifest = result.manifest
            cost["tasks"] += 1
            cost["files"] += len(manifest.outputs) + 1
            cost["bytes"] += sum(item.bytes for item in manifest.outputs)
            cost["seconds"] += manifest.seconds
            cost["peak"] = max(cost["peak"], manifest.peak_memory_bytes)
        if spent := _SPENT.get(tasks[0].step):
            remove_tree(self._folder / spent)
        return results

    def close(self) -> None:
        self._runner.close()


def measure(folder: Path, records: int, workers: int, records_a_task: int) -> Costs:
    """Write the records and run all steps over them."""
    tasks = range(-(-records // records_a_task))
    results = [write_task(folder, index, records_a_task, records) for index in tasks]
    layout = layout_of(results, 1 + records // RECORDS_A_PARTITION, RECORDS_A_PARTITION)
    decisions = [TaskInput(result.directory / "decisions.parquet", "") for result in results]
    costs = Costs(folder, workers)
    try:
        lost = exact_losses(costs.run, SETTINGS, decisions, results, layout)
        links = near_links(costs.run, SETTINGS, decisions, results, lost, layout)
        near = near_losses(costs.run, SETTINGS, links, results, layout)
        found = dropped_for(costs.run, (*lost, *near), layout, HASHES)
    finally:
        costs.close()
    tables = {file.path for file in found.lost}
    dropped = sum(pq.ParquetFile(path).metadata.num_rows for path in tables)
    print(f"{records:,} records, {dropped:,} dropped, {len(results)} extraction tasks, "
          f"{layout.partitions} partitions, {len(layout.starts)} blocks\n")  # fmt: skip
    return costs


def print_costs(costs: Costs) -> None:
    print("| step | turns | tasks | files | MB written | worker s | MiB at most |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, cost in costs.steps.items():
        print(
            f"| `{name}` | {cost['turns']:.0f} | {cost['tasks']:.0f} | {cost['files']:.0f} | "
            f"{cost['bytes'] / 1e6:,.0f} | {cost['seconds']:.1f} | {cost['peak'] / 2**20:.0f} |"
        )


def print_forecast(costs: Costs, seconds: float, options: argparse.Namespace) -> None:
    """What the same steps would cost for a crawl of 10 TB, in proportion to its records.

    `seconds` are those of CPUs.
    """
    records = options.records
    scale = _CRAWL_BYTES / options.bytes_a_record / records
    extraction = int(_CRAWL_BYTES / options.task_bytes)
    partitions = int(scale * records / RECORDS_A_PARTITION)
    files = reads = former = 0.0
    for name, cost in costs.steps.items():
        tasks = extraction if name in _OF_EXTRACTION else partitions
        files += cost["files"] / cost["tasks"] * tasks * cost["turns"]
        reads += 2 * tasks * partitions * cost["turns"]
        former += (name in _OF_EXTRACTION) * cost["turns"] * tasks * _FORMER_PARTITIONS
    written = sum(cost["bytes"] for cost in costs.steps.values()) * scale
    hours = seconds * scale / 3600
    requests = reads / 1e6 * options.euro_a_million_reads
    peak = max(cost["peak"] for cost in costs.steps.values())
    print(f"""
A crawl of 10 TB with {options.bytes_a_record:,} bytes a record: {scale * records:,.0f} records,
{extraction:,} extraction tasks of {options.task_bytes:,} bytes, {partitions:,} partitions and as
many blocks. All records are taken to reach deduplication.

| | |
| --- | --- |
| files written | {files:,.0f} |
| the same with a file for each task and partition | {former:,.0f} and more |
| ranges read | {reads:,.0f} |
| bytes written and read again | {written / 1e12:,.1f} TB |
| core hours | {hours:,.0f} |
| at {options.euro_a_core_hour:g} euro a core hour | {hours * options.euro_a_core_hour:,.0f} euro |
| a million ranges at {options.euro_a_million_reads:g} euro on a store | {requests:,.0f} euro |
| largest process here | {peak / 2**20:,.0f} MiB of {_MEMORY_BYTES / 2**20:,.0f} |""")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--records-a-task", type=int, default=RECORDS_A_PARTITION)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--bytes-a-record", type=int, default=33_000)
    parser.add_argument("--task-bytes", type=int, default=64 << 20, help="as curate.task_bytes")
    parser.add_argument("--euro-a-core-hour", type=float, default=0.04)
    parser.add_argument("--euro-a-million-reads", type=float, default=0.4)
    parser.add_argument("--folder", type=Path, help="where the records go; a temporary folder")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        costs = measure(Path(folder), options.records, options.workers, options.records_a_task)
    print_costs(costs)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print_forecast(costs, usage.ru_utime + usage.ru_stime, options)
    print(f"\n{time.monotonic() - started:,.0f} s in all")


if __name__ == "__main__":
    main()
