"""`base`: a recipe over a preset or another file."""

from pathlib import Path

import pytest

from tongwen.errors import RecipeError
from tongwen.road.recipe import load_recipe, recipe_text


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_base_is_a_file_relative_to_the_recipe_and_so_are_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "common" / "small.toml",
          "base = 'smallest'\n[run]\nname = 'common'\n"
          "[[crawl.sources]]\npath = 'texts'\nformat = 'text'\n")  # fmt: skip
    top = write(tmp_path / "mine" / "top.toml",
                "base = '../common/small.toml'\n[run]\nname = 'mine'\n"
                "[curate]\nscorers = ['quality']\n")  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe = load_recipe(top)
    assert recipe.run.name == "mine"
    assert recipe.model.hidden_size == 64
    assert Path(recipe.crawl.sources[0].path or "").resolve() == tmp_path / "common" / "texts"
    assert Path(recipe.curate.scorers[0]).resolve() == tmp_path / "mine" / "quality"
    resolved = write(tmp_path / "resolved.toml", recipe_text(recipe))
    assert load_recipe(resolved) == recipe


def test_an_error_in_a_base_names_the_base_and_its_line(tmp_path: Path) -> None:
    base = write(tmp_path / "base.toml", "[run]\nname = 'a'\n[pretrain]\nmax_tokens = 'x'\n")
    top = write(tmp_path / "top.toml", "base = 'base.toml'\n[run]\nname = 'b'\n[pretrain]\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(top)
    assert f"({base}, line 4)" in caught.value.message
    top = write(tmp_path / "top.toml", "base = 'base.toml'\n[pretrain]\nmax_tokens = 'y'\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(top)
    assert f"({top}, line 3)" in caught.value.message


def test_a_circle_of_bases_is_refused_and_shown(tmp_path: Path) -> None:
    one = write(tmp_path / "one.toml", "base = 'two.toml'\n")
    two = write(tmp_path / "two.toml", "base = './one.toml'\n")
    with pytest.raises(RecipeError, match="laid over itself") as caught:
        load_recipe(one)
    assert f"{one} -> {two} -> {one}" in caught.value.message
    alone = write(tmp_path / "alone.toml", "base = 'alone.toml'\n")
    with pytest.raises(RecipeError, match="laid over itself"):
        load_recipe(alone)


def test_a_base_that_is_not_there_names_its_line_and_the_nearest_preset(tmp_path: Path) -> None:
    top = write(tmp_path / "top.toml", "# 配方\nbase = 'yi-6bb'\n")
    with pytest.raises(RecipeError, match=r"unknown base 'yi-6bb' \(.*line 2\)") as caught:
        load_recipe(top)
    assert caught.value.hint == "did you mean `yi-6b`?"
    with pytest.raises(RecipeError, match="`base` must be a string, got 3"):
        load_recipe(write(tmp_path / "top.toml", "base = 3\n"))


def test_sources_of_ones_own_take_the_place_of_a_bases_sample_web(tmp_path: Path) -> None:
    sources = "[[crawl.sources]]\npath = 'texts'\nformat = 'text'\n"
    text = f"base = 'smallest'\n[run]\nname = 'mine'\n{sources}"
    recipe = load_recipe(write(tmp_path / "mine.toml", text))
    assert recipe.crawl.sample is None
    assert len(recipe.crawl.sources) == 1
    both = load_recipe(write(tmp_path / "both.toml", f"{text}[crawl.sample]\n"))
    assert both.crawl.sample is not None
    assert both.crawl.sample.pages == 300
    given = 'crawl.sources=[{path = "texts", format = "text"}]'
    assert load_recipe("smallest", [given]).crawl.sample is None
    assert load_recipe("smallest", [given, "crawl.sample={}"]).crawl.sample is not None


def test_a_table_of_ones_own_keys_is_replaced_and_one_of_settings_merged(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", "[run]\nname = 'a'\nseed = 3\n"
          "[curate.mix]\nshares = { en = 0.5, zh = 0.5 }\nmaximum_epochs = 2.0\n")  # fmt: skip
    top = write(tmp_path / "top.toml", "base = 'base.toml'\n[run]\nname = 'b'\n"
                "[curate.mix]\nshares = { code = 1.0 }\n")  # fmt: skip
    recipe = load_recipe(top)
    assert recipe.run.seed == 3
    assert recipe.curate.mix is not None
    assert recipe.curate.mix.shares == {"code": 1.0}
    assert recipe.curate.mix.maximum_epochs == 2.0
