"""A kill -9 at any moment, and the same command again: each document once, and the same bytes."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tongwen.encode import tasks
from tongwen.encode.settings import EncodeSettings
from tongwen.encode.stage import run
from tongwen.errors import InputError
from tongwen.files import read_json, write_bytes
from tongwen.flow.local import LocalRunner
from tongwen.flow.settings import RunSettings
from tongwen.flow.stage import StageContext
from tongwen.flow.task import Task, TaskContext, TaskInput
from tongwen.formats.documents import DOCUMENT_SCHEMA, row_group_ranges
from tongwen.formats.shards import Shard
from tongwen.progress import Progress
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

GROUP_ROWS = 20
GROUPS = 6
RUN_AND_DIE = """
import os, signal, sys
from pathlib import Path
import tongwen.encode.stage as stage
from tests_encode_kill import context

def die():
    os.kill(os.getpid(), signal.SIGKILL)

folder, workers, moment = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
here = context(folder, folder / "killed", workers)
if moment == "tasks":
    here.runner.progress.update = lambda step, done, total: done == 3 and die()
elif moment == "join":
    write = stage.shard_writer
    stage.shard_writer = lambda path, **options: (
        die() if path.name == "train-00001.shard" else write(path, **options)
    )
else:
    stage.write_json = lambda path, value: die()
stage.run(here)
"""


def text_of(number: int) -> str:
    return f"{number}: the market of Halden, 同文馆的学生 {'😀' * (number % 3)}\n" * (number % 7)


def context(folder: Path, out: Path, workers: int) -> StageContext:
    out.mkdir(exist_ok=True)
    return StageContext(
        settings=EncodeSettings(shard_tokens=2_000, validation_share=0.1),
        run=RunSettings(name="test"),
        inputs={"documents": folder / "documents", "tokenizer": folder / "tokenizer"},
        out=out,
        run_dir=folder,
        runner=LocalRunner(workers=workers),
        progress=Progress(),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Parquet file of six row groups, and a tokenizer."""
    path = tmp_path_factory.mktemp("encode")
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    rows = [
        {
            **empty,
            "warc_offset": number,
            "doc_id": f"{number:032x}",
            "lang": ("en", "zh-Hans")[number % 2],
            "text": text_of(number),
        }
        for number in range(GROUP_ROWS * GROUPS)
    ]
    (path / "documents").mkdir()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA),
        path / "documents" / "large.parquet",
        row_group_size=GROUP_ROWS,
    )
    model = train_model([text_of(number) for number in range(500)], vocabulary_size=380)
    write_bytes(path / "tokenizer" / "tokenizer.model", model)
    return path


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task a row group."""
    monkeypatch.setattr("tongwen.encode.stage._TASK_BYTES", 1)


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in [*out.glob("*.shard"), out / "shards.json"]}


@pytest.mark.parametrize(
    ("moment", "workers"), [("tasks", 1), ("tasks", 2), ("join", 2), ("summary", 1)]
)
def test_killed_and_run_again_it_has_every_document_once_and_the_same_bytes(
    folder: Path, tmp_path: Path, small_tasks: None, workers: int, moment: str
) -> None:
    run(context(folder, tmp_path / "undisturbed", 1))
    expected = contents(tmp_path / "undisturbed")
    (tmp_path / "tests_encode_kill.py").write_text(Path(__file__).read_text(encoding="utf-8"))
    for name in ("documents", "tokenizer"):
        (tmp_path / name).symlink_to(folder / name)
    script = "import tongwen.encode.stage as s; s._TASK_BYTES = 1\n" + RUN_AND_DIE
    child = subprocess.run(
        [sys.executable, "-c", script, tmp_path, str(workers), moment],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(run.__code__.co_filename).parents[2]}"},
    )
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "shards.json").exists()
    finished = list((tmp_path / "killed" / "tasks" / "encode-documents").glob("0*"))
    assert 3 <= len(finished) <= (5 if moment == "tasks" else GROUPS)

    resumed = context(tmp_path, tmp_path / "killed", workers)
    counts = run(resumed)
    assert contents(tmp_path / "killed") == expected
    assert counts["documents"] == GROUP_ROWS * GROUPS
    tokenizer = Tokenizer.load(folder / "tokenizer")
    found = Counter(
        tokenizer.decode(shard.document(number).tolist())
        for item in read_json(tmp_path / "killed" / "shards.json")["shards"]
        for shard in [Shard.open(tmp_path / "killed" / item["path"])]
        for number in range(shard.documents)
    )
    assert found == Counter(text_of(number) for number in range(GROUP_ROWS * GROUPS))


def test_a_large_file_is_cut_at_its_row_groups_and_gives_the_same_shards(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "documents" / "large.parquet"
    run(context(folder, tmp_path / "whole", 1))
    assert len(list((tmp_path / "whole" / "tasks" / "encode-documents").iterdir())) == 1
    for text_bytes in (1, 4_000, 10_000):
        ranges = row_group_ranges(path, text_bytes)
        assert [number for bounds in ranges for number in range(*bounds)] == list(range(GROUPS))
        monkeypatch.setattr("tongwen.encode.stage._TASK_BYTES", text_bytes)
        out = tmp_path / f"cut-{text_bytes}"
        run(context(folder, out, 1))
        assert len(list((out / "tasks" / "encode-documents").iterdir())) == len(ranges)
        assert contents(out) == contents(tmp_path / "whole")
    assert len(row_group_ranges(path, 1)) == GROUPS


def encoded(path: Path, tokenizer: Path, out: Path, skip: frozenset[str]) -> tuple[dict, list]:
    """Counts of one task and the marks it has set."""
    out.mkdir()
    inputs = {
        "documents": TaskInput(path, ""),
        "tokenizer": TaskInput(tokenizer / "tokenizer.model", ""),
    }
    params = {"validation_thresholds": {"en": 0.0, "zh": 0.0}, "row_groups": None, "end_id": 2}
    marks: list[str] = []
    here = TaskContext(Task(tasks.encode_documents, 0, inputs, params), out, skip, None)
    here.mark = marks.append
    return dict(tasks.encode_documents(here)), marks


def test_a_long_text_is_marked_by_name_and_what_must_be_skipped_is_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_LONG_BYTES", 250)
    path = folder / "documents" / "large.parquet"
    skip = frozenset({f"{5:032x}", f"{6:032x}", "another file's"})
    counts, marks = encoded(path, folder / "tokenizer", tmp_path / "out", skip)
    total = GROUP_ROWS * GROUPS
    assert counts == {"documents_in": total, "documents_quarantined": 2}
    assert set(marks) == {"", *(f"{n:032x}" for n in range(total)
                                if len(text_of(n).encode()) >= 250)} - skip  # fmt: skip
    shard = Shard.open(tmp_path / "out" / "train.shard")
    tokenizer = Tokenizer.load(folder / "tokenizer")
    assert [tokenizer.decode(shard.document(n).tolist()) for n in range(shard.documents)] == [
        text_of(number) for number in range(total) if number not in (5, 6)
    ]


def test_bytes_that_are_no_utf8_are_refused_with_the_file(folder: Path, tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.array([0, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfe")],
    )
    table = pa.table({"doc_id": ["x"], "lang": ["en"], "text": broken})
    pq.write_table(table, tmp_path / "broken.parquet")
    with pytest.raises(InputError, match=r"broken\.parquet has a text that is no valid UTF-8"):
        encoded(tmp_path / "broken.parquet", folder / "tokenizer", tmp_path / "o", frozenset())
