"""The whole stage on a corpus that hurts, killed and resumed, and in other orders and groups."""

import glob
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from curate_runs import Curated, write_crawl
from curate_texts import CHINESE, ENGLISH, story
from hostile import POISON, extract_or_die, files, html, response, warc_record

from tongwen.curate.settings import CurateSettings
from tongwen.files import read_jsonl, tree_files, write_jsonl
from tongwen.flow.local import LocalRunner, TaskResult
from tongwen.flow.task import Task
from tongwen.formats.readers import read_records

CurateFunction = Callable[..., Curated]
_TIMES = {
    "task.json",
    "manifest.json",
    "events.jsonl",
    "inputs.json",
    "cost.json",
    ".lock",
    "progress.json",
}


def data_files(folder: Path) -> dict[str, bytes]:
    """All files of a stage but those that hold times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in tree_files(folder)
        if path.name not in _TIMES
    }


def check_account(curated: Curated, read: int) -> Counter[str]:
    """Every record read is kept or dropped with a reason; gives the reasons of the drops."""
    rows = curated.rows("attributes")
    kept = [row["doc_id"] for row in rows if row["drop_stage"] is None]
    assert len(rows) == read
    assert [row["doc_id"] for row in curated.rows("documents")] == kept
    assert all(row["drop_rule"] for row in rows if row["drop_stage"] is not None)
    funnel = curated.json("funnel.json")
    assert funnel["read"]["pages"] == read
    assert sum(row["pages"] for row in funnel["kept"]) == len(kept)
    assert sum(row["pages"] for row in funnel["dropped"]) == read - len(kept)
    return Counter(row["problem"] or row["drop_rule"] for row in rows if row["drop_stage"])


def test_a_hostile_corpus_never_stops_a_run_and_every_record_is_accounted_for(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    read = 0
    for name, data in files(seed=20261124).items():
        path = crawl / f"{name}.warc.gz"
        path.write_bytes(data)
        read += sum(1 for _ in read_records(path, "warc"))
    runner = LocalRunner(workers=2, item_seconds=15, memory_bytes=2 << 30)
    try:
        curated = curate(crawl, settings=CurateSettings(task_bytes=100_000), runner=runner)
    finally:
        runner.close()
    assert runner.quarantined == []  # nothing of it is slow or large enough to be stopped
    reasons = check_account(curated, read)
    assert {"bomb", "too_large", "truncated", "bad_encoding", "no_text", "content_type"} <= set(
        reasons
    )
    for row in curated.rows("documents"):
        assert row["text"].encode("utf-8").decode("utf-8").strip()
        assert "\0" not in row["text"]
    good = [row for row in curated.rows("attributes") if row["host"] == "good.example"]
    assert len(good) > 10
    whole = [row["drop_rule"] for row in good if row["problem"] is None]
    # mutated pages are longer copies of them, so that these may lose to one of those
    assert set(whole) <= {None, "same_url", "same_text", "near_duplicate"}


@dataclass
class DyingRunner(LocalRunner):
    """Has the extraction done by a program that some pages kill."""

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        return super().run(
            [
                Task(extract_or_die, task.index, task.inputs, task.params)
                if task.step == "extract"
                else task
                for task in tasks
            ],
            out,
        )


def test_a_page_that_kills_its_worker_is_quarantined_with_its_reason_and_counted(
    tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    bodies = [html(ENGLISH), html(story(1, "en", 20)), html(CHINESE)]
    poisoned = [bodies[0], POISON, bodies[1], POISON + b"!", bodies[2]]
    data = [warc_record(b"http://p.example/%d" % n, response(b)) for n, b in enumerate(poisoned)]
    (crawl / "pages.warc.gz").write_bytes(b"".join(data))
    runner = DyingRunner(workers=2)
    try:
        curated = curate(crawl, runner=runner)
    finally:
        runner.close()
    places = [len(data[0]), sum(map(len, data[:3]))]
    assert [dict(item) for item in runner.quarantined] == [
        {"item": f"pages.warc.gz@{place}", "reason": "its worker was killed, twice"}
        for place in sorted(places, key=str)
    ]
    assert check_account(curated, 5)["quarantined"] == 2
    kept = {row["url"][-1] for row in curated.rows("documents")}
    assert {"0", "4"} <= kept <= {"0", "2", "4"}


def texts() -> Mapping[str, list[str]]:
    """Two files with stories, copies and near copies across them."""
    first = [story(n, "en" if n % 2 else "zh", 20) for n in range(8)]
    second = [story(n, "en" if n % 2 else "zh", 20) for n in range(20, 26)]
    return {"first": first, "second": [*second, first[1], first[2] + "又一年。", first[5].upper()]}


def curate_command(crawl: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "tongwen", "curate", "run", str(crawl), "--out", str(out),
        "--set", "run.workers=2", "--set", "curate.task_bytes=1",
    ]  # fmt: skip


def finished_tasks(out: Path) -> int:
    """How many there are; folders may come and go meanwhile, at which `Path.glob` raises."""
    return len(glob.glob("*/*/task.json", root_dir=out / "tasks"))  # noqa: PTH207


def test_a_stage_killed_at_random_tasks_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Killed with all its workers, in three different steps; each time the command goes on."""
    crawl = write_crawl(tmp_path, texts())
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(curate_command(crawl, tmp_path / "whole"), check=True, **quiet)
    whole = data_files(tmp_path / "whole")
    tasks = finished_tasks(tmp_path / "whole")
    generator = random.Random(7)
    killed = 0
    for wanted in sorted(generator.sample(range(1, tasks), 3)):
        process = subprocess.Popen(
            curate_command(crawl, tmp_path / "killed"), start_new_session=True, **quiet
        )
        while process.poll() is None:
            if finished_tasks(tmp_path / "killed") >= wanted:
                time.sleep(generator.random() * 0.05)
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
                break
            time.sleep(0.005)
        process.wait()
    subprocess.run(curate_command(crawl, tmp_path / "killed"), check=True, **quiet)
    assert killed == 3
    assert data_files(tmp_path / "killed") == whole


def fates(curated: Curated) -> list[tuple[Any, ...]]:
    """Of every record what became of it, in the order of the ids."""
    written = {row["doc_id"]: row["text"] for row in curated.rows("documents")}
    return sorted(
        (row["doc_id"], row["drop_rule"], row["duplicate_of"], row["cluster_size"],
         written.get(row["doc_id"]))
        for row in curated.rows("attributes")
    )  # fmt: skip


@pytest.mark.parametrize("task_bytes", [1, 1 << 30])
def test_the_order_of_the_files_and_the_size_of_the_tasks_change_no_fate(
    task_bytes: int, tmp_path: Path, curate: CurateFunction
) -> None:
    crawl = write_crawl(tmp_path, texts())
    rows = [{**row, "source": "one"} for row in read_jsonl(crawl / "inputs.jsonl")]
    settings = CurateSettings(task_bytes=task_bytes)
    found = []
    for name, order in (("forth", rows), ("back", rows[::-1])):
        write_jsonl(crawl / "inputs.jsonl", order)
        found.append(curate(crawl, name, settings=settings))
    assert fates(found[0]) == fates(found[1])
    assert json.dumps(found[0].json("funnel.json")) == json.dumps(found[1].json("funnel.json"))
    assert sum(row["drop_rule"] is not None for row in found[0].rows("attributes")) == 3
