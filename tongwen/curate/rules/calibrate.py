"""Thresholds from a trusted reference: percentiles of what is measured on texts known to be good.

Yi took its thresholds "by statistics of large samples" as CulturaX did (Nguyen et al. 2023, arXiv
2309.09400), which cuts at a percentile of each value. Here the texts are a reference the user
trusts, and each rule gets the threshold that keeps a given share of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tongwen.curate.extract.language import identify
from tongwen.curate.names import LANGUAGES
from tongwen.curate.rules.decide import rule_set
from tongwen.curate.rules.measures import measure
from tongwen.curate.rules.rule import Rule, rules_of
from tongwen.curate.rules.weak import outcomes
from tongwen.curate.settings import CurateSettings
from tongwen.errors import InputError, UsageError
from tongwen.formats.readers import read_records

SECTIONS = ("english", "chinese", "code")
_FORMATS = {".parquet": "parquet", ".txt": "text", ".md": "text"}
_JSONL = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst")
_DIGITS = 3  # significant: a fourth would be the noise of the sample, and people read these

Values = dict[str, npt.NDArray[np.float64]]
"""Name of a value -> what was measured, a number a document, NaN where it was not."""


@dataclass(frozen=True)
class Calibrated:
    """One rule held against the reference.

    Attributes:
        section: english, chinese or code.
        rule: name of the setting.
        today: the threshold it has.
        threshold: the one that keeps the share; today's where the reference cannot tell.
        note: why today's threshold stays; empty otherwise.
        reference_dropped: share of the reference that each of the two drops, today's first.
        run_dropped: the same of a finished run; None without one.
    """

    section: str
    rule: str
    today: float
    threshold: float
    note: str
    reference_dropped: tuple[float, float]
    run_dropped: tuple[float, float] | None


@dataclass(frozen=True)
class Calibration:
    """All rules of one section.

    Attributes:
        documents: of the reference.
        dropped: share of the reference that any rule drops, today and calibrated.
        run_documents: of the finished run; 0 without one.
        run_dropped: share of them that any rule drops; None without them.
    """

    section: str
    documents: int
    rules: tuple[Calibrated, ...]
    dropped: tuple[float, float]
    run_documents: int
    run_dropped: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "rules": [vars(rule) for rule in self.rules]}


def reference_values(
    paths: Sequence[Path], text_field: str = "text"
) -> tuple[dict[str, Values], Counter[str]]:
    """What the rules look at, for each section, and how many documents each language has.

    A folder of a finished curate stage gives the values of the documents it kept; of other files
    the texts are measured.

    Raises:
        InputError: nothing to read, or no text in a language that has rules.
    """
    rows: dict[str, list[Mapping[str, float | None]]] = defaultdict(list)
    languages: Counter[str] = Counter()
    for path in paths:
        is_run = (path / "attributes").is_dir()
        for lang, values in _kept_rows(path) if is_run else _measured(path, text_field):
            languages[lang] += 1
            if lang in LANGUAGES:
                rows[rule_set(lang, False, "pages")].append(values)
    if not rows:
        found = ", ".join(f"{name or 'none'} {number}" for name, number in languages.most_common())
        raise InputError(
            f"no text in {', '.join(map(str, paths))} is in a language that has rules"
            + (f" (found: {found})" if found else ""),
            hint=f"the languages are {', '.join(LANGUAGES)}",
        )
    return {section: _columns(found) for section, found in rows.items()}, languages


def run_values(folder: Path) -> dict[str, Values]:
    """The same for every record of a finished curate stage whose text was measured, whatever was
    decided.
    """
    rows: dict[str, list[Mapping[str, float | None]]] = defaultdict(list)
    for lang, values in _attribute_rows(folder, kept_only=False):
        if lang in LANGUAGES:
            rows[rule_set(lang, False, "pages")].append(values)
    return {section: _columns(found) for section, found in rows.items()}


def _measured(path: Path, text_field: str) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    for file in _files(path):
        for record in read_records(file, _format(file), text_field=text_field):
            text = record.body.decode("utf-8", "replace") if record.problem is None else ""
            if text.strip():
                lang = identify(text).lang
                yield (
                    lang,
                    measure(text, lang) | {"characters": len(text)} if (lang in LANGUAGES) else {},
                )


def _files(path: Path) -> list[Path]:
    files = sorted(item for item in path.glob("**/*") if _format(item)) if path.is_dir() else [path]
    if not files or not path.exists() or not _format(files[0]):
        raise InputError(
            f"{path} is no reference",
            hint=f"give files or folders of {', '.join([*_JSONL, *_FORMATS])}, or the folder of a "
            "finished curate stage",
        )
    return files


def _format(path: Path) -> str:
    return "jsonl" if path.name.lower().endswith(_JSONL) else _FORMATS.get(path.suffix.lower(), "")


def _kept_rows(folder: Path) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    return _attribute_rows(folder, kept_only=True)


def _attribute_rows(
    folder: Path, *, kept_only: bool
) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    for path in sorted((folder / "attributes").glob("*.parquet")):
        table = pq.read_table(path)
        if kept_only:
            table = table.filter(pc.is_null(table["drop_stage"]))
        numbers = [field.name for field in table.schema if _is_number(field.type)]
        for row in table.select(["lang", *numbers]).to_pylist():
            if lang := row.pop("lang"):
                yield lang, row


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _columns(rows: Iterable[Mapping[str, float | None]]) -> Values:
    every = list(rows)
    names = dict.fromkeys(name for row in every for name in row)
    return {
        name: np.array([row.get(name) for row in every], np.float64)  # None becomes NaN
        for name in names
    }


def calibrate(
    reference: Mapping[str, Values],
    settings: CurateSettings,
    keep_share: float,
    run: Mapping[str, Values] | None = None,
) -> list[Calibration]:
    """New thresholds for every section that the reference has texts for.

    Each rule that is on gets the threshold that keeps `keep_share` of the reference, rounded to
    three digits so that it keeps no less. Today's stays where fewer documents than 1 / (1 -
    keep_share) were measured, where all of them have one value, and where a maximum would be 0:
    that a value hardly ever occurs does not say how much of it is bad.

    Raises:
        UsageError: the share is not between 0.5 and 1.
    """
    if not 0.5 <= keep_share < 1:
        raise UsageError(f"the share to keep is {keep_share}", hint="use 0.9 to 0.999, say")
    found = []
    for section in SECTIONS:
        if section not in reference:
            continue
        values, other = reference[section], (run or {}).get(section)
        whole = _whole_numbers(type(getattr(settings, section)))
        pairs = []
        for rule in rules_of(vars(getattr(settings, section))):
            threshold, note = _threshold(
                rule, _known(values, rule.value), keep_share, is_whole=rule.name in whole
            )
            pairs.append((rule, rule._replace(threshold=threshold), note))
        found.append(
            Calibration(
                section=section,
                documents=_documents(values),
                rules=tuple(
                    Calibrated(
                        section, old.name, old.threshold, new.threshold, note,
                        (_dropped(values, old), _dropped(values, new)),
                        (_dropped(other, old), _dropped(other, new)) if other else None,
                    )
                    for old, new, note in pairs
                ),
                dropped=_both(section, values, pairs, settings),
                run_documents=_documents(other) if other else 0,
                run_dropped=_both(section, other, pairs, settings) if other else None,
            )
        )  # fmt: skip
    return found


def _both(
    section: str,
    values: Values,
    pairs: Sequence[tuple[Rule, Rule, str]],
    settings: CurateSettings,
) -> tuple[float, float]:
    """Share of documents that all rules together drop, weak ones as the settings say."""
    nothing = np.full(_documents(values), np.nan)

    def dropped(rules: Sequence[Rule]) -> float:
        held = outcomes(
            section,
            rules,
            lambda name: values.get(name, nothing),
            are_weak_rules_weak=settings.weak_rules == "together",
        )
        drops = [outcome.drops for outcome in held]
        return float(np.any(drops, axis=0).mean()) if drops else 0.0

    return dropped([old for old, _, _ in pairs]), dropped([new for _, new, _ in pairs])


def _documents(values: Values) -> int:
    return len(next(iter(values.values())))


def _known(values: Values, name: str) -> npt.NDArray[np.float64]:
    column = values.get(name, np.zeros(0))
    return np.asarray(column[~np.isnan(column)])


def _dropped(values: Values, rule: Rule) -> float:
    """Share of documents outside one rule."""
    column = values.get(rule.value)
    return 0.0 if column is None else float(rule.is_outside(column).mean())


def _threshold(
    rule: Rule, values: npt.NDArray[np.float64], keep_share: float, *, is_whole: bool
) -> tuple[float, str]:
    """The threshold that keeps a share of the values; today's, with the reason, if none can."""
    if len(values) == 0:
        return rule.threshold, "not measured on the reference"
    if len(values) < 1 / (1 - keep_share) - 1e-9:
        return rule.threshold, f"{len(values)} documents are too few for this share"
    if values.min() == values.max():
        return rule.threshold, f"always {values[0]:g} in the reference"
    if rule.is_minimum:
        border = float(np.quantile(values, 1 - keep_share, method="lower"))
        return _rounded(border, is_up=False, is_whole=is_whole), ""
    border = float(np.quantile(values, keep_share, method="higher"))
    if border == 0:
        return rule.threshold, "hardly ever above 0 in the reference"
    return _rounded(border, is_up=True, is_whole=is_whole), ""


