"""Kill a run with SIGKILL again and again, let it resume, and compare it with an undisturbed run.

    python bench/kill_and_resume.py sample --kills 10

Every data file of every stage must be identical byte for byte, and the loss of every step
equal. Every stage is hit at a random moment, the long ones more often; every second kill takes the
whole process group, the others only the main process, so that workers must notice its death.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tongwen.flow.manifest import Manifest

_NOT_DATA = {"plan"}  # holds measured times


def command(recipe: str, runs: Path, overrides: list[str]) -> list[str]:
    sets = [part for override in overrides for part in ("--set", override)]
    return [sys.executable, "-m", "tongwen", "run", recipe, "--runs", str(runs), *sets]


def run_to_the_end(arguments: list[str]) -> float:
    """Run and wait; gives the wall-clock seconds."""
    started = time.monotonic()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def stage_seconds(run_dir: Path) -> dict[str, float]:
    """Stage -> seconds it took, in the order of the road."""
    seconds = {}
    for path in sorted(
        run_dir.glob("stages/*/manifest.json"), key=lambda path: path.stat().st_mtime
    ):
        manifest = Manifest.read(path)
        assert manifest is not None
        seconds[path.parent.name] = manifest.seconds
    return seconds


def choose_moments(
    seconds: dict[str, float], kills: int, generator: random.Random
) -> list[tuple[str, float]]:
    """(stage, seconds to wait in it) of every kill, in the order of the road.

    Every stage is hit once if there are enough kills; the others fall on stages in proportion
    to their time. A resumed stage goes on where it was, so that later waits in it are shorter.
    """
    stages = list(seconds)
    chosen = generator.sample(stages, min(kills, len(stages)))
    chosen += generator.choices(stages, weights=list(seconds.values()), k=kills - len(chosen))
    moments = []
    for stage in stages:
        before = 0.0
        for share in sorted(generator.random() for _ in range(chosen.count(stage))):
            moments.append((stage, (share - before) * seconds[stage]))
            before = share
    return moments


def kill_in(
    arguments: list[str], log: Path, stages: list[str], seconds: float, *, whole_group: bool
) -> str | None:
    """Start a run and kill it `seconds` after it began the first of `stages`, or a later one.

    Gives the stage it was in, or None when it reached its end before.
    """
    seen = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not set(stages).intersection(begun(log, seen)):
        time.sleep(0.02)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        return begun(log, seen)[-1]
    if process.returncode != 0:
        raise RuntimeError(f"the resumed run failed with exit code {process.returncode}")
    return None


def begun(log: Path, seen: int) -> list[str]:
    """The stages that the log says were started, behind byte `seen`."""
    if not log.exists():
        return []
    with log.open(encoding="utf-8") as file:
        file.seek(seen)
        events = [json.loads(line) for line in file if line.endswith("\n")]
    return [event["stage"] for event in events if event["event"] == "start"]


def data_digests(run_dir: Path) -> dict[str, str]:
    """`stage/file -> digest` of all data files, as the manifests list them."""
    digests = {}
    for path in sorted(run_dir.glob("stages/*/manifest.json")):
        manifest = Manifest.read(path)
        assert manifest is not None
        if path.parent.name not in _NOT_DATA:
            for item in manifest.outputs:
                digests[f"{path.parent.name}/{item.path}"] = item.digest
    return digests


def loss_curves(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """Stage -> (step, loss) in the order they were logged."""
    curves = {}
    for path in sorted(run_dir.glob("stages/*/metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        curves[path.parent.name] = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    return curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="sample")
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--reference", type=Path, help="An undisturbed run's directory.")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        reference = options.reference
        if reference is None:
            seconds = run_to_the_end(command(options.recipe, Path(folder) / "a", options.overrides))
            print(f"undisturbed run: {seconds:.0f} s", flush=True)
            reference = next((Path(folder) / "a").iterdir())
        runs = Path(folder) / "b"
        arguments = command(options.recipe, runs, options.overrides)
        run_dir = runs / reference.name
        killed_in: list[str] = []
        seconds_of = stage_seconds(reference)
        stages = list(seconds_of)
        for stage, wait in choose_moments(seconds_of, options.kills, generator):
            place = kill_in(
                arguments,
                run_dir / "events.jsonl",
                stages[stages.index(stage) :],
                wait,
                whole_group=len(killed_in) % 2 == 0,
            )
            if place is None:
                print("the run reached its end", flush=True)
                break
            killed_in.append(place)
            print(f"kill {len(killed_in)}: after {wait:.1f} s, in {place}", flush=True)
        run_to_the_end(arguments)
        compare(reference, run_dir, killed_in)


def compare(reference: Path, resumed: Path, killed_in: list[str]) -> None:
    """Print the verdict; exit code 1 when anything differs."""
    expected, found = data_digests(reference), data_digests(resumed)
    different = sorted(
        name for name in {*expected, *found} if expected.get(name) != found.get(name)
    )
    curves, resumed_curves = loss_curves(reference), loss_curves(resumed)
    print(f"kills: {len(killed_in)} ({', '.join(sorted(set(killed_in)))})")
    print(f"data files compared: {len(expected)}, different: {len(different)}")
    for name in different:
        print(f"  {name}")
    for stage, curve in curves.items():
        equal = curve == resumed_curves.get(stage)
        print(f"loss curve of {stage}: {len(curve)} points, {'equal' if equal else 'DIFFERENT'}")
    sys.exit(bool(different) or curves != resumed_curves)


if __name__ == "__main__":
    main()
