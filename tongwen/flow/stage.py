"""A stage of the road: when it runs, when it is up to date, and what it writes."""

import contextlib
import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from tongwen.errors import InputError, TongwenError, UsageError
from tongwen.files import (
    disk_errors,
    file_digest,
    read_json,
    remove_partials,
    value_digest,
    write_json,
)
from tongwen.flow.changes import parameter_changes
from tongwen.flow.local import LocalRunner
from tongwen.flow.manifest import Manifest, describe_outputs
from tongwen.flow.memory import peak_memory_bytes, reset_peak_memory
from tongwen.flow.ray import RayRunner
from tongwen.flow.runner import Runner
from tongwen.flow.settings import RunSettings
from tongwen.flow.store import Store, check_store
from tongwen.flow.versions import code_changes, stage_code
from tongwen.progress import PROGRESS, Progress, duration_text

MANIFEST = "manifest.json"
_EVENTS = "events.jsonl"
_DIGESTS = "inputs.json"
_RECORDS = {MANIFEST, _EVENTS, _DIGESTS, PROGRESS}
"""Files about the run itself, next to the outputs when a stage runs alone."""
_COUNTS_SHOWN = 4  # so that the line of a stage fits a terminal
_DROPPED = "dropped by "
_TOLD_AT_ZERO = ("pages", "kept", "documents", "files")
_REASONS = {
    "read": "unreadable",
    "address": "by their address",
    "extract": "without a main text",
    "language": "in another language",
    "rules": "by quality rules",
    "scores": "by scorers",
    "same_url": "with the same address",
    "same_text": "with the same text",
    "near_duplicate": "near-duplicates",
    "repeats": "mostly repeated",
    "contamination": "with benchmark items",
    "mix": "not in the mix",
}


@dataclass(frozen=True)
class Stage:
    """One stage of the road.

    Attributes:
        name: also the command's name and the folder `stages/NAME`.
        entry: `module:function`; the function takes a `StageContext` and returns counts. A name and
            not the function, so that the road can be listed without loading torch. Which version
            of its code that is, `tongwen.flow.versions` knows.
        reads: role -> stages that can play it; the first that is in the recipe does.
        uses: role -> glob pattern of the files it reads of that role; all of them when absent.
        optional: roles the stage can do without.
        sections: recipe sections that decide the output; the stage is handed these and no other.
        outputs: glob patterns of the files that later stages may depend on; their bytes are
            the same in every undisturbed or resumed run, which metrics and logs are not.
        files: `module:function` from the stage's settings to the user's own files that it reads.
        is_grouped: whether torchrun may start it in several processes; the first alone then writes
            the manifest.
    """

    name: str
    entry: str
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    uses: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("**/*",)
    files: str | None = None
    is_grouped: bool = False

    @property
    def code(self) -> dict[str, str]:
        """Versions of the code of the stage and of its steps, by name."""
        return stage_code(self.name, self.entry.partition(":")[0])


Settings = TypeVar("Settings")


@dataclass(frozen=True)
class StageCall(Generic[Settings]):
    """A stage and what a recipe asks of it.

    Attributes:
        stage: which one.
        settings: its own part of the recipe.
        parameters: flat `section.key -> JSON value` of all that decides the output, for the digest
            and to say what changed.
        run: settings of the run; only `seed` and `name` may decide an output, where `parameters`
            has them.
    """

    stage: Stage
    settings: Settings
    parameters: Mapping[str, Any]
    run: RunSettings


@dataclass(frozen=True)
class StageContext(Generic[Settings]):
    """What a stage function works with.

    Attributes:
        settings: the stage's own part of the recipe.
        run: settings of the run.
        inputs: role -> folder of the stage that plays it.
        out: the stage's own folder. It survives a kill: what is already there can be built on.
        run_dir: the run directory.
        runner: runs tasks in worker processes.
        progress: what the user sees.
        code: digest of the versions of the stage's code, for results that it keeps in `out` and
            would otherwise take for its own after its code has changed.
    """

    settings: Settings
    run: RunSettings
    inputs: Mapping[str, Path]
    out: Path
    run_dir: Path
    runner: Runner
    progress: Progress
    code: str = ""

    def resolve(self, path: str) -> Path:
        """A path of the recipe; `{role}` at its start is replaced by that input's folder."""
        if path.startswith("{"):
            role, _, rest = path[1:].partition("}")
            if role not in self.inputs:
                raise InputError(
                    f"`{path}` names the input `{role}`, which this stage does not read",
                    hint=f"known: {', '.join(self.inputs)}",
                )
            return self.inputs[role] / rest.lstrip("/")
        return Path(path)


