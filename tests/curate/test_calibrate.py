"""Calibration: thresholds keep what they promise, and the output is a recipe."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from curate_texts import story
from hypothesis import given
from hypothesis import strategies as st

from tongwen.cli.curate_calibrate import calibrate_rules
from tongwen.curate.rules.calibrate import calibrate, calibration_toml, reference_values
from tongwen.curate.settings import ChineseRules, CodeRules, CurateSettings, EnglishRules
from tongwen.errors import InputError, UsageError
from tongwen.files import write_jsonl
from tongwen.flow.manifest import Manifest


def by_rule(section: Any) -> dict[str, Any]:
    return {rule.rule: rule for rule in section.rules}


def test_percentiles_of_known_values_are_the_thresholds() -> None:
    values = {"words": np.arange(1.0, 1001.0), "sentences": np.full(1000, 7.0),
              "spam_share": np.arange(1000) / 1000, "replaced_share": np.zeros(1000),
              "placeholders": np.where(np.arange(1000) < 3, 1.0, 0.0)}  # fmt: skip
    found = by_rule(calibrate({"english": values}, CurateSettings(), 0.9)[0])
    assert found["minimum_words"].threshold == 100
    assert found["minimum_words"].today == 50
    assert found["minimum_words"].reference_dropped == (0.049, 0.099)
    assert found["maximum_words"].threshold == 901
    assert found["maximum_spam_share"].threshold == 0.9
    assert found["minimum_sentences"].note == "always 7 in the reference"
    assert found["maximum_replaced_share"].threshold == 0.01
    assert "hardly ever" in found["maximum_placeholders"].note
    assert found["maximum_link_share"].note == "not measured on the reference"


@given(
    st.lists(st.floats(0, 1, width=32), min_size=100, max_size=300),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_each_rule_keeps_its_share_of_the_reference(values: list[float], keep: float) -> None:
    array = np.array(values)
    rules = calibrate(
        {"chinese": {"punctuation_share": array, "words": array}}, CurateSettings(), keep
    )[0].rules
    for rule in rules:
        if not rule.note:
            assert rule.reference_dropped[1] <= 1 - keep + 1e-9
            assert np.float64(f"{rule.threshold:.3g}") == rule.threshold


def test_too_few_documents_keep_todays_thresholds() -> None:
    values = {"words": np.arange(99.0)}
    rule = by_rule(calibrate({"english": values}, CurateSettings(), 0.99)[0])["minimum_words"]
    assert rule.threshold == 50
    assert rule.note == "99 documents are too few for this share"
    for share in (0.2, 1.0):
        with pytest.raises(UsageError, match="share to keep"):
            calibrate({"english": values}, CurateSettings(), share)


def test_rules_that_are_off_stay_off() -> None:
    settings = CurateSettings(english=EnglishRules(minimum_words=None))
    found = calibrate({"english": {"words": np.arange(1000.0)}}, settings, 0.9)[0]
    assert "minimum_words" not in by_rule(found)
    assert "maximum_words" in by_rule(found)


def write_reference(folder: Path) -> list[Path]:
    rows = [{"text": story(seed, lang)} for seed in range(60) for lang in ("en", "zh")]
    write_jsonl(folder / "good.jsonl", [*rows, {"text": "Это короткий русский текст о море. " * 9}])
    pq.write_table(pa.table({"text": [story(99), story(98, "zh")]}), folder / "more.parquet")
    (folder / "one.txt").write_text(story(97), encoding="utf-8")
    return [folder / "good.jsonl", folder / "more.parquet", folder / "one.txt"]


def test_the_output_is_a_recipe_that_keeps_the_reference(tmp_path: Path) -> None:
    reference, languages = reference_values(write_reference(tmp_path))
    assert (languages["en"], languages["zh-Hans"], languages["ru"]) == (62, 61, 1)
    found = calibrate(reference, CurateSettings(), 0.95)
    assert [(item.section, item.documents) for item in found] == [("english", 62), ("chinese", 61)]
    tables = tomllib.loads(calibration_toml(found, 0.95))["curate"]
    settings = CurateSettings(
        english=EnglishRules(**tables["english"]), chinese=ChineseRules(**tables["chinese"])
    )
    again = calibrate(reference, settings, 0.95)
    for before, after in zip(found, again, strict=True):
        assert after.dropped[0] == before.dropped[1]
        assert [rule.today for rule in after.rules] == [rule.threshold for rule in before.rules]
    assert all(
        isinstance(tables["english"][name], int) for name in ("minimum_words", "maximum_words")
    )


def finished_run(folder: Path) -> Path:
    rows = [
        {"lang": "en", "words": float(number), "characters": 5 * number, "link_share": number / 200,
         "drop_stage": None if number >= 50 else "rules"}
        for number in range(200)
    ]  # fmt: skip
    (folder / "attributes").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "attributes" / "part-00000.parquet")
    Manifest(digest="0" * 32, outputs=(), counts={}).write(folder / "manifest.json")
    return folder


def test_a_finished_run_is_a_reference_by_what_it_kept(tmp_path: Path) -> None:
    reference, _ = reference_values([finished_run(tmp_path / "run")])
    rule = by_rule(calibrate(reference, CurateSettings(), 0.9)[0])
    assert rule["minimum_words"].threshold == 64
    assert rule["maximum_link_share"].threshold == pytest.approx(0.92, abs=0.01)


def test_the_command_prints_a_table_or_json_and_what_it_left_out(tmp_path: Path) -> None:
    paths = [str(path) for path in write_reference(tmp_path)]
    run = str(finished_run(tmp_path / "run"))
    arguments = [*paths, "--keep-share", "0.95", "--run", run]
    result = CliRunner().invoke(calibrate_rules, arguments)
    assert result.exit_code == 0, result.output
    table = tomllib.loads(result.stdout)["curate"]["english"]
    rules = vars(EnglishRules())
    assert set(table) == {name for name in rules if rules[name] is not None}
    assert "left out: 1 texts in ru" in result.stderr
    assert "200 of the run: all rules keep" in result.stdout
    listed = json.loads(CliRunner().invoke(calibrate_rules, [*arguments, "--json"]).stdout)
    rule = next(rule for rule in listed[0]["rules"] if rule["rule"] == "minimum_words")
    assert rule["run_dropped"][0] == 0.25
    assert rule["threshold"] == table["minimum_words"]


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="is no reference"):
        reference_values([tmp_path / "picture.png"])
    write_jsonl(tmp_path / "foreign.jsonl", [{"text": "Это короткий русский текст о море. " * 9}])
    with pytest.raises(InputError, match=r"language that has rules \(found: ru 1\)"):
        reference_values([tmp_path / "foreign.jsonl"])


def test_every_section_of_rules_can_be_calibrated() -> None:
    for section, kind in (
        ("english", EnglishRules),
        ("chinese", ChineseRules),
        ("code", CodeRules),
    ):
        names = {name.partition("_")[2] for name in vars(kind())}
        values = {name: np.linspace(0, 0.9, 400) for name in names}
        found = calibrate({section: values}, CurateSettings(), 0.9)[0]
        assert all(rule.note == "" for rule in found.rules), section
