"""The tutorial's commands run, on a few small pages and with a tiny budget."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tongwen.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / language / "tutorial.md" for language in ("en", "zh")]
RECIPE = ROOT / "recipes" / "own-documents.toml"
TINY = (
    "tokenizer.vocabulary_size=1_500", "model.hidden_size=32", "model.intermediate_size=64",
    "model.num_hidden_layers=1", "model.num_attention_heads=1", "model.num_key_value_heads=1",
    "model.head_dim=32", "train.batch_tokens=512", "train.sequence_tokens=512",
    "pretrain.max_tokens=1_024", "tune.max_tokens=1_024", "run.workers=1",
)  # fmt: skip
_BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands(page: Path) -> list[str]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [line for block in found for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with the recipe and the shortest pages in each language."""
    for language in ("en", "zh"):
        (tmp_path / "docs" / language).mkdir(parents=True)
        for name in ("tune.md", "crawl.md", "tokenizer.md", "training.md"):
            shutil.copy(ROOT / "docs" / language / name, tmp_path / "docs" / language)
    (tmp_path / "recipes").mkdir()
    shutil.copy(RECIPE, tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_both_languages_have_the_same_commands() -> None:
    english, chinese = map(commands, PAGES)
    assert english == chinese
    assert len(english) >= 6


def test_the_commands_of_the_tutorial_run_to_an_answer(clone: Path) -> None:
    for line in commands(PAGES[0]):
        said, _, command = line.rpartition(" | ")
        words = shlex.split(command)
        assert words.pop(0) == "tongwen"
        if words[0] == "run":
            words += [part for value in TINY for part in ("--set", value)]
        said = shlex.split(said)[1] if said else ""
        result = CliRunner().invoke(cli, words, input=said, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        if words[0] == "chat":
            assert result.stdout  # whatever so little training says, lines without a word too
    run = clone / "runs" / "own-documents"
    assert (run / "report.html").is_file()
    assert {path.name for path in (run / "stages" / "tune" / "dialogues").iterdir()} == {
        "headings.jsonl", "conversations.jsonl"
    }  # fmt: skip
    assert (clone / "dialogues.jsonl").is_file()


def test_five_lines_are_marked_and_both_pages_name_them() -> None:
    marked = re.findall(r"^(\w+) = .*# <- (\d)\.", RECIPE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for _, number in marked] == [1, 2, 3, 4, 5]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert all(f"`{name}`" in text for name, _ in marked)


def test_both_pages_can_be_filled_by_the_tool_that_writes_their_figures() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in ("run", "answers"):
            assert text.count(f"<!-- {name}: begin -->\n") == 1
            assert text.count(f"<!-- {name}: end -->\n") == 1