def _rounded(value: float, *, is_up: bool, is_whole: bool) -> float:
    """With three digits, never to the stricter side; a whole number where the setting is one."""
    if value == 0:
        return 0.0
    step = _DIGITS - 1 - floor(log10(abs(value)))
    if is_whole:
        step = min(step, 0)
    direction = ceil if is_up else floor
    # Ten digits first: 0.3 x 1000 is a little more than 300.
    return round(direction(round(value * 10.0**step, 10)) / 10.0**step, max(step, 0))


def _whole_numbers(kind: type) -> set[str]:
    hints = get_type_hints(kind)
    return {item.name for item in fields(kind) if int in get_args(hints[item.name])}


def calibration_toml(calibrations: Sequence[Calibration], keep_share: float) -> str:
    """The thresholds as tables of a recipe, with what each drops as comments."""
    blocks = []
    for calibration in calibrations:
        lines = [
            f"# {calibration.documents:,} documents of the reference; each rule keeps "
            f"{100 * keep_share:g} % of them, all rules {_kept(calibration.dropped)}."
        ]
        if calibration.run_dropped is not None:
            lines.append(
                f"# {calibration.run_documents:,} of the run: all rules keep "
                f"{_kept(calibration.run_dropped)}."
            )
        lines.append(f"[curate.{calibration.section}]")
        for rule in calibration.rules:
            said = f"today {_number(rule.today)}; drops {_change(rule.reference_dropped)}"
            if rule.run_dropped is not None:
                said += f", of the run {_change(rule.run_dropped)}"
            said += f"; kept, {rule.note}" if rule.note else ""
            lines.append(f"{rule.rule} = {_number(rule.threshold)}  # {said}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _kept(dropped: tuple[float, float]) -> str:
    return f"{100 * (1 - dropped[1]):.1f} % (today {100 * (1 - dropped[0]):.1f} %)"


def _change(dropped: tuple[float, float]) -> str:
    return f"{100 * dropped[1]:.1f} % (today {100 * dropped[0]:.1f} %)"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.10g}"
