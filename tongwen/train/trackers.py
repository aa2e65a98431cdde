"""Where a run's figures go besides `metrics.jsonl`: TensorBoard files, and trackers by name.

TensorBoard's files are written by tensorboardX (90 kB; `torch.utils.tensorboard` needs the whole
viewer, 5.5 MB and a dozen packages). The clients of Weights & Biases, MLflow and trackio are taken
where they are installed; account, server and project come from their own environment variables.
"""

import importlib
import importlib.util
import math
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tongwen.errors import InputError, TongwenError
from tongwen.files import read_json, write_json

TENSORBOARD = "tensorboard"
"""Folder in a stage's own, with a folder for each of its runs."""
_IDS = "trackers.json"
_PROJECT = "tongwen"
_OF_STEPS = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "tokens_per_second",
    "tokens",
    "peak_memory_bytes",
    "mfu_causal",
)


@dataclass(frozen=True)
class Tracked:
    """The run that trackers are told about.

    Attributes:
        name: for people.
        config: flat settings.
        folder: of the run's own, named by its identity; what trackers call it is remembered there.
        out: the stage's folder.
        first_step: the first that will be told; a tracker may know later ones from before a kill.
    """

    name: str
    config: Mapping[str, Any]
    folder: Path
    out: Path
    first_step: int

    def known(self, tracker: str) -> str | None:
        """What a tracker calls the run, from before it was stopped."""
        return self._names().get(tracker)

    def remember(self, tracker: str, name: str) -> str:
        write_json(self.folder / _IDS, {**self._names(), tracker: name})
        return name

    def _names(self) -> dict[str, str]:
        file = self.folder / _IDS
        names: dict[str, str] = read_json(file) if file.exists() else {}
        return names


class Tracker(Protocol):
    """Receives the metrics of a run."""

    def log(self, values: Mapping[str, float], texts: Mapping[str, str], step: int) -> None: ...

    def close(self) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """See that the clients are installed, before any work.

    Raises:
        InputError: one is not.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"train.trackers names {name}, whose Python package is not installed",
                hint=f"pip install {name}, or leave it out",
            )


@contextmanager
def telling(
    names: Sequence[str], run: Tracked, say: Callable[[str], None]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that tells TensorBoard and the trackers a row of `metrics.jsonl`.

    A tracker that fails is reported once and then left out: training does not depend on it.
    """
    trackers: dict[str, Tracker] = {}
    for name, kind in (("tensorboard", _TensorBoard), *((name, _KINDS[name]) for name in names)):
        try:
            trackers[name] = kind(run)
        except TongwenError:
            raise
        except Exception as error:  # a client may fail in any way
            say(f"  {name} could not start and gets no metrics: {_reason(error)}")

    def tell(row: Mapping[str, Any]) -> None:
        values, texts = tracked_values(row)
        if not values and not texts:
            return
        for name, tracker in list(trackers.items()):
            try:
                tracker.log(values, texts, int(row["step"]))
            except Exception as error:
                say(f"  {name} failed and gets no more metrics: {_reason(error)}")
                del trackers[name]

    try:
        yield tell
    finally:
        for name, tracker in trackers.items():
            try:
                tracker.close()
            except Exception as error:
                say(f"  {name} may lack the last steps: {_reason(error)}")


def tracked_values(row: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers and the texts of a row of metrics, by the names that trackers group by."""
    kind = row.get("kind")
    if kind == "sample":
        return {}, {f"samples/{row['prompt'][:40]}": f"{row['prompt']}{row['text']}"}
    if kind == "train":
        found = {f"train/{name}": row.get(name) for name in _OF_STEPS}
    elif kind in ("validation", "plain_text") and not row.get("weights"):
        place = f"{kind}/{row['language']}"
        found = {f"{place}/{name}": row.get(name) for name in ("loss", "bits_per_byte")}
    else:
        return {}, {}
    numbers = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    return numbers, {}


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


class _TensorBoard:
    def __init__(self, run: Tracked) -> None:
        from tensorboardX import SummaryWriter

        folder = run.out / TENSORBOARD / run.folder.name
        # Steps that a killed run told and this one repeats are purged by the viewer.
        self._writer = SummaryWriter(str(folder), purge_step=run.first_step, flush_secs=10)

    def log(self, values: Mapping[str, float], texts: Mapping[str, str], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        for name, text in texts.items():
            self._writer.add_text(name, text, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, run: Tracked) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=run.name,
            id=run.known("wandb") or run.remember("wandb", uuid.uuid4().hex),
            resume="allow",
            config=dict(run.config),
            dir=str(run.out),
        )

    def log(self, values: Mapping[str, float], texts: Mapping[str, str], step: int) -> None:
        self._run.log({**values, **texts}, step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, run: Tracked) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT") or _PROJECT,
            name=run.name,
            config=dict(run.config),
            resume="allow",
        )

    def log(self, values: Mapping[str, float], texts: Mapping[str, str], step: int) -> None:
        self._trackio.log({**values, **texts}, step=step)

    def close(self) -> None:
        self._trackio.finish()


class _MLflow:
    def __init__(self, run: Tracked) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME") or _PROJECT)
        known = run.known("mlflow")
        started = self._mlflow.start_run(run_id=known, run_name=None if known else run.name)
        if known is None:
            run.remember("mlflow", started.info.run_id)
            # MLflow keeps at most 500 characters of a value.
            self._mlflow.log_params({key: str(value)[:500] for key, value in run.config.items()})

    def log(self, values: Mapping[str, float], texts: Mapping[str, str], step: int) -> None:
        self._mlflow.log_metrics(dict(values), step=step)
        for number, text in enumerate(texts.values()):
            self._mlflow.log_text(text, f"samples/step-{step:08d}-{number}.txt")

    def close(self) -> None:
        self._mlflow.end_run()


_KINDS: Mapping[str, Callable[[Tracked], Tracker]] = {
    "wandb": _Wandb,
    "mlflow": _MLflow,
    "trackio": _Trackio,
}
