"""Files that could not be read, or not to their end: which, why, and what can be done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.report.run_files import RunFiles

_NAMES_SHOWN = 20  # all are in the run's files
_NAMES_IN_A_LINE = 5


@dataclass(frozen=True)
class Problem:
    """Files of one stage with the same reason.

    Attributes:
        stage: crawl, which leaves files out, or curate, which reads those it can.
        reason: what is wrong, as the stage's list has it.
        hint: what can be done; empty where nothing is known.
        is_bad: the files are empty or damaged, not merely of a kind that is not read.
        names: all of them, in the order of the list.
    """

    stage: str
    reason: str
    hint: str
    is_bad: bool
    names: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The first names."""
        return self.names[:_NAMES_SHOWN]

    @property
    def not_shown(self) -> int:
        """How many names are left out of `shown`."""
        return len(self.names) - len(self.shown)


def build_problems(run: RunFiles) -> list[Problem]:
    """The files with problems, broken ones first, then the reasons with the most files."""
    groups: dict[tuple[str, str, str, bool], list[str]] = {}
    for stage, path in (("crawl", "crawl/not_taken.jsonl"), ("curate", "curate/bad_files.jsonl")):
        for row in run.rows(path):
            key = _reason(stage, row)
            groups.setdefault(key, []).append(str(row.get("path", "")))
    problems = [Problem(*key, names=tuple(names)) for key, names in groups.items()]
    return sorted(problems, key=lambda problem: (not problem.is_bad, -len(problem.names)))


def _reason(stage: str, row: dict[str, Any]) -> tuple[str, str, str, bool]:
    """Stage, reason, hint and whether the file is broken. Errors of readers name the file, which
    would make every reason a different one.
    """
    kind, name = str(row.get("kind", "")), str(row.get("path", ""))
    before, found, after = kind.partition(name)
    if name and found:
        kind = " ".join(f"{before.rpartition(' ')[0]} {after.lstrip(':')}".split())
    return stage, kind, str(row.get("hint") or ""), bool(row.get("is_bad", stage == "curate"))


def bad_names(problems: Sequence[Problem]) -> list[str]:
    """Names of the broken files."""
    return [name for problem in problems if problem.is_bad for name in problem.names]


def problems_text(problems: Sequence[Problem]) -> str:
    """One line for the end of a run: `3 files could not be read whole: a.gz, b.gz, c.gz`; empty
    when there are none.
    """
    names = bad_names(problems)
    if not names:
        return ""
    shown = ", ".join(names[:_NAMES_IN_A_LINE])
    more = f", and {len(names) - _NAMES_IN_A_LINE:,} more" if len(names) > _NAMES_IN_A_LINE else ""
    noun = "file" if len(names) == 1 else "files"
    return f"{len(names):,} {noun} could not be read whole: {shown}{more}"
