"""Kill a run with SIGKILL again and again, let it resume, and compare it with an undisturbed run.

    python bench/kill_and_resume.py sample --kills 10

Every data file of every stage must be identical byte for byte, and the loss of every step
equal. The kills are spread at random over the road; every second one takes the whole process
group, the others only the main process, so that workers must notice the death of their parent.
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


def kill_after(arguments: list[str], seconds: float, *, whole_group: bool) -> str | None:
    """Start a run and kill it; gives the stage it was in, or None when it had ended by itself."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            if whole_group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
        else:
            if process.returncode != 0:
                said.seek(0)
                raise RuntimeError(f"the resumed run failed:\n{said.read()}")
            return None
        said.seek(0)
        stages = [line.split(":")[0] for line in said if line[:1].isalpha() and ":" in line]
        return stages[-1] if stages else "start"


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
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--reference", type=Path, help="An undisturbed run's directory.")
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if options.reference:
            reference = options.reference
            events = (reference / "events.jsonl").read_text(encoding="utf-8").splitlines()
            times = [json.loads(line)["time"] for line in events]
            seconds = times[-1] - times[0]
        else:
            seconds = run_to_the_end(command(options.recipe, Path(folder) / "a", options.overrides))
            reference = next((Path(folder) / "a").iterdir())
        print(f"undisturbed run: {seconds:.0f} s")
        arguments = command(options.recipe, Path(folder) / "b", options.overrides)
        killed_in: list[str] = []
        # A resumed run loses start-up time, so that moments up to 1.8 shares reach the road's end.
        share = seconds / options.kills
        while len(killed_in) < options.kills:
            delay = generator.uniform(0.2, 1.8) * share + 2.0
            stage = kill_after(arguments, delay, whole_group=len(killed_in) % 2 == 0)
            if stage is None:
                print("the run reached its end before all kills; starting it over")
                arguments = command(
                    options.recipe, Path(folder) / f"b{len(killed_in)}", options.overrides
                )
                continue
            killed_in.append(stage)
            print(f"kill {len(killed_in)}: after {delay:.1f} s, in {stage}", flush=True)
        run_to_the_end(arguments)
        resumed = next(Path(arguments[arguments.index("--runs") + 1]).iterdir())
        compare(reference, resumed, killed_in)


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
