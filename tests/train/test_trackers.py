"""TensorBoard files, trackers and sample texts of a run."""

import struct
import sys
from collections import defaultdict
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tongwen.errors import InputError
from tongwen.road.alone import run_alone
from tongwen.train.metrics import read_metrics
from tongwen.train.trackers import Tracked, check_trackers, telling

_STEPS = 20
_SHORT = ("pretrain.max_tokens=10240", "pretrain.evaluate_every_steps=10")


def pretrain(shards: Path, tokenizer: Path, out: Path, recipe: Path, *overrides: str) -> None:
    run_alone(
        "pretrain",
        inputs={"shards": shards, "tokenizer": tokenizer},
        out=out,
        recipe=str(recipe),
        overrides=(*_SHORT, *overrides),
    )


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> steps and values of TensorBoard's files: records of length, CRC, message, CRC."""
    from tensorboardX.proto.event_pb2 import Event

    found = defaultdict(list)
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += length + 16
            for value in event.summary.value:
                found[value.tag].append((event.step, value.simple_value))
    return found


class FakeClient:
    """The face that the three clients have in common with what is called here."""

    def __init__(self, name: str) -> None:
        self.module: Any = ModuleType(name)
        self.module.__spec__ = ModuleSpec(name, None)
        self.began: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.ended = 0
        for called in ("init", "start_run"):
            setattr(self.module, called, self._begin)
        for called in ("log", "log_metrics"):
            setattr(self.module, called, self._log)
        for called in ("finish", "end_run"):
            setattr(self.module, called, self._end)
        for called in ("set_experiment", "log_params", "log_text"):
            setattr(self.module, called, lambda *_, **__: None)

    def _begin(self, **options: Any) -> Any:
        self.began.append(options)
        return SimpleNamespace(log=self._log, finish=self._end, info=SimpleNamespace(run_id="kept"))

    def _log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((step, values))

    def _end(self) -> None:
        self.ended += 1


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeClient]:
    made = {name: FakeClient(name) for name in ("wandb", "mlflow", "trackio")}
    for name, client in made.items():
        monkeypatch.setitem(sys.modules, name, client.module)
    return made


def test_everybody_is_told_the_same_course_and_it_changes_nothing(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    clients: dict[str, FakeClient],
) -> None:
    words = (shards_folder, small_tokenizer_folder)
    pretrain(*words, tmp_path / "plain", recipe_file)
    told = tmp_path / "told"
    names = 'pretrain.trackers=["wandb", "mlflow", "trackio"]'
    samples = 'pretrain.sample_prompts=["Road 7 is", "第7条路"]'
    pretrain(*words, told, recipe_file, names, samples, "pretrain.sample_tokens=5")
    weights = [
        (tmp_path / name / "model/model.safetensors").read_bytes() for name in ("plain", "told")
    ]
    assert weights[0] == weights[1]

    rows = read_metrics(told / "metrics.jsonl")
    losses = [(row["step"], row["loss"]) for row in rows if row["kind"] == "train"]
    assert len(losses) == _STEPS
    written = [(row["step"], row["prompt"]) for row in rows if row["kind"] == "sample"]
    assert written == [(step, prompt) for step in (10, 20) for prompt in ("Road 7 is", "第7条路")]
    assert all(row["text"] for row in rows if row["kind"] == "sample")

    (folder,) = (told / "tensorboard").iterdir()
    drawn = events(folder)
    assert drawn["train/loss"] == [(step, pytest.approx(loss)) for step, loss in losses]
    assert {step for step, _ in drawn["validation/zh/bits_per_byte"]} == {10, 20}
    assert "train/peak_memory_bytes" in drawn
    for client in clients.values():
        assert client.ended == 1
        told_losses = [
            (step, values["train/loss"]) for step, values in client.logged if "train/loss" in values
        ]
        assert told_losses == losses
    assert clients["wandb"].began[0]["config"]["peak_learning_rate"] == 3e-3


def test_a_resumed_run_is_the_same_run_for_its_trackers(
    tmp_path: Path, clients: dict[str, FakeClient]
) -> None:
    run = Tracked("x", {}, tmp_path / "own", tmp_path, 1)
    run.folder.mkdir()
    for _ in range(2):
        with telling(["wandb", "mlflow"], run, print):
            pass
    first, second = (began["id"] for began in clients["wandb"].began)
    assert first == second
    assert [began.get("run_id") for began in clients["mlflow"].began] == [None, "kept"]


def test_a_tracker_that_fails_is_named_once_and_the_others_go_on(
    tmp_path: Path, clients: dict[str, FakeClient]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    clients["trackio"].module.log = fail
    clients["mlflow"].module.start_run = fail
    said: list[str] = []
    run = Tracked("x", {}, tmp_path / "own", tmp_path, 1)
    run.folder.mkdir()
    with telling(["mlflow", "trackio", "wandb"], run, said.append) as tell:
        for step in (1, 2):
            tell({"kind": "train", "step": step, "loss": 2.0})
    assert [line.strip().partition(":")[0] for line in said] == [
        "mlflow could not start and gets no metrics", "trackio failed and gets no more metrics",
    ]  # fmt: skip
    assert len(clients["wandb"].logged) == 2


def test_a_client_that_is_not_installed_is_named_before_any_work() -> None:
    with pytest.raises(InputError, match="trackio, whose Python package is not installed"):
        check_trackers(["trackio"])
