"""What a loss costs with the baseline, and what with the recipe: the efficiency ledger.

    python bench/cost_data.py CRAWL TEXTS --out DATA
    python bench/cost.py DATA [--minutes 30] [--table]

Every run is a training of `tongwen pretrain`'s own loop; its row goes into `bench/cost.jsonl`, and
what has a row there is not run again, on whatever machine. `--minutes` begins no run that would end
later; the same command goes on. `--table` only prints what is there, as Markdown.

In this order, the smallest size first:

1. the baseline's rate and batch, moved by factors of two until the best is not at an edge,
2. the baseline on its tokens, and the recipe on shares of them, ends of one trunk,
3. at the smallest size the baseline on half and on twice the tokens, in whose units a lever's worth
   is given, each lever by itself on the baseline, and the recipe without each of its levers,
4. the same at the larger sizes, beginning with the recipe without its strongest levers.

A lever is a file in `bench/levers/`; every one that is there is measured.
"""

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cost_runs import BASELINE, RECIPE, Ground, Lever, Run, Size, read_levers, row_text
from cost_text import table_text

from tongwen.errors import TongwenError
from tongwen.files import read_json, write_json

ROWS = Path(__file__).parent / "cost.jsonl"
DATA = Path(__file__).parent / "cost-data.json"
SIZES = (
    Size("0.35M", 64, 2, 600_000, 5, 8e-3, 2_048),
    Size("1.1M", 128, 3, 600_000, 3, 4e-3, 1_024, sweep_share=0.5),
    Size("4.2M", 256, 4, 400_000, 3, 2e-3, 1_024, sweep_share=0.5),
    Size("0.35M long", 64, 2, 2_400_000, 3, 4e-3, 1_024, sweep_share=0.5),
)
RECIPE_SHARES = (0.25, 0.35, 0.5, 0.7, 1.0)
BASELINE_SHARES = (0.5, 2.0)
_LEVER_SEEDS = 3
_STRONGEST = ("muon", "curated")
"""Left out at the larger sizes before all others."""
_FIRST_SEEDS = {"0.35M": 5, "1.1M": 3, "4.2M": 2, "0.35M long": 2}
"""Of the headline, before any lever is measured."""
PARTS = ("headline", "alone", "left out")
_SWEEP_SEED = 100
_LARGEST_SWEEP = 12
_LEAST_BATCH = 1_024
"""Four sequences: smaller ones cost more time than the loss they save."""


class NotRunError(Exception):
    """A run is missing that there is no time for."""


