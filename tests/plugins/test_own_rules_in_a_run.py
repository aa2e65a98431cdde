"""Rules of a user's own in a stage: resume, replay, explain, failures and workers that die."""

from pathlib import Path

import pytest
from own_texts import CHINESE, ENGLISH

from tongwen.curate.outcome.explain import explain, explanation_text
from tongwen.curate.outcome.replay import changes, replay
from tongwen.errors import UsageError
from tongwen.files import file_digest, read_json, read_jsonl, write_jsonl
from tongwen.flow.local import InProcessRunner
from tongwen.flow.manifest import Manifest
from tongwen.road.alone import run_alone

RULES = """
import os
from tongwen.plugins import Document, rule

@rule()
def shouts(document: Document) -> float:
    if "poison" in document.text:
        raise ValueError("poisoned")
    if "deadly" in document.text:
        os._exit(1)
    return document.text.count("!")
"""
TEXTS = [ENGLISH.format(1) + " Come!", ENGLISH.format(2) + " poison", CHINESE.format(3)]
TASK = Path("tasks/measure-own/00000/task.json")


def crawl(folder: Path, texts: list[str]) -> Path:
    path = folder / "crawl" / "texts.jsonl"
    path.parent.mkdir(parents=True)
    write_jsonl(path, [{"text": text, "url": f"mid:{n}"} for n, text in enumerate(texts)])
    row = {
        "path": path.name,
        "format": "jsonl",
        "bytes": path.stat().st_size,
        "digest": file_digest(path),
        "source": "texts",
        "license": "",
        "text_field": "text",
    }
    write_jsonl(path.parent / "inputs.jsonl", [row])
    return path.parent


def run(folder: Path, *overrides: str, in_process: bool = True) -> Manifest:
    manifest = run_alone(
        "curate",
        inputs={"crawl": folder / "crawl"},
        out=folder / "curate",
        recipe=str(folder / "recipe.toml"),
        overrides=overrides,
        runner=InProcessRunner() if in_process else None,
    )
    assert manifest is not None
    return manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    crawl(tmp_path, TEXTS)
    (tmp_path / "rules.py").write_text(RULES, encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(
        'base = "defaults"\n[run]\nname = "own"\nworkers = 1\n'
        "[curate]\nallowed_failure_share = 0.5\n"
        '[curate.rules.shouts]\npath = "rules.py"\nmaximum = 0.5\n',
        encoding="utf-8",
    )
    return tmp_path


def test_what_failed_is_listed_and_what_was_dropped_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder)
    (failure,) = read_jsonl(folder / "curate" / "failures.jsonl")
    assert failure["value"] == "shouts"
    assert failure["url"] == "mid:1"
    assert failure["error"] == "line 8: ValueError: poisoned"
    assert "shouts failed on 1 documents" in capsys.readouterr().err
    (dropped,) = explain(folder / "curate", "mid:0")
    assert dropped.checks[-1].rule == "maximum_shouts"
    assert "FAIL maximum_shouts" in explanation_text(dropped)
    assert "dropped at rules by maximum_shouts: 1, threshold 0.5" in explanation_text(dropped)
    (failed,) = explain(folder / "curate", "mid:1")
    assert failed.checks[-1].value is None
    row = next(
        row for row in read_json(folder / "curate/histograms.json") if row["section"] == "rules"
    )
    assert (row["rule"], row["documents"], row["outside"]) == ("maximum_shouts", 2, 1)
    funnel = read_json(folder / "curate/funnel.json")
    assert {"stage": "rules", "rule": "maximum_shouts"}.items() <= funnel["dropped"][0].items()


def test_a_changed_file_measures_again_and_another_threshold_does_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder)
    before = Manifest.read(folder / "curate" / TASK)
    run(folder, "curate.rules.shouts.maximum=2")
    assert "curate.rules.shouts.maximum changed 0.5 -> 2.0" in capsys.readouterr().err
    assert Manifest.read(folder / "curate" / TASK) == before
    run(folder, "curate.rules.shouts.maximum=2")
    assert "up to date" in capsys.readouterr().err
    (folder / "rules.py").write_text(RULES.replace('"!"', '"."'), encoding="utf-8")
    run(folder, "curate.rules.shouts.maximum=2")
    assert f"its input {folder / 'rules.py'} changed" in capsys.readouterr().err
    after = Manifest.read(folder / "curate" / TASK)
    assert before is not None
    assert after is not None
    assert after.digest != before.digest
    (row,) = explain(folder / "curate", "mid:0")
    assert row.attributes["shouts"] == 1.0


def test_a_replay_with_another_threshold_computes_no_value_again(folder: Path) -> None:
    run(folder)
    override = "curate.rules.shouts.maximum=9"
    before, after = replay(folder / "curate", [override], run_alone, crawl=folder / "crawl")
    assert [(row.what, row.before[0], row.after[0]) for row in changes(before, after)] == [
        ("kept", 1, 2), ("kept", 1, 1), ("rules: maximum_shouts", 1, 0),
    ]  # fmt: skip
    (folder / "rules.py").write_text(RULES + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="`measure-own` would have to run again"):
        replay(folder / "curate", [override], run_alone, folder / "other", folder / "crawl")


def test_a_document_on_which_code_kills_its_worker_is_quarantined(
    tmp_path: Path, folder: Path
) -> None:
    again = tmp_path / "again"
    crawl(again, [TEXTS[0], ENGLISH.format(5) + " deadly"])
    for name in ("rules.py", "recipe.toml"):
        (again / name).write_bytes((folder / name).read_bytes())
    manifest = run(again, in_process=False)
    (item,) = manifest.quarantined
    assert item["item"].startswith("shouts of ")
    (failure,) = read_jsonl(again / "curate" / "failures.jsonl")
    assert failure["error"] == "killed or held up its worker, twice"
