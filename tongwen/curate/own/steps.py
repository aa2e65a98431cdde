"""The steps of the user's own rules and scorers, and their check before any work."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tongwen.curate.extract.record import PAGE_SCHEMA
from tongwen.curate.names import LANGUAGES
from tongwen.curate.own.patterns import read_pattern_rule
from tongwen.curate.own.values import (
    SECTIONS,
    OwnValue,
    failures_key,
    measure_own_rules,
    measure_own_scores,
)
from tongwen.curate.records.edits import CUTS, KINDS
from tongwen.curate.records.extracted import EditFiles, Extracted, Files
from tongwen.curate.rules.attributes import MEASURE_SCHEMA
from tongwen.curate.rules.decide import DECISION_SCHEMA
from tongwen.curate.scorers.scoring import SCORE_SCHEMA
from tongwen.curate.settings import CurateSettings, OwnRuleSettings
from tongwen.errors import RecipeError
from tongwen.files import file_digest
from tongwen.flow.runner import RunTasks, outputs
from tongwen.flow.task import Task, TaskInput
from tongwen.plugins import Code, find_code

COLUMNS = frozenset(
    (
        *PAGE_SCHEMA.names,
        *MEASURE_SCHEMA.names,
        *SCORE_SCHEMA.names,
        *DECISION_SCHEMA.names,
        *(f"{kind}_{'characters' if kind in CUTS else 'count'}" for kind in KINDS),
        *("duplicate_of", "cluster_size", "language", "tokens"),
    )
)
"""Columns of the attributes and of the mix's conditions, which a value of the user's own must not
be named after."""
_STEPS = {"rules": measure_own_rules, "own_scorers": measure_own_scores}


def choose_own(settings: CurateSettings) -> dict[str, list[OwnValue]]:
    """The values that the tables of `SECTIONS` add, by table; all code is loaded, so that errors
    come early.

    Raises:
        RecipeError: a name is taken, a file is missing or describes no rule.
        InputError: a file cannot be read or run, or lacks the function.
    """
    return {section: _own_values(settings, section) for section in SECTIONS}


@dataclass(frozen=True)
class OwnMeasured:
    """What the user's own code measured.

    Attributes:
        tables: for each table that adds values, `own.parquet` of each extraction task.
        failures: `failures.jsonl` of each task.
        failed: value -> documents it failed on.
    """

    tables: tuple[Files, ...]
    failures: Files
    failed: Counter[str]


def measure_own(
    run: RunTasks,
    own: dict[str, list[OwnValue]],
    allowed_failure_share: float,
    extracted: Extracted,
    edits: EditFiles,
) -> OwnMeasured:
    """The values of the user's own rules and scorers, of `choose_own`."""
    tables: list[Files] = []
    failures: list[TaskInput] = []
    failed: Counter[str] = Counter()
    for section, values in own.items():
        if not values:
            continue
        code = [TaskInput(value.path, value.digest) for value in values]
        parameters = {
            "values": [value.to_json() for value in values],
            "digests": [value.digest for value in values],
            "allowed_failure_share": allowed_failure_share,
        }
        results = run(
            [
                Task(_STEPS[section], index,
                     {"documents": documents, "code": code, "edits": edits.by_task[index]},
                     {"task": index, **parameters})
                for index, documents in enumerate(extracted.documents)
            ]
        )  # fmt: skip
        tables.append(outputs(results, "own.parquet"))
        failures += outputs(results, "failures.jsonl")
        for result in results:
            for value in values:
                failed[value.name] += int(result.manifest.counts[failures_key(value.name)])
    return OwnMeasured(tuple(tables), tuple(failures), failed)


def own_files(settings: CurateSettings) -> list[Path]:
    """The files of the user's own rules and scorers, and of the packages they are installed with.

    Raises:
        RecipeError: a file is not there, or there is no such entry point.
    """
    found: list[Path] = []
    for section in SECTIONS:
        for name, item in getattr(settings, section).items():
            if _is_toml(item):
                found.append(Path(item.path))
            else:
                found += _code(section, name, item).files()
    return list(dict.fromkeys(found))


def _own_values(settings: CurateSettings, section: str) -> list[OwnValue]:
    return [
        _own_value(section, name, item) for name, item in sorted(getattr(settings, section).items())
    ]


def _own_value(section: str, name: str, item: OwnRuleSettings) -> OwnValue:
    key = f"curate.{section}.{name}"
    if name in COLUMNS or name.endswith("_decile"):
        raise RecipeError(
            f"{key} has the name of a column that Tongwen itself writes",
            hint=f"choose another, such as own_{name}",
        )
    if _is_toml(item):
        assert item.path is not None
        path = Path(item.path)
        declared = read_pattern_rule(path).languages
        digest, function, module = file_digest(path), "", ""
    else:
        code = _code(section, name, item)
        declared = code.mark().languages
        digest, function, module, path = code.digest, code.function, code.module, code.path
    for language in declared:
        if language not in LANGUAGES:
            raise RecipeError(
                f"{path} measures the language {language!r}", hint=f"known: {', '.join(LANGUAGES)}"
            )
    languages = item.languages or declared
    return OwnValue(name, section, path, digest, function, module, languages)


def _is_toml(item: OwnRuleSettings) -> bool:
    return item.path is not None and item.path.endswith(".toml")


def _code(section: str, name: str, item: OwnRuleSettings) -> Code:
    return find_code(SECTIONS[section], name, item.path, item.function, f"curate.{section}.{name}")
