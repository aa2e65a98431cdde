import io
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tongwen.errors import InputError, WorkerDiedError
from tongwen.files import file_digest, tree_files
from tongwen.flow.local import LocalRunner
from tongwen.flow.runner import reduce_tasks
from tongwen.flow.task import Task, TaskInput
from tongwen.progress import Progress

sys.path.insert(0, str(Path(__file__).parent))  # worker processes inherit it
import flow_functions


def make_tasks(folder: Path, function: str, texts: list[str], **params: object) -> list[Task]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for index, text in enumerate(texts):
        path = folder / f"{index}.txt"
        path.write_text(text, encoding="utf-8")
        inputs = {"text": TaskInput(path, file_digest(path))}
        tasks.append(Task(getattr(flow_functions, function), index, inputs, params))
    return tasks


_RUNNERS: list[LocalRunner] = []


@pytest.fixture(autouse=True)
def closed_runners() -> Iterator[None]:
    yield
    while _RUNNERS:
        _RUNNERS.pop().close()


def runner(workers: int = 2, **options: float) -> tuple[LocalRunner, io.StringIO]:
    said = io.StringIO()
    local = LocalRunner(workers=workers, progress=Progress(said), **options)  # type: ignore[arg-type]
    _RUNNERS.append(local)
    return local, said


def contents(folder: Path) -> dict[str, bytes]:
    """Data files without the manifests, which hold times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in tree_files(folder)
        if path.name != "task.json"
    }


def test_results_come_in_task_order_and_are_the_same_for_any_number_of_workers(
    tmp_path: Path,
) -> None:
    texts = ["春眠不觉晓", "a b", "déjà", "", "x"]
    outputs = []
    for workers in (1, 3):
        tasks = make_tasks(tmp_path / "in", "upper", texts)
        results = runner(workers)[0].run(tasks, tmp_path / f"out{workers}")
        assert [result.task.index for result in results] == [0, 1, 2, 3, 4]
        assert results[2].file("text").path.read_text(encoding="utf-8") == "DÉJÀ"
        outputs.append(contents(tmp_path / f"out{workers}"))
    assert outputs[0] == outputs[1]


def test_a_second_run_does_nothing_and_a_changed_input_reruns_only_its_task(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "upper", ["a", "b", "c"])
    runner()[0].run(tasks, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in tree_files(tmp_path / "out")}
    tasks = make_tasks(tmp_path / "in", "upper", ["a", "B!", "c"])
    local, said = runner()
    local.run(tasks, tmp_path / "out")
    changed = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"00001"}
    assert "2 of 3 tasks are done already" in said.getvalue()


def test_an_output_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "upper", ["abc"])
    [result] = runner()[0].run(tasks, tmp_path / "out")
    result.file("text").path.write_text("A", encoding="utf-8")
    [result] = runner()[0].run(tasks, tmp_path / "out")
    assert result.file("text").path.read_text(encoding="utf-8") == "ABC"


def test_a_reduce_sees_every_map_output_once_in_order(tmp_path: Path) -> None:
    texts = ["a bb ccc", "dddd e", "ff ggg"]
    maps = runner()[0].run(
        make_tasks(tmp_path / "in", "partition_words", texts, partitions=2), tmp_path / "out"
    )
    joins = reduce_tasks(flow_functions.join, maps, 2)
    results = runner()[0].run(joins, tmp_path / "out")
    joined = [result.file("joined").path.read_text(encoding="utf-8") for result in results]
    assert joined == ["bb|dddd|ff", "a\nccc|e|ggg"]


def test_a_killed_worker_is_replaced_and_its_task_tried_again(tmp_path: Path) -> None:
    witness = str(tmp_path / "witness")
    tasks = make_tasks(tmp_path / "in", "die_once", ["a", "b"], witness=witness)
    local, said = runner()
    results = local.run(tasks, tmp_path / "out")
    assert [r.file("text").path.read_text(encoding="utf-8") for r in results] == ["A", "B"]
    assert "was killed; retrying" in said.getvalue()


def test_an_item_that_kills_two_workers_is_quarantined_and_named(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "die_at_poison", ["好\npoison\nnext", "fine"])
    local, said = runner()
    results = local.run(tasks, tmp_path / "out")
    assert results[0].file("text").path.read_text(encoding="utf-8") == "好\nnext"
    assert results[0].manifest.quarantined[0]["item"] == "poison"
    assert results[1].manifest.quarantined == ()
    assert "quarantined poison" in said.getvalue()


def test_an_item_that_takes_too_long_is_quarantined(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "die_at_poison", ["a\nslow\nb"])
    results = runner(1, item_seconds=2)[0].run(tasks, tmp_path / "out")
    assert results[0].file("text").path.read_text(encoding="utf-8") == "a\nb"


def test_a_task_that_always_dies_stops_the_run_with_its_inputs_named(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "die_always", ["a"])
    with pytest.raises(WorkerDiedError, match=r"step/00000.*0\.txt"):
        runner()[0].run(tasks, tmp_path / "out")


def test_a_users_error_arrives_with_its_hint_and_a_bug_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a song") as caught:
        runner()[0].run(make_tasks(tmp_path / "in", "refuse", ["a"]), tmp_path / "out")
    assert caught.value.hint == "sing"
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        runner()[0].run(make_tasks(tmp_path / "in", "stumble", ["a"]), tmp_path / "out")


def test_workers_stay_for_the_next_round_and_end_when_closed(tmp_path: Path) -> None:
    local, _ = runner(1)
    local.run(make_tasks(tmp_path / "in", "upper", ["a"]), tmp_path / "out")
    [first] = multiprocessing.active_children()
    local.run(make_tasks(tmp_path / "in", "upper", ["b"]), tmp_path / "out")
    assert multiprocessing.active_children() == [first]
    local.close()
    assert multiprocessing.active_children() == []


def test_leftovers_of_a_killed_run_and_of_a_longer_run_are_removed(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "upper", ["a", "b", "c"])
    runner()[0].run(tasks, tmp_path / "out")
    (tmp_path / "out" / "step" / ".00001.abcd.partial").mkdir()
    runner()[0].run(tasks[:2], tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "step").iterdir())
    assert names == ["00000", "00001"]
