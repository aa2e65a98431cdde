"""Other thresholds over attributes that are there already: what would be kept, and what it changes.

A replay is a curate folder of its own. It shares the finished tasks of the first one by hard links,
so nothing is extracted, measured or scored again; decisions, duplicates and what follows are.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tongwen.curate.records.folders import curate_folder
from tongwen.errors import InputError, UsageError
from tongwen.files import disk_errors, read_json, tree_files, write_text
from tongwen.flow.local import TASK_MANIFEST, LocalRunner, TaskResult
from tongwen.flow.manifest import Manifest
from tongwen.flow.stage import MANIFEST
from tongwen.flow.task import Task
from tongwen.flow.versions import code_changes

COMPUTED = (
    "extract", "template-map", "template-hosts", "template-find", "template-cut", "measure",
    "score", "measure-own", "score-own", "fingerprint",
)  # fmt: skip
"""Steps that read every text; a replay that would need one of them again is refused."""


@dataclass
class ReplayRunner(LocalRunner):
    """Runs decisions, and refuses to compute attributes."""

    overrides: Sequence[str] = field(default_factory=tuple)

    def run(self, tasks: Sequence[Task], out: Path) -> list[TaskResult]:
        """As `LocalRunner.run`.

        Raises:
            UsageError: a task that computes attributes is not finished with these settings.
        """
        for task in tasks:
            if task.step in COMPUTED:
                manifest = Manifest.read(out / task.name / TASK_MANIFEST)
                if manifest is not None and manifest.code != task.code:
                    raise UsageError(
                        f"`{task.step}` would have to run again: "
                        + "; ".join(code_changes(manifest.code, task.code)),
                        hint="run `tongwen curate` again with this version, then replay",
                    )
                if manifest is None or manifest.digest != task.digest:
                    raise UsageError(
                        f"`{task.step}` would have to run again with {', '.join(self.overrides)}",
                        hint="a replay only decides again; run `tongwen curate` with this setting",
                    )
        return super().run(tasks, out)


def saved_recipe(folder: Path) -> str:
    """The settings a curate folder was made with, as the TOML text of a recipe.

    Raises:
        InputError: the folder has no manifest.
    """
    manifest = Manifest.read(folder / MANIFEST)
    if manifest is None:
        raise InputError(f"{folder} holds no finished curate stage", hint="run `tongwen curate`")
    values: dict[str, Any] = {"run": {"name": "replay"}}
    for name, value in manifest.parameters.items():
        *parents, last = name.split(".")
        table = values
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = False if value is None else value
    return tomli_w.dumps(values)


def link_tasks(folder: Path, out: Path) -> None:
    """Give `out` the finished tasks of `folder`, without copying where the disk can link.

    Raises:
        UsageError: `out` is the folder itself or holds something else.
    """
    if out.resolve() == folder.resolve():
        raise UsageError(f"{out} is the folder that is replayed", hint="name another with --out")
    if out.exists() and any(out.iterdir()) and not (out / "tasks").is_dir():
        raise UsageError(f"{out} is not empty", hint="name a new folder with --out")
    with disk_errors(out):
        for path in tree_files(folder / "tasks"):
            target = out / "tasks" / path.relative_to(folder / "tasks")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, target)
                except OSError:
                    shutil.copyfile(path, target)


def replay(
    run: Path,
    overrides: Sequence[str],
    run_alone: Callable[..., Manifest | None],
    out: Path | None = None,
    crawl: Path | None = None,
) -> tuple[Path, Path]:
    """Curate once more from the attributes that `run` has, with other settings.

    Args:
        run: a run directory, or the folder of a curate stage.
        overrides: `curate.key=value`.
        run_alone: runs the curate stage, as `tongwen.road.alone.run_alone` does.
        out: folder of the result; `curate-replay` beside the first when None.
        crawl: folder the stage has read; found in a run directory when None.

    Returns:
        The folder that was replayed, and the new one.

    Raises:
        InputError: `run` has no finished curate stage, or the crawl is not there.
        UsageError: a setting would change what is extracted or measured.
        RecipeError: an override names no setting.
    """
    folder = curate_folder(run)
    out = out or folder.with_name(f"{folder.name}-replay")
    crawl = crawl or folder.with_name("crawl")
    if not crawl.is_dir():
        raise InputError(f"{crawl}, which was curated, is not there", hint="name it with --crawl")
    text = saved_recipe(folder)
    link_tasks(folder, out)
    write_text(out / "recipe.toml", text)
    runner = ReplayRunner(workers=os.cpu_count() or 1, overrides=overrides)
    run_alone(
        "curate",
        inputs={"crawl": crawl},
        out=out,
        recipe=str(out / "recipe.toml"),
        overrides=tuple(overrides),
        runner=runner,
    )
    return folder, out


@dataclass(frozen=True)
class Change:
    """Pages and characters of one row of the funnel before and after.

    Attributes:
        what: `kept`, or stage and rule of a drop.
        lang: of the text.
        before: pages and characters.
        after: the same with the new thresholds.
    """

    what: str
    lang: str
    before: tuple[int, int]
    after: tuple[int, int]


def changes(before: Path, after: Path) -> list[Change]:
    """Rows of the two funnels that differ; first what is kept, which stands there in any case."""
    first, second = (_rows(read_json(folder / "funnel.json")) for folder in (before, after))
    keys = [*second, *(key for key in first if key not in second)]
    return [
        Change(*key, first.get(key, (0, 0)), second.get(key, (0, 0)))
        for key in sorted(keys, key=lambda key: (key[0] != "kept", key))
        if key[0] == "kept" or first.get(key) != second.get(key)
    ]


def _rows(funnel: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    rows = {("kept", row["lang"]): (row["pages"], row["characters"]) for row in funnel["kept"]}
    for row in funnel["dropped"]:
        what = row["stage"] if row["stage"] == row["rule"] else f"{row['stage']}: {row['rule']}"
        rows[what, row["lang"]] = (row["pages"], row["characters"])
    return rows


def changes_text(rows: Sequence[Change]) -> str:
    """The changes as a table for a terminal."""
    lines = [f"{'':<52}{'pages before':>14}{'after':>10}{'characters before':>20}{'after':>14}"]
    for row in rows:
        name = f"{row.what} ({row.lang or 'no text'})"
        pages, characters = zip(row.before, row.after, strict=True)
        lines.append(
            f"{name:<52}{pages[0]:>14,}{pages[1]:>10,}{characters[0]:>20,}{characters[1]:>14,}"
        )
    return "\n".join(lines)
