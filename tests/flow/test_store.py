"""Outputs of tasks on a store: the same bytes, nothing left here, ranges of exchange files."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tongwen.errors import InputError, RecipeError
from tongwen.files import tree_files
from tongwen.flow.exchange import PARTS
from tongwen.flow.local import TASK_MANIFEST, InProcessRunner, LocalRunner, TaskResult
from tongwen.flow.runner import Runner, reduce_tasks
from tongwen.flow.settings import RunSettings
from tongwen.flow.store import Store, check_store
from tongwen.flow.task import Task, TaskInput
from tongwen.progress import Progress

sys.path.insert(0, str(Path(__file__).parent))  # worker processes inherit it
import flow_functions

TEXTS = ("a bb ccc", "dddd e", "ff ggg")


def make_tasks(folder: Path, function: Any, **params: Any) -> list[Task]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for index, text in enumerate(TEXTS):
        path = folder / f"{index}.txt"
        path.write_text(text, encoding="utf-8")
        tasks.append(Task(function, index, {"text": TaskInput(path, text)}, params))
    return tasks


def join(runner: Runner, tmp_path: Path) -> list[TaskResult]:
    """A map and a reduce of two partitions."""
    out = tmp_path / "out"
    maps = runner.run(
        make_tasks(tmp_path / "in", flow_functions.partition_words, partitions=2), out
    )
    return runner.run(reduce_tasks(flow_functions.join, maps, 2), out)


def texts(results: list[TaskResult]) -> list[str]:
    return [result.file("joined").path.read_text(encoding="utf-8") for result in results]


def local(store: Store, **more: Any) -> tuple[LocalRunner, io.StringIO]:
    said = io.StringIO()
    return LocalRunner(workers=1, store=store, progress=Progress(said), **more), said


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_workers_leave_their_outputs_on_the_store_and_find_them_again(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store", tmp_path / "out")
    runner, _ = local(store)
    assert texts(join(runner, tmp_path)) == ["bb|dddd|ff", "a\nccc|e|ggg"]
    runner.close()
    assert tree_files(tmp_path / "out") == []
    assert len(list((tmp_path / "store").rglob(TASK_MANIFEST))) == 5
    again, said = local(store)
    assert texts(join(again, tmp_path)) == ["bb|dddd|ff", "a\nccc|e|ggg"]
    again.close()
    assert "3 of 3 tasks are done already" in said.getvalue()


def test_a_task_without_its_manifest_or_with_a_damaged_output_is_made_again(
    tmp_path: Path,
) -> None:
    store = Store(f"file://{tmp_path}/store", tmp_path / "out")
    runner, said = local(store)
    join(runner, tmp_path)
    (tmp_path / "store/join/00000/joined").write_text("b", encoding="utf-8")
    (tmp_path / "store/join/00001" / TASK_MANIFEST).unlink()
    (tmp_path / "store/join/00007").mkdir()
    assert texts(join(runner, tmp_path)) == ["bb|dddd|ff", "a\nccc|e|ggg"]
    runner.close()
    assert not (tmp_path / "store/join/00007").exists()
    assert said.getvalue().count("tasks are done already") == 1


def test_a_worker_that_is_killed_before_its_upload_loses_nothing(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store", tmp_path / "out")
    runner, said = local(store)
    tasks = make_tasks(tmp_path / "in", flow_functions.die_once, witness=str(tmp_path / "witness"))
    results = runner.run(tasks, tmp_path / "out")
    runner.close()
    found = [result.file("text").path.read_text(encoding="utf-8") for result in results]
    assert found == [text.upper() for text in TEXTS]
    assert "was killed; retrying" in said.getvalue()


def test_exchange_files_are_read_by_ranges_and_never_fetched_whole(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    get_file = type(memory).get_file

    def watched(self: Any, source: str, target: str, **more: Any) -> Any:
        fetched.append(source)
        return get_file(self, source, target, **more)

    monkeypatch.setattr(type(memory), "get_file", watched)
    store = Store("memory://bucket/work", tmp_path / "out")
    runner = InProcessRunner(store=store, progress=Progress(io.StringIO()))
    assert texts(join(runner, tmp_path)) == ["bb|dddd|ff", "a\nccc|e|ggg"]
    assert any(name.endswith("joined") for name in fetched)
    assert not any(name.endswith(PARTS) for name in fetched)


def test_a_store_that_cannot_be_used_is_refused_before_work_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere://bucket"):
        check_store("nowhere://bucket")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="fails"):
        check_store(f"file://{tmp_path}/file/below")
    with pytest.raises(RecipeError, match="has no scheme"):
        RunSettings(name="run", work="bucket/work")
    check_store(f"file://{tmp_path}/new")
    assert list((tmp_path / "new").iterdir()) == []
