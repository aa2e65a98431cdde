"""The files in `recipes/`: they load from anywhere and name nothing that a clone lacks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tongwen.road.check import check_road
from tongwen.road.recipe import load_recipe
from tongwen.road.run import stages_of

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted((REPOSITORY / "recipes").glob("*.toml"))
PATHS = re.compile(r'^[^#\n]*\bpath = "([^"]+)"', re.MULTILINE)


def tracked_files() -> set[Path]:
    listed = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files"], capture_output=True, text=True, check=False
    )
    return {REPOSITORY / line for line in listed.stdout.splitlines()}


def test_there_are_recipes_and_every_one_says_what_it_is() -> None:
    assert {path.stem for path in RECIPES} >= {"own-texts", "own-crawl", "text-25m", "long-200k"}
    for path in RECIPES:
        assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_loads_from_another_folder_and_names_files_of_the_repository(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(str(path))
    check_road(recipe, stages_of(recipe))
    assert recipe.run.name == path.stem
    tracked = tracked_files()
    named = [source.path or "" for source in recipe.crawl.sources]
    assert len(named) == len(PATHS.findall(path.read_text(encoding="utf-8")))
    for documents in recipe.tune.documents if recipe.tune else ():
        assert not tracked or set(Path(documents).resolve().rglob("*")) & tracked
    assert not recipe.curate.scorers
    assert not recipe.curate.contamination.benchmarks
    for pattern in named:
        folder = Path(pattern).parent.resolve()
        matched = set(folder.glob(Path(pattern).name))
        found = matched | {file for item in matched if item.is_dir() for file in item.rglob("*")}
        assert found, pattern
        assert not tracked or found & tracked, pattern  # a clone has them


def test_a_dry_run_of_the_command_line_lists_the_stages(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tongwen", "run", str(REPOSITORY / "recipes/own-texts.toml"),
         "--dry-run", "--until", "pretrain"],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert result.stdout.split() == ["crawl", "curate", "tokenizer", "encode", "plan", "pretrain"]


def test_the_one_line_to_change_for_a_crawl_of_ones_own_is_one_line(tmp_path: Path) -> None:
    lines = (REPOSITORY / "recipes/own-crawl.toml").read_text(encoding="utf-8").splitlines()
    (marked,) = [number for number, line in enumerate(lines) if "<- change to: " in line]
    lines[marked] = lines[marked].partition("<- change to: ")[2].replace("/data/crawl", "pages")
    mine = tmp_path / "mine.toml"
    mine.write_text("\n".join(lines), encoding="utf-8")
    recipe = load_recipe(str(mine))
    assert recipe.crawl.sample is None
    assert recipe.crawl.sources[0].path == str(tmp_path / "pages")
    check_road(recipe, stages_of(recipe))
