"""Decisions: thresholds over the attributes, the first rule that a document fails is its reason."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.names import SCORE_RULES
from tongwen.curate.rules.attributes import read_attributes
from tongwen.curate.rules.rule import Rule, rules_of
from tongwen.curate.rules.weak import Outcome, outcomes
from tongwen.flow.task import TaskContext, step

READ, ADDRESS, EXTRACT, LANGUAGE = "read", "address", "extract", "language"
RULES, SCORES = "rules", "scores"
SAME_URL, SAME_TEXT, NEAR_DUPLICATE = "same_url", "same_text", "near_duplicate"
REPEATS, CONTAMINATION = "repeats", "contamination"
DROP_STAGES = (
    READ, ADDRESS, EXTRACT, LANGUAGE, RULES, SCORES, SAME_URL, SAME_TEXT, NEAR_DUPLICATE, REPEATS,
    CONTAMINATION,
)  # fmt: skip
"""Where a record can be dropped, in order."""

_RULE_SETS = {"en": "english", "zh-Hans": "chinese", "zh-Hant": "chinese", "code": "code"}
_NOT_READ_PROBLEMS = ("no_text", "not_a_page")
_ENCODING_RULES = ("maximum_replaced_share", "maximum_mojibake_share")
"""What texts of a trusted source are held against."""

DECISION_SCHEMA = pa.schema(
    [
        ("drop_stage", pa.string()),
        ("drop_rule", pa.string()),
        ("drop_value", pa.float64()),
        ("drop_threshold", pa.float64()),
    ]
)


OWN_STAGES = {"rules": RULES, "own_scorers": SCORES}
"""Tables of `[curate]` with thresholds of the user's own, and the stage that drops by them."""


def own_rules(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[Rule]:
    """The rules of a table of the user's own values, in the order of their names."""
    for value, item in sorted(tables.items()):
        yield from rules_of({f"{side}_{value}": item[side] for side in ("minimum", "maximum")})


def rule_set(lang: str, is_text: bool, rules_for_texts: str) -> str:
    """Which section of the settings holds the rules for a document."""
    if lang == "code" or not is_text or rules_for_texts == "pages":
        return _RULE_SETS.get(lang, "english")
    return "texts"


def rule_sets(attributes: pa.Table, parameters: Mapping[str, Any]) -> npt.NDArray[Any]:
    """For each row the section of the settings that holds its rules."""
    langs, texts = attributes["lang"].to_pylist(), attributes["is_text"].to_pylist()
    return np.array(
        [rule_set(lang, is_text, parameters["rules_for_texts"])
         for lang, is_text in zip(langs, texts, strict=True)],
        object,
    )  # fmt: skip


@step("decide", inputs=("attributes",))
def decide_records(context: TaskContext) -> Mapping[str, int]:
    """Decide for the records of one task, from tables with a row for each: `decisions.parquet`."""
    decisions = decide(read_attributes(context.inputs["attributes"]), context.params)
    pq.write_table(decisions, context.out / "decisions.parquet", compression="zstd")
    return {"open": decisions["drop_stage"].null_count}


def decide(attributes: pa.Table, parameters: Mapping[str, Any]) -> pa.Table:
    """One decision (`DECISION_SCHEMA`) for each row of attributes; nulls for what stays so far."""
    decisions = _Decisions(attributes.num_rows)
    problems = np.array(attributes["problem"].to_pylist(), object)
    for problem in sorted({problem for problem in problems if problem is not None}):
        rule, _, detail = problem.partition(":")
        stage = EXTRACT if rule in _NOT_READ_PROBLEMS else READ
        if detail or rule == "not_an_address":
            stage = ADDRESS
            rule = problem if rule == "blocked_domain" else rule
        decisions.drop(problems == problem, stage, rule)
    trusted = np.array(attributes["trusted"].to_pylist(), object) == True  # noqa: E712
    langs = np.array(attributes["lang"].to_pylist(), object)
    decisions.drop(~trusted & ~np.isin(langs, parameters["languages"]), LANGUAGE, "language")
    least = float(parameters["minimum_language_confidence"])
    confidence = column_values(attributes, "language_confidence")
    is_doubtful = ~trusted & (confidence < least)
    decisions.drop(is_doubtful, LANGUAGE, "minimum_language_confidence", confidence, least)
    chosen = rule_sets(attributes, parameters)
    for section in ("english", "chinese", "code", "texts"):
        for outcome in section_outcomes(section, attributes, parameters):
            rule = outcome.rule
            stage = SCORES if rule.name in SCORE_RULES else RULES
            where = (chosen == section) & outcome.drops
            if rule.name not in _ENCODING_RULES:
                where &= ~trusted
            decisions.drop(where, stage, rule.name, outcome.values, rule.threshold)
    for section, stage in OWN_STAGES.items():
        for rule in own_rules(parameters[section]):
            values = column_values(attributes, rule.value)
            where = ~trusted & rule.is_outside(values)
            decisions.drop(where, stage, rule.name, values, rule.threshold)
    if parameters.get("dropped_clusters"):
        clusters = column_values(attributes, "cluster")
        dropped = ~trusted & np.isin(clusters, parameters["dropped_clusters"])
        decisions.drop(dropped, SCORES, "cluster_label", clusters)
    return decisions.table()


def section_outcomes(
    section: str, attributes: pa.Table, parameters: Mapping[str, Any]
) -> list[Outcome]:
    """Each rule of a section of the settings held against every row."""
    return outcomes(
        section,
        rules_of(parameters[section]),
        lambda name: column_values(attributes, name),
        are_weak_rules_weak=parameters["weak_rules"] == "together",
    )


def column_values(attributes: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A column as floats, NaN where nothing was measured."""
    column = attributes[name].cast(pa.float64()).combine_chunks()
    values: npt.NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return values


class _Decisions:
    """The decisions of some rows; a row's first drop stands."""

    def __init__(self, rows: int) -> None:
        self._is_open = np.ones(rows, bool)
        self._columns = {name: np.full(rows, None, object) for name in DECISION_SCHEMA.names}

    def drop(
        self,
        where: npt.NDArray[Any],
        stage: str,
        rule: str,
        values: npt.NDArray[np.float64] | None = None,
        threshold: float | None = None,
    ) -> None:
        rows = np.flatnonzero(where.astype(bool) & self._is_open)
        self._is_open[rows] = False
        self._columns["drop_stage"][rows] = stage
        self._columns["drop_rule"][rows] = rule
        self._columns["drop_threshold"][rows] = threshold
        if values is not None:
            self._columns["drop_value"][rows] = values[rows]

    def table(self) -> pa.Table:
        return pa.table(
            {name: pa.array(column.tolist(), DECISION_SCHEMA.field(name).type)
             for name, column in self._columns.items()}
        )  # fmt: skip
