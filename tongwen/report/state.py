"""Whether a run is going, how far it is and since when, from the files in its directory."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psutil

from tongwen.files import read_json
from tongwen.progress import PROGRESS
from tongwen.report.run_files import RunFiles
from tongwen.stages import STAGES

Status = Literal["running", "finished", "paused", "stopped", "failed", "lost", "begun"]
StageStatus = Literal["done", "running", "stopped", "failed", "lost", "waiting"]

_ALIVE_SECONDS = 60
"""A run on another machine is taken for alive when it has shown its progress since then."""


@dataclass(frozen=True)
class StageState:
    """One stage of the run.

    Attributes:
        name: of the stage.
        status: `lost` is one whose process disappeared, as after a kill or a power cut.
        seconds: it took, or has taken so far; None while it waits.
    """

    name: str
    status: StageStatus
    seconds: float | None


@dataclass(frozen=True)
class RunState:
    """What a run is doing.

    Attributes:
        status: `paused` is a run whose last stage is done while others wait, as after `--until`;
            `stopped` one that Ctrl-C or SIGTERM ended, `lost` one whose process disappeared.
        stages: of its recipe, in order.
        stage: that runs, or was the last to run.
        since: Unix time at which that stage began, or the run ended.
        reason: why it failed.
        share: of the running stage that is done, 0 to 1; None where that is not known.
        label: the step of the stage.
        detail: what else its progress says.
        seconds_left: of the step; None where that is not known.
        seen: Unix time of its last sign of life.
    """

    status: Status
    stages: tuple[StageState, ...]
    stage: str | None = None
    since: float | None = None
    reason: str = ""
    share: float | None = None
    label: str = ""
    detail: str = ""
    seconds_left: float | None = None
    seen: float | None = None

    @property
    def done(self) -> int:
        """Stages that are done."""
        return sum(stage.status == "done" for stage in self.stages)

    @property
    def is_running(self) -> bool:
        return self.status == "running"


def read_state(run: RunFiles, now: float | None = None) -> RunState:
    """The state of a run at the Unix time `now`, the present when None."""
    now = time.time() if now is None else now
    planned = _planned(run)
    last: dict[str, Mapping[str, Any]] = {}
    latest: Mapping[str, Any] = {}
    for event in run.rows("../events.jsonl"):
        if event.get("stage") in planned:
            latest = last[event["stage"]] = event
    progress = _progress(run)
    seen = max(_time(latest) or 0.0, _time(progress) or 0.0) or None
    stage = latest.get("stage")
    is_open = latest.get("event") == "start"
    is_alive = is_open and (_is_held(run) or (_time(progress) or -math.inf) > now - _ALIVE_SECONDS)
    done = {name: manifest.seconds for name, manifest in run.manifests.items()}
    stages = tuple(_stage(name, last.get(name), done, is_alive, seen, now) for name in planned)
    status = _status(stages, latest, is_alive)
    shown = progress if status == "running" and progress.get("stage") == stage else {}
    return RunState(
        status=status,
        stages=stages,
        stage=stage,
        since=_time(latest),
        reason=str(latest.get("reason") or ""),
        share=_share(shown),
        label=str(shown.get("label") or ""),
        detail=str(shown.get("detail") or ""),
        seconds_left=shown.get("seconds_left"),
        seen=seen,
    )


def _planned(run: RunFiles) -> list[str]:
    """Stages that the recipe does not leave out."""
    if run.alone is not None:
        return [run.alone]
    recipe = run.recipe
    return [name for name in STAGES if recipe.get(name) is not False]


def _stage(
    name: str,
    event: Mapping[str, Any] | None,
    done: Mapping[str, float],
    is_alive: bool,
    seen: float | None,
    now: float,
) -> StageState:
    if event is not None and event.get("event") == "start":
        begun = _time(event) or now
        if is_alive:
            return StageState(name, "running", max(0.0, now - begun))
        if name not in done:
            return StageState(name, "lost", max(0.0, (seen or begun) - begun))
    if name in done:
        return StageState(name, "done", done[name])
    if event is not None and event.get("event") in ("stopped", "failed"):
        return StageState(name, event["event"], None)
    return StageState(name, "waiting", None)


def _status(stages: tuple[StageState, ...], latest: Mapping[str, Any], is_alive: bool) -> Status:
    if is_alive:
        return "running"
    event = latest.get("event")
    if event == "start" and any(
        stage.name == latest.get("stage") and stage.status == "lost" for stage in stages
    ):
        return "lost"
    if event in ("stopped", "failed"):
        return "stopped" if event == "stopped" else "failed"
    if all(stage.status == "done" for stage in stages):
        return "finished"
    return "paused" if any(stage.status == "done" for stage in stages) else "begun"


def _progress(run: RunFiles) -> Mapping[str, Any]:
    try:
        value = read_json(run.directory / PROGRESS)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _share(progress: Mapping[str, Any]) -> float | None:
    done, total = progress.get("done"), progress.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float) or total <= 0:
        return None
    return min(1.0, max(0.0, done / total))


def _time(row: Mapping[str, Any]) -> float | None:
    value = row.get("time")
    return float(value) if isinstance(value, int | float) else None


def _is_held(run: RunFiles) -> bool:
    """Whether the process that last locked the directory is alive and holds it still."""
    lock = run.directory / ".lock"
    try:
        process = psutil.Process(int(lock.read_text("ascii")))
        # A number given anew belongs to a process that began after the lock was written.
        if process.create_time() > lock.stat().st_mtime + 2:
            return False
        return any(file.path == str(lock.resolve()) for file in process.open_files())
    except psutil.AccessDenied:
        return True
    except (OSError, ValueError, psutil.Error):
        return False
