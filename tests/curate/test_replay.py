"""Other thresholds over a finished run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from curate_runs import write_crawl
from curate_texts import ENGLISH

from tongwen.cli.curate import command
from tongwen.curate.outcome.replay import changes, replay
from tongwen.errors import RecipeError, UsageError
from tongwen.files import read_json
from tongwen.road.alone import run_alone

NOTE = "The keeper wrote down the weather every morning and the ships every evening."
_LEAST_WORDS = "curate.english.minimum_words=200"


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    crawl = write_crawl(folder / "crawl", {"notes": [NOTE], "stories": [ENGLISH]})
    run_alone(
        "curate",
        inputs={"crawl": crawl},
        out=folder / "curate",
        recipe=None,
        overrides=('curate.rules_for_texts="pages"', "run.workers=1"),
    )
    return folder / "curate"


def test_a_replay_gives_what_a_whole_run_with_these_settings_gives(
    curated: Path, tmp_path: Path
) -> None:
    before, after = replay(curated, [_LEAST_WORDS], run_alone, tmp_path / "replayed")
    assert [(row.what, row.before, row.after) for row in changes(before, after)] == [
        ("kept", (1, len(ENGLISH)), (0, 0)),
        ("rules: minimum_words", (1, len(NOTE)), (2, len(NOTE) + len(ENGLISH))),
    ]
    run_alone(
        "curate",
        inputs={"crawl": curated.parent / "crawl"},
        out=tmp_path / "whole",
        recipe=None,
        overrides=('curate.rules_for_texts="pages"', "run.workers=1", _LEAST_WORDS),
    )
    for name in ("funnel.json", "histograms.json"):
        assert read_json(after / name) == read_json(tmp_path / "whole" / name)
    assert read_json(before / "funnel.json")["kept"][0]["pages"] == 1


def test_a_setting_that_changes_texts_is_refused(curated: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`extract` would have to run again"):
        replay(curated, ["curate.line_reasons=[]"], run_alone, tmp_path / "replayed")


def test_a_replay_after_an_upgrade_says_that_the_code_has_changed(
    curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongwen.flow.task.code_of", lambda name, module: "9")
    with pytest.raises(UsageError, match=r"the code of extract has changed \(version .* -> 9\)"):
        replay(curated, [_LEAST_WORDS], run_alone, tmp_path / "replayed")


def test_an_unknown_setting_and_the_same_folder_are_refused(curated: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"unknown key `curate\.english\.least_words`"):
        replay(curated, ["curate.english.least_words=3"], run_alone, tmp_path / "replayed")
    with pytest.raises(UsageError, match="is the folder that is replayed"):
        replay(curated, [_LEAST_WORDS], run_alone, curated)


def test_the_command_prints_the_changes(curated: Path, tmp_path: Path) -> None:
    arguments = ["replay", str(curated), "--set", _LEAST_WORDS, "--out", str(tmp_path / "again")]
    text = CliRunner().invoke(command, arguments)
    assert text.exit_code == 0, text.output
    assert "rules: minimum_words (en)" in text.stdout
    rows = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)
    assert rows[0] == {"what": "kept", "lang": "en", "before": [1, len(ENGLISH)], "after": [0, 0]}


def test_a_mistyped_command_is_not_taken_for_a_folder() -> None:
    result = CliRunner().invoke(command, ["raplay", "x"], prog_name="tongwen curate")
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint == "did you mean `tongwen curate replay`?"