class Book:
    """The rows that are there, and how the missing ones are made."""

    def __init__(self, ground: Ground | None, rows: Path, minutes: float) -> None:
        self._ground = ground
        self._path = rows
        self._ends = time.monotonic() + 60 * minutes
        self.rows: dict[str, dict[str, Any]] = {}
        if rows.exists():
            for line in rows.read_text("utf-8").splitlines():
                row = json.loads(line)
                self.rows[row["key"]] = row

    def get(self, run: Run, *, is_trunk: bool = False) -> Mapping[str, Any]:
        """The row of a run; runs it unless it is there.

        Raises:
            NotRunError: it is not there, and would not end in time.
        """
        assert self._ground is not None
        key = self._ground.key(run)
        if key in self.rows:
            return self.rows[key]
        if time.monotonic() + self._seconds(run) > self._ends:
            raise NotRunError(f"{run.size.name} {run.part} {run.variant}")
        row = {"key": key, **self._ground.train(run, is_trunk=is_trunk)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows[key] = row
        print(row_text(row), flush=True)
        return row

    def _seconds(self, run: Run) -> float:
        """What it will take, by what others of its size took."""
        taken = [
            row["wall_seconds"] / row["tokens"]
            for row in self.rows.values()
            if row["size"] == run.size.name and row["part"] != "recipe"
        ]
        return max(taken, default=0.0) * run.tokens


def swept(book: Book, size: Size) -> tuple[float, int]:
    """The baseline's best rate and batch: neither half nor twice of one of them is better."""
    rate, batch = size.rate, size.batch_tokens
    found: dict[tuple[float, int], float] = {}

    def bits(rate: float, batch: int) -> float:
        if (rate, batch) not in found:
            run = Run(size, "sweep", BASELINE, (), size.sweep_share, _SWEEP_SEED, rate, batch)
            found[rate, batch] = sum(book.get(run)["bits_per_byte"].values())
        return found[rate, batch]

    while len(found) < _LARGEST_SWEEP:
        near = [(2 * rate, batch), (rate / 2, batch), (rate, 2 * batch)]
        if batch > _LEAST_BATCH:
            near.append((rate, batch // 2))
        best = min([(rate, batch), *near], key=lambda pair: bits(*pair))
        if best == (rate, batch):
            break
        rate, batch = best
    return min(found, key=lambda pair: found[pair])


def probe_recipe(book: Book, size: Size, recipe: tuple[Lever, ...]) -> None:
    """The recipe at half, once and twice its rate: rows that show what its factor of the rate is
    worth; they choose nothing.
    """
    rate, batch = swept(book, size)
    for factor in (1.0, 2.0, 0.5):
        book.get(Run(size, "probe", RECIPE, recipe, 1.0, _SWEEP_SEED, factor * rate, batch))


def headline(
    book: Book, size: Size, recipe: tuple[Lever, ...], work: Path, seeds: int | None = None
) -> None:
    """Baseline and recipe at one size, seed by seed."""
    rate, batch = swept(book, size)
    for seed in range(1, (seeds or size.seeds) + 1):
        book.get(Run(size, "budget", BASELINE, (), 1.0, seed, rate, batch))
        for share in RECIPE_SHARES:
            run = Run(size, "budget", RECIPE, recipe, share, seed, rate, batch)
            book.get(run, is_trunk=share != RECIPE_SHARES[-1])
        shutil.rmtree(work / run.trunk, ignore_errors=True)


def single(
    book: Book,
    size: Size,
    levers: Sequence[Lever],
    recipe: tuple[Lever, ...],
    seeds: int = _LEVER_SEEDS,
) -> None:
    """Each lever on the baseline, or on the recipe where it says so."""
    rate, batch = swept(book, size)
    for seed in range(1, seeds + 1):
        for lever in levers:
            is_added = lever.on == RECIPE
            changes = (*recipe, lever) if is_added else (lever,)
            part = "added" if is_added else "lever"
            book.get(Run(size, part, lever.name, changes, 1.0, seed, rate, batch))


def left_out(
    book: Book,
    size: Size,
    recipe: tuple[Lever, ...],
    levers: Sequence[Lever],
    seeds: int = _LEVER_SEEDS,
) -> None:
    """The recipe without each of some of its levers."""
    rate, batch = swept(book, size)
    for seed in range(1, seeds + 1):
        for lever in levers:
            rest = tuple(other for other in recipe if other is not lever)
            book.get(Run(size, "left out", lever.name, rest, 1.0, seed, rate, batch))


def budgets(book: Book, size: Size, seeds: int = _LEVER_SEEDS) -> None:
    """The baseline on other budgets."""
    rate, batch = swept(book, size)
    for seed in range(1, seeds + 1):
        for share in BASELINE_SHARES:
            book.get(Run(size, "budget", BASELINE, (), share, seed, rate, batch))


def measure(
    book: Book,
    levers: Mapping[str, Lever],
    work: Path,
    sizes: Sequence[Size],
    parts: Sequence[str] = PARTS,
) -> None:
    """All that there is to run of some parts, the most important first."""
    recipe = tuple(lever for lever in levers.values() if lever.in_recipe)
    rest = [lever for lever in levers.values() if not lever.in_recipe]
    rest.sort(key=lambda lever: lever.data is None)
    strongest = [lever for name in _STRONGEST for lever in recipe if lever.name == name]
    first, *others = sizes
    steps: list[tuple[str, Callable[[], None]]] = []
    if first == SIZES[0]:
        steps.append(("headline", lambda: probe_recipe(book, first, recipe)))
    for size in sizes:
        seeds = _FIRST_SEEDS[size.name]
        steps.append(("headline", partial(headline, book, size, recipe, work, seeds)))
    steps += [
        ("alone", lambda: budgets(book, first, seeds=1)),
        ("alone", lambda: single(book, first, [*recipe, *rest], recipe, seeds=1)),
        ("left out", lambda: left_out(book, first, recipe, recipe, seeds=1)),
    ]
    for size in others:
        steps.append(("left out", partial(left_out, book, size, recipe, strongest[:1], 1)))
    steps += [
        ("alone", lambda: single(book, first, recipe, recipe)),
        ("left out", lambda: left_out(book, first, recipe, recipe)),
    ]
    for size in others:
        seeds = _FIRST_SEEDS[size.name]
        steps.append(("left out", partial(left_out, book, size, recipe, strongest, seeds)))
    for size in sizes:
        steps += [
            ("headline", partial(headline, book, size, recipe, work)),
            ("left out", partial(left_out, book, size, recipe, recipe)),
            ("alone", partial(budgets, book, size)),
            ("alone", partial(single, book, size, [*recipe, *rest], recipe)),
        ]
    for part, step in steps:
        if part in parts:
            step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="Folder of cost_data.py.")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--work", type=Path, default=Path("build/bench/cost"))
    parser.add_argument("--sizes", nargs="+", choices=[size.name for size in SIZES],
                        help="Only these.")  # fmt: skip
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="Only these.")
    parser.add_argument("--table", action="store_true", help="Run nothing.")
    options = parser.parse_args()
    levers = read_levers()
    sizes = [size for size in SIZES if not options.sizes or size.name in options.sizes]
    if options.table or options.data is None:
        print(table_text(Book(None, options.rows, 0).rows.values(), levers, "en"))
        return
    try:
        book = Book(Ground(options.data, options.work), options.rows, options.minutes)
        write_json(DATA, read_json(options.data / "data.json"))
        measure(book, levers, options.work, sizes, options.parts)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", flush=True)
    except NotRunError as error:
        print(f"no time for {error}; the same command goes on", flush=True)
    except TongwenError as error:
        sys.exit(f"error: {error.message}\nhint: {error.hint}")


if __name__ == "__main__":
    main()
