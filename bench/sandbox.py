"""Gold solutions in the sandbox: how many pass, which do not, and how many run in a minute.

    python bench/sandbox.py FOLDER [--workers 2] [--no-isolation]

FOLDER holds `humaneval/` and `mbpp/` with the authors' files. Besides the gold solutions, programs
that do nothing run against the same tests: none may pass.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tongwen.errors import InputError
from tongwen.evaluate.items import Item, make_items
from tongwen.evaluate.readers import Row, read_rows
from tongwen.evaluate.sandbox.pool import Pool, Program, sandbox
from tongwen.evaluate.settings import TaskSettings
from tongwen.evaluate.spec import builtin_spec

TASKS = {  # task: (folder, field with the gold solution)
    "humaneval": ("humaneval", "canonical_solution"),
    "mbpp": ("mbpp", "code"),
    "mbpp_rest": ("mbpp", "code"),
}


def programs(items: Sequence[Item], answers: Sequence[str]) -> list[Program]:
    """Every answer as a program with its tests."""
    found = []
    for item, answer in zip(items, answers, strict=True):
        test = item.program
        assert test is not None
        found.append(Program(text=test.start + answer, setup=test.setup, tests=test.tests,
                             entry=test.entry))  # fmt: skip
    return found


def idle_answer(item: Item) -> str:
    """A body that does nothing, or a program that defines nothing."""
    assert item.program is not None
    return "    pass\n" if item.program.start else "pass\n"


def measure(pool: Pool, name: str, items: Sequence[Item], rows: Sequence[Row]) -> None:
    """Print the counts of one task."""
    field = TASKS[name][1]
    gold = programs(items, [str(row.values[field]) for row in rows])
    start = time.perf_counter()
    verdicts = pool.judge(gold)
    seconds = time.perf_counter() - start
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"{name:10}  {passed} of {len(gold)} gold solutions pass; "
          f"{60 * len(gold) / seconds:,.0f} programs a minute")  # fmt: skip
    for item, verdict in zip(items, verdicts, strict=True):
        if not verdict.passed:
            print(f"{'':10}  {item.id}: {verdict.kind} {verdict.message}")
    idle = Counter(
        one.kind for one in pool.judge(programs(items, [idle_answer(item) for item in items]))
    )
    print(f"{'':10}  programs that do nothing: {dict(idle)}")


def main() -> None:
    """Run every task whose file is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--no-isolation", action="store_true")
    options = parser.parse_args()
    with sandbox("no-isolation" if options.no_isolation else "isolated", options.workers) as pool:
        print(f"{len(pool.workers)} workers")
        for name, (folder, _) in TASKS.items():
            spec = builtin_spec(name)
            try:
                rows = read_rows(spec, options.folder / folder)
            except InputError as error:
                print(f"{name:10}  not run: {error.message}")
                continue
            task = TaskSettings(name=name, path=str(options.folder / folder))
            measure(pool, name, make_items(spec, task, rows, chat=False), rows.rows)


if __name__ == "__main__":
    main()