class DigestCache:
    """Content digests of the user's files, recomputed only when size or time changed.

    They are remembered in `path`, if there is one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                self._known = read_json(path)

    def digest(self, path: Path) -> str:
        """xxh3-128 of the file's content.

        Raises:
            InputError: the file is not there or cannot be read.
        """
        try:
            status = path.stat()
            key = [status.st_size, status.st_mtime_ns]
            known = self._known.get(str(path))
            if known is None or known[:2] != key:
                known = [*key, file_digest(path)]
                self._known[str(path)] = known
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        return str(known[2])

    def save(self) -> None:
        if self._path is not None:
            write_json(self._path, self._known)


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock the run directory; a second run in it is refused.

    Raises:
        UsageError: another process is at work in the directory.
    """
    with disk_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(run_dir / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "another one"
            raise UsageError(
                f"{run_dir} is in use by process {holder}",
                hint="wait until it ends, or choose another name with --set run.name=NAME",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def log_event(run_dir: Path, **event: Any) -> None:
    """Append one line to the run's `events.jsonl`."""
    line = json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False)
    with disk_errors(run_dir), (run_dir / _EVENTS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def run_stage(
    call: StageCall[Any],
    inputs: Mapping[str, Path],
    out: Path,
    run_dir: Path,
    progress: Progress,
    runner: Runner | None = None,
) -> tuple[Manifest, bool]:
    """Run one stage unless its manifest says that it is done; say why when it runs again.

    Without `runner` the settings of the run decide which one runs the tasks.

    Returns:
        The manifest, and whether the stage was run.

    Raises:
        InputError: an input stage has not been run, or a user's file cannot be read.
    """
    stage = call.stage
    planned = _planned(call, inputs, run_dir)
    previous = Manifest.read(out / MANIFEST)
    if previous and previous.digest == planned.digest and previous.is_intact(out):
        progress.say(f"{stage.name}: up to date")
        return previous, False
    if previous:
        progress.say(f"{stage.name}: runs again, {_difference(previous, planned)}")
    else:
        progress.say(f"{stage.name}: starts")
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        # A kill half-way must not leave the promise of the outputs that were there before.
        (out / MANIFEST).unlink(missing_ok=True)
    remove_partials(out)
    runner = runner or _runner(call.run, progress, _store(call, out))
    code = value_digest(planned.code)
    context = StageContext(call.settings, call.run, inputs, out, run_dir, runner, progress, code)
    return _perform(stage, context, planned), True


def follow_stage(call: StageCall[Any], inputs: Mapping[str, Path], out: Path) -> Manifest | None:
    """What the other processes of a group do while the first is in `run_stage`.

    Returns the manifest when the stage is up to date, on which all processes agree.
    """
    planned = _planned(call, inputs, None)
    previous = Manifest.read(out / MANIFEST)
    if previous and previous.digest == planned.digest and previous.is_intact(out):
        return previous
    with Path(os.devnull).open("w", encoding="utf-8") as silence:
        progress = Progress(silence)
        runner = _runner(call.run, progress)
        code = value_digest(planned.code)
        try:
            _entry(call.stage)(
                StageContext(call.settings, call.run, inputs, out, out, runner, progress, code)
            )
        finally:
            runner.close()
    return None


def _planned(call: StageCall[Any], inputs: Mapping[str, Path], run_dir: Path | None) -> Manifest:
    """What the manifest says before the stage has run: all that decides its outputs."""
    stage = call.stage
    code = stage.code
    found = _input_digests(call, inputs, run_dir)
    digest = value_digest([stage.name, code, call.parameters, found])
    return Manifest(digest=digest, code=code, parameters=call.parameters, inputs=found)


def _store(call: StageCall[Any], out: Path) -> Store | None:
    """Where the tasks of a stage go instead of its folder.

    Raises:
        InputError: nothing can be written there.
    """
    if call.run.work is None:
        return None
    url = f"{call.run.work.rstrip('/')}/{call.run.name}/{call.stage.name}"
    check_store(url)
    return Store(url, out.absolute())


def _runner(settings: RunSettings, progress: Progress, store: Store | None = None) -> Runner:
    memory_bytes = round(settings.worker_memory_gib * 2**30)
    if settings.runner == "ray":
        return RayRunner(
            address=settings.ray_address,
            workers=settings.workers,
            memory_bytes=memory_bytes,
            progress=progress,
            store=store,
        )
    return LocalRunner(
        workers=settings.workers or os.cpu_count() or 1,
        memory_bytes=memory_bytes,
        progress=progress,
        store=store,
    )


def _perform(stage: Stage, context: StageContext[Any], begun: Manifest) -> Manifest:
    """Call the stage's function and write the manifest: `begun`, outputs and counts added."""
    out, run_dir, progress = context.out, context.run_dir, context.progress
    log_event(run_dir, stage=stage.name, event="start", digest=begun.digest)
    reset_peak_memory()
    started = time.monotonic()
    progress.record(run_dir / PROGRESS, stage.name)
    try:
        with _interruptible(progress):
            counts = _entry(stage)(context)
    except BaseException as error:
        with contextlib.suppress(OSError, TongwenError):  # a full disk: its error is on its way
            log_event(run_dir, stage=stage.name, **_end_of(error))
        raise
    finally:
        context.runner.close()
        progress.end()
        progress.record(None)
    manifest = replace(
        begun,
        outputs=tuple(
            item
            for item in describe_outputs(out, stage.outputs)
            if item.path not in _RECORDS and not Path(item.path).name.startswith(".")
        ),
        counts=dict(counts),
        quarantined=tuple(context.runner.quarantined),
        seconds=round(time.monotonic() - started, 3),
        peak_memory_bytes=max(peak_memory_bytes(), context.runner.peak_memory_bytes),
    )
    manifest.write(out / MANIFEST)
    log_event(run_dir, stage=stage.name, event="end", seconds=manifest.seconds)
    progress.say(
        f"{stage.name}: done in {duration_text(manifest.seconds)}{_counts_text(manifest.counts)}"
    )
    return manifest


@contextmanager
def _interruptible(progress: Progress) -> Iterator[None]:
    """Report at once what Ctrl-C or SIGTERM does; a second one ends the process immediately."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        for again in before:
            signal.signal(again, signal.SIG_DFL)
        progress.say("  stopping: what is finished is kept; once more ends at once")
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_of(error: BaseException) -> dict[str, str]:
    """Why a stage ended before its time, for the log and those who watch it."""
    if isinstance(error, KeyboardInterrupt):
        return {"event": "stopped"}
    reason = error.message if isinstance(error, TongwenError) else type(error).__name__
    return {"event": "failed", "reason": reason}


def _entry(stage: Stage) -> Callable[[StageContext[Any]], Mapping[str, float]]:
    function: Callable[[StageContext[Any]], Mapping[str, float]] = _resolved(stage.entry)
    return function


def _resolved(name: str) -> Any:
    """The object that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _input_digests(
    call: StageCall[Any], inputs: Mapping[str, Path], run_dir: Path | None
) -> dict[str, str]:
    stage = call.stage
    digests: dict[str, str] = {}
    cache = DigestCache(None if run_dir is None else run_dir / _DIGESTS)
    for role, directory in inputs.items():
        manifest = Manifest.read(directory / MANIFEST)
        if manifest is not None:
            digests[role] = manifest.content_digest(stage.uses.get(role, "*"))
        elif directory.is_dir():  # a folder of the user's own, for a stage that runs alone
            files = describe_outputs(directory)
            digests[role] = value_digest([[item.path, item.digest] for item in files])
        elif directory.is_file():
            digests[role] = cache.digest(directory)
        else:
            raise InputError(
                f"{stage.name} reads {directory}, which is not there",
                hint=f"name the folder of the `{role}`, or run its stage first",
            )
    if stage.files is not None:
        for path in _resolved(stage.files)(call.settings):
            digests[str(path)] = cache.digest(path)
    cache.save()
    return digests


def _difference(previous: Manifest, planned: Manifest) -> str:
    """Why a stage runs again, in a few words."""
    changes = parameter_changes(previous.parameters, planned.parameters)
    changes += [
        f"its input {name} changed"
        for name in sorted({*previous.inputs, *planned.inputs})
        if previous.inputs.get(name) != planned.inputs.get(name)
    ]
    if previous.code != planned.code:
        changes += code_changes(previous.code, planned.code)
    if not changes:
        return "its outputs are incomplete"
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "; ".join(changes[:3]) + more


def _counts_text(counts: Mapping[str, float]) -> str:
    """The first counts of a stage, and everything that was dropped, largest first."""
    dropped = {
        name.removeprefix(_DROPPED): count
        for name, count in counts.items()
        if name.startswith(_DROPPED) and count
    }
    others = [
        f"{_number_text(count)} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if not name.startswith(_DROPPED) and (count or name in _TOLD_AT_ZERO)
    ]
    text = f": {', '.join(others[:_COUNTS_SHOWN])}" if others else ""
    if dropped:
        ordered = sorted(dropped.items(), key=lambda item: -item[1])
        said = ", ".join(f"{_number_text(count)} {_reason_text(name)}" for name, count in ordered)
        text += f"\n  dropped {_number_text(sum(dropped.values()))}: {said}"
    return text


def _number_text(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _reason_text(name: str) -> str:
    return _REASONS.get(name, name.replace("_", " "))
