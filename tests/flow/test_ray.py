"""The Ray runner on a cluster of several raylets on this machine, beside the local one."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path
import flow_functions

from tongwen.errors import DoesNotFitError, InputError, UsageError, WorkerDiedError
from tongwen.files import file_digest, tree_files, write_jsonl
from tongwen.flow import ray as ray_runner
from tongwen.flow.ray import RayRunner, RemoteWorker, check_identity, identity
from tongwen.flow.stage import run_stage
from tongwen.flow.task import Task, TaskInput
from tongwen.progress import Progress
from tongwen.road.recipe import load_recipe
from tongwen.road.stages import ROAD, stage_call

_FUNCTIONS = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without processors, to which each test adds the machines it needs."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'tongwen[ray]'")
    from ray.cluster_utils import Cluster

    variables = {
        "PYTHONPATH": os.pathsep.join([_FUNCTIONS, os.environ.get("PYTHONPATH", "")]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        quick = {  # a lost machine is noticed after 3 s instead of half a minute
            "health_check_initial_delay_ms": 0,
            "health_check_period_ms": 500,
            "health_check_failure_threshold": 6,
        }
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
        started = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
        yield started
        ray.shutdown()
        started.shutdown()


@pytest.fixture(scope="module")
def machine(cluster: Any) -> Any:
    """One machine with two processors, for the tests that lose none."""
    return cluster.add_node(num_cpus=2)


def run(tasks: list[Task], out: Path, **options: Any) -> tuple[list[Any], str]:
    """The results, and what was said."""
    said = io.StringIO()
    runner = RayRunner(address="auto", progress=Progress(said), **options)
    try:
        return runner.run(tasks, out), said.getvalue()
    finally:
        runner.close()


def make_tasks(folder: Path, function: str, texts: list[str], **params: object) -> list[Task]:
    folder.mkdir(exist_ok=True)
    tasks = []
    for index, text in enumerate(texts):
        path = folder / f"{index}.txt"
        path.write_text(text, encoding="utf-8")
        inputs = {"text": TaskInput(path, file_digest(path))}
        tasks.append(Task(getattr(flow_functions, function), index, inputs, params))
    return tasks


def data_files(folder: Path) -> dict[str, bytes]:
    """All files but those that hold times."""
    records = {
        "task.json",
        "manifest.json",
        "events.jsonl",
        "inputs.json",
        "cost.json",
        "progress.json",
    }
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in tree_files(folder)
        if path.name not in records
    }


def crawl_folder(folder: Path) -> Path:
    """Three files of texts in two languages, some of them twice."""
    inputs = []
    for number in range(3):
        texts = [
            f"On day {day} of journey {number} the old lighthouse keeper wrote that the sea was "
            f"calm, and that {day * 7} boats had passed. " * 6
            for day in range(8)
        ] + [
            f"第{day}天，守灯塔的老人写道：海面平静，有{day * 3}条船驶过。" * 9 for day in range(8)
        ]
        path = folder / f"{number}.jsonl"
        write_jsonl(path, [{"text": text} for text in texts])
        inputs.append(
            {"path": path.name, "format": "jsonl", "bytes": path.stat().st_size,
             "digest": file_digest(path), "source": f"s{number}", "license": "CC0-1.0",
             "text_field": "text"}
        )  # fmt: skip
    write_jsonl(folder / "inputs.jsonl", inputs)
    return folder


def test_a_curate_stage_gives_the_same_bytes_on_ray_and_on_local_workers(
    machine: Any, tmp_path: Path
) -> None:
    crawl = crawl_folder(tmp_path)
    stage = next(stage for stage in ROAD if stage.name == "curate")
    found = {}
    for name in ("local", "ray"):
        overrides = (f"run.runner={name}", "curate.task_bytes=1", "run.workers=2")
        recipe = load_recipe("defaults", overrides)
        out = tmp_path / name
        run_stage(stage_call(stage, recipe), {"crawl": crawl}, out, out, Progress(io.StringIO()))
        found[name] = data_files(out)
    assert len(found["local"]) > 20
    assert any(path.startswith("tasks/extract/00002/") for path in found["ray"])
    assert found["local"] == found["ray"]


def test_what_kills_its_worker_is_quarantined_and_named(machine: Any, tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path / "in", "die_at_poison", ["好\npoison\nnext", "a\nslow\nb", "fine"])
    results, said = run(tasks, tmp_path / "out", item_seconds=2.0)
    texts = [result.file("text").path.read_text(encoding="utf-8") for result in results]
    assert texts == ["好\nnext", "a\nb", "fine"]
    reasons = [result.manifest.quarantined for result in results]
    assert reasons[0] == ({"item": "poison", "reason": "its worker was killed, twice"},)
    assert reasons[1] == ({"item": "slow", "reason": "its worker took longer than 2 s, twice"},)
    assert reasons[2] == ()
    assert "a worker was killed at poison; retrying step/00000" in said
    large = make_tasks(tmp_path / "in", "grow", ["a\nlarge"])
    [result], _ = run(large, tmp_path / "large", memory_bytes=400 << 20)
    reason = "its worker used more than 0.391 GiB, twice"
    assert result.manifest.quarantined == ({"item": "large", "reason": reason},)


def test_errors_of_the_user_of_ours_and_of_the_machine_arrive(machine: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a song") as caught:
        run(make_tasks(tmp_path / "in", "refuse", ["a"]), tmp_path / "out")
    assert caught.value.hint == "sing"
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        run(make_tasks(tmp_path / "in", "stumble", ["a"]), tmp_path / "out")
    with pytest.raises(WorkerDiedError, match=r"step/00000 failed 3 times.*0\.txt"):
        run(make_tasks(tmp_path / "in", "die_always", ["a"]), tmp_path / "out")


def test_a_machine_with_another_version_is_refused(
    machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = {**identity(), "pyarrow": "999.0"}
    monkeypatch.setattr(ray_runner, "identity", lambda: newer)
    with pytest.raises(InputError, match=r"has pyarrow .*, this machine has 999\.0"):
        run(make_tasks(tmp_path / "in", "upper", ["a"]), tmp_path / "out")


def when_held(witness: Path, then: Callable[[int, int], None]) -> threading.Thread:
    """Call `then` with the worker's and the actor's process once a task waits at `witness`."""

    def watch() -> None:
        while not witness.exists():
            time.sleep(0.05)
        worker, actor = map(int, witness.read_text(encoding="utf-8").split())
        then(worker, actor)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_killed_actor_takes_its_worker_along_and_its_task_is_retried(
    machine: Any, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    gone: list[int] = []

    def kill(worker: int, actor: int) -> None:
        os.kill(actor, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while psutil.pid_exists(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        gone.append(worker)

    thread = when_held(witness, kill)
    tasks = make_tasks(tmp_path / "in", "hold_once", ["a", "b"], witness=str(witness))
    results, said = run(tasks, tmp_path / "out", workers=1)
    thread.join()
    assert [r.file("text").path.read_text(encoding="utf-8") for r in results] == ["A", "B"]
    assert "a Ray worker was lost; retrying step/00000 on another one" in said
    assert not psutil.pid_exists(gone[0])


def test_the_loss_of_a_machine_is_survived(cluster: Any, tmp_path: Path) -> None:
    """Of two machines the one goes that holds the task; the other finishes all tasks."""
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    machines = {}
    for _ in range(2):
        node = cluster.add_node(num_cpus=1)
        machines[node.all_processes["raylet"][0].process.pid] = node
    witness = tmp_path / "witness"

    def lose(worker: int, actor: int) -> None:
        cluster.remove_node(machines[psutil.Process(actor).ppid()], allow_graceful=False)

    thread = when_held(witness, lose)
    tasks = make_tasks(tmp_path / "in", "hold_once", ["a", "b", "c"], witness=str(witness))
    results, said = run(tasks, tmp_path / "out", workers=1)
    thread.join()
    texts = [result.file("text").path.read_text(encoding="utf-8") for result in results]
    assert texts == ["A", "B", "C"]
    assert "a Ray worker was lost; retrying step/00000 on another one" in said
    assert not list((tmp_path / "out").glob(".witness*"))


def test_a_cluster_without_cpus_is_given_up_in_the_end(cluster: Any, tmp_path: Path) -> None:
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    with pytest.raises(DoesNotFitError, match="no free CPU"):
        run(make_tasks(tmp_path / "in", "upper", ["a"]), tmp_path / "out", patience_seconds=1.0)


def test_without_ray_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs the package ray") as caught:
        RayRunner().run(make_tasks(tmp_path / "in", "upper", ["a"]), tmp_path / "out")
    assert "tongwen[ray]" in str(caught.value.hint)


def test_a_worker_says_that_its_node_does_not_see_our_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_runner, "_VISIBLE_SECONDS", 0.1)
    (tmp_path / "probe").touch()
    worker = RemoteWorker(1.0, 1 << 30)
    assert worker.describe(str(tmp_path / "probe"))["sees"]
    assert not worker.describe(str(tmp_path / "elsewhere"))["sees"]
    worker.close()


def test_the_first_difference_between_two_machines_is_named() -> None:
    ours = identity()
    assert {"tongwen", "the code of tongwen", "Python", "numpy", "pyarrow"} <= set(ours)
    assert "torch" not in ours  # decides no byte here, and need not be on the machines
    check_identity("node7", dict(ours), ours)
    theirs = {**ours, "the code of tongwen": "0000"}
    with pytest.raises(InputError, match="node7 has the code of tongwen 0000, this machine has"):
        check_identity("node7", theirs, ours)
    del theirs["tongwen"]
    with pytest.raises(InputError, match="node7 has tongwen missing"):
        check_identity("node7", theirs, ours)
