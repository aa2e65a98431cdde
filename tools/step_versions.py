"""Keep `tongwen/flow/versions.json`: which version of each step and stage its sources belong to.

    python tools/step_versions.py                  what changed since the table was written
    python tools/step_versions.py --raise NAME...  their output changes: finished work runs again
    python tools/step_versions.py --same NAME...   their output stays the same byte for byte
    python tools/step_versions.py --same --all     the same, for all that changed

Raising a step raises no stage: the versions of its steps are part of a stage's own digest.
"""

import argparse
import difflib
import sys
from collections import Counter
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tongwen.files import write_json
from tongwen.flow.task import declared_steps
from tongwen.flow.versions import CANNOT_CHANGE_BYTES, TABLE, Recorded, recorded, source_of
from tongwen.road.stages import ROAD
from tongwen.sources import closure


def present() -> dict[str, Recorded]:
    """Name -> sources of every step and stage as the code is now; the version is 0."""
    stages = {stage.name: stage.entry.partition(":")[0] for stage in ROAD}
    reached = {name: set(closure([module], CANNOT_CHANGE_BYTES)) for name, module in stages.items()}
    every = set.union(*reached.values())
    for module in sorted(every):
        spec = find_spec(module)
        if spec is not None and "@step(" in Path(str(spec.origin)).read_text("utf-8"):
            import_module(module)  # declares its steps
    declared = [(name, module) for name, module in declared_steps() if module in every]
    names = Counter([*stages, *(name for name, _ in declared)])
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise SystemExit(f"error: more than one step or stage is called {', '.join(twice)}")
    steps = dict(declared)
    found = {name: Recorded(0, source_of(module)) for name, module in steps.items()}
    for name, module in stages.items():
        own = sorted(step for step, home in steps.items() if home in reached[name])
        found[name] = Recorded(0, source_of(module), tuple(own))
    return dict(sorted(found.items()))


def changed() -> dict[str, str]:
    """Name -> what does not fit the table."""
    before, now = recorded(), present()
    found = {}
    for name in sorted({*before, *now}):
        if name not in now:
            found[name] = "is gone"
        elif name not in before:
            found[name] = "is new"
        elif before[name].source != now[name].source:
            found[name] = "has other code"
        elif before[name].steps != now[name].steps:
            found[name] = "runs other steps"
    return found


def write(raised: Collection[str], same: Collection[str]) -> None:
    """Write the table: names in neither collection keep their row, new ones begin with 1."""
    before, now = recorded(), present()
    rows = {}
    for name, row in now.items():
        old = before.get(name, Recorded(0, "never recorded"))
        runs_again = name in raised or any(step in raised for step in row.steps)
        is_settled = runs_again or name in same or not old.version
        version = max(1, old.version + (name in raised))
        source, steps = (row.source, row.steps) if is_settled else (old.source, old.steps)
        rows[name] = {"version": version, "source": source} | ({"steps": steps} if steps else {})
    write_json(TABLE, rows)
    recorded.cache_clear()


def report() -> str:
    """What does not fit the table, and what to do; empty when all does."""
    found = changed()
    lines = [f"{name} {what}" for name, what in found.items()]
    if lines:
        lines += [
            "Raise the version of what writes other bytes now, and record that the output of the "
            "others stays the same:",
            "    python tools/step_versions.py --raise NAME...",
            "    python tools/step_versions.py --same NAME...  (or --same --all)",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--raise", dest="raised", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--same", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--all", action="store_true", help="with --same: all that changed")
    options = parser.parse_args()
    names = set(present())
    for name in [*options.raised, *options.same]:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(names))}"
            parser.error(f"no step or stage is called {name}: {hint}")
    if options.raised or options.same or options.all:
        same = set(changed()) - set(options.raised) if options.all else set(options.same)
        write(set(options.raised), same)
    message = report()
    print(message or f"{len(names)} steps and stages are as recorded")
    sys.exit(bool(message))


if __name__ == "__main__":
    main()
