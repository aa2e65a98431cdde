"""Why a page was kept or dropped: every value, every threshold, and what it lost to."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tongwen.curate.extract.record import host_of, normal_url
from tongwen.curate.records.edits import CUTS, KINDS
from tongwen.curate.rules.decide import (
    DROP_STAGES,
    OWN_STAGES,
    RULES,
    own_rules,
    rule_set,
)
from tongwen.curate.rules.rule import rules_of
from tongwen.curate.rules.weak import failed_rules
from tongwen.curate.settings import CurateSettings
from tongwen.errors import InputError
from tongwen.flow.manifest import Manifest
from tongwen.flow.stage import MANIFEST

_MOST_NEIGHBOURS = 20_000  # difflib compares each in turn: a large run would look like a hang
_COUNTERS = (
    "boilerplate_lines",
    "mended_sequences",
    *(f"{kind}_{'characters' if kind in CUTS else 'count'}" for kind in KINDS),
)


@dataclass(frozen=True)
class Check:
    """One rule held against one page.

    Attributes:
        rule: name of the threshold's setting.
        value: what was measured; None when it was not.
        threshold: the setting.
        passes: whether the value is within the threshold.
        drops: whether the page is dropped for it; a weak rule needs another that fails too.
    """

    rule: str
    value: float | None
    threshold: float
    passes: bool
    drops: bool


@dataclass(frozen=True)
class Explanation:
    """What is known about one record.

    Attributes:
        attributes: its row, decision columns included.
        checks: every rule of its language, in order; empty when it was dropped before the rules.
        kept: the URL and doc_id of the one it is a duplicate of; None when it is not.
    """

    attributes: Mapping[str, Any]
    checks: tuple[Check, ...]
    kept: Mapping[str, str] | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "attributes": dict(self.attributes),
            "checks": [vars(check) for check in self.checks],
            "duplicate_of": self.kept,
        }


def explain(folder: Path, page: str) -> list[Explanation]:
    """All records of the page, by URL or doc_id, in the order they were read.

    Raises:
        InputError: there is none; the hint names the nearest URL.
    """
    manifest = Manifest.read(folder / MANIFEST)
    parameters = manifest.parameters if manifest else {}
    rows = _rows(folder, page)
    if not rows:
        raise _unknown(folder, page)
    return [
        Explanation(row, _checks(row, parameters), _kept(folder, row["duplicate_of"]))
        for row in rows
    ]


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "attributes").glob("part-*.parquet"))


def _rows(folder: Path, page: str) -> list[dict[str, Any]]:
    """The attributes of the records with this doc_id or URL; the normal form of the URL will do."""
    wanted = normal_url(page)
    rows: list[dict[str, Any]] = []
    for path in _files(folder):
        keys = pq.read_table(path, columns=["doc_id", "url"])
        places = [
            place
            for place, (doc_id, url) in enumerate(
                zip(keys["doc_id"].to_pylist(), keys["url"].to_pylist(), strict=True)
            )
            if page in (doc_id, url) or (wanted and normal_url(url) == wanted)
        ]
        if places:
            rows += pq.read_table(path).take(pa.array(places)).to_pylist()
    return rows


def _kept(folder: Path, doc_id: str | None) -> dict[str, str] | None:
    if doc_id is None:
        return None
    for path in _files(folder):
        found = pq.read_table(
            path, columns=["doc_id", "url"], filters=[("doc_id", "==", doc_id)]
        ).to_pylist()
        if found:
            return dict(found[0])
    return {"doc_id": doc_id, "url": ""}


def _checks(row: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[Check, ...]:
    if row["drop_stage"] and DROP_STAGES.index(row["drop_stage"]) < DROP_STAGES.index(RULES):
        return ()
    for_texts = parameters.get("curate.rules_for_texts", "texts")
    section = rule_set(row["lang"], row["is_text"], for_texts)
    # The manifest is sorted by name, the rules act in the order of the settings.
    names = [item.name for item in fields(getattr(CurateSettings(), section))]
    thresholds = {name: parameters.get(f"curate.{section}.{name}") for name in names}
    built_in = list(rules_of(thresholds))
    own = [rule for table in OWN_STAGES for rule in own_rules(_own_thresholds(table, parameters))]
    are_weak = parameters.get("curate.weak_rules", "together") == "together"
    dropping = failed_rules(section, built_in, row, are_weak_rules_weak=are_weak)
    dropping |= {rule.name for rule in own if rule.fails(row[rule.value])}
    return tuple(
        Check(
            rule.name, row[rule.value], rule.threshold,
            passes=not rule.fails(row[rule.value]), drops=rule.name in dropping,
        )
        for rule in (*built_in, *own)
    )  # fmt: skip


def _own_thresholds(section: str, parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The thresholds of a table of the user's own values, from a manifest's flat parameters."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in parameters.items():
        stage, table, *rest = key.split(".")
        if stage == "curate" and table == section and rest[-1] in ("minimum", "maximum"):
            found.setdefault(rest[0], {})[rest[-1]] = value
    return found


def _unknown(folder: Path, page: str) -> InputError:
    """The error for a page that was not read, with the nearest one that was."""
    urls = [
        url
        for path in _files(folder)
        for url in pq.read_table(path, columns=["url"])["url"].to_pylist()
    ]
    host = host_of(page)
    near = [url for url in urls if host and host_of(url) == host] or urls
    matches = get_close_matches(page, near[:_MOST_NEIGHBOURS], n=1, cutoff=0.3)
    hint = f"nearest: {matches[0]}" if matches else f"{len(urls):,} pages were read"
    return InputError(f"{page} is not among the pages of {folder}", hint=hint)


def explanation_text(explanation: Explanation) -> str:
    """An explanation as lines for a terminal."""
    row = explanation.attributes
    lines = [
        f"{row['url']}",
        f"  doc_id {row['doc_id']}  source {row['source']}  {row['file']} @ {row['offset']}",
        f"  language {row['lang'] or 'unknown'}"
        + ("" if row["language_confidence"] is None else f" ({row['language_confidence']:.2f})")
        + f"  {row['characters']:,} characters  encoding {row['encoding'] or 'utf-8'}",
    ]
    lines += [f"  {name.replace('_', ' ')}: {row[name]}" for name in _COUNTERS if row[name]]
    for check in explanation.checks:
        value = "not measured" if check.value is None else f"{check.value:.4g}"
        sign = "ok  " if check.passes else "FAIL" if check.drops else "weak"
        lines.append(f"  {sign} {check.rule:<45} {check.threshold:>9.4g}   measured {value}")
    lines.append("  " + _decision_text(explanation))
    return "\n".join(lines)


def _decision_text(explanation: Explanation) -> str:
    row = explanation.attributes
    if row["drop_stage"] is None:
        size = row["cluster_size"]
        return "kept" + (f", for {size} that are the same" if size > 1 else "")
    text = f"dropped at {row['drop_stage']} by {row['drop_rule']}"
    if row["drop_value"] is not None:
        text += f": {row['drop_value']:.4g}"
    if row["drop_threshold"] is not None:
        text += f", threshold {row['drop_threshold']:.4g}"
    if explanation.kept:
        text += f"; kept instead: {explanation.kept['url']} ({explanation.kept['doc_id']})"
    return text
