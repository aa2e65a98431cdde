"""What a key means: on the command line and on the reference pages."""

import ast
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from tongwen.cli.recipe import command
from tongwen.errors import UsageError
from tongwen.recipe.meanings import field_meanings, keys_of
from tongwen.road.recipe import TRAIN, Recipe, load_recipe, preset_line, preset_names
from tongwen.road.reference import explain, sections
from tongwen.train.settings import PretrainSettings
from tongwen.tune.settings import TuneSettings

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(REPOSITORY / "tools"))
    return importlib.import_module("recipe_reference")


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reference_page_is_current(tool: ModuleType, language: str) -> None:
    page = tool.page(language).read_text(encoding="utf-8")
    assert page == tool.written(language), "run python tools/recipe_reference.py"
    for section in sections():
        assert f"\n### [{section.name}]\n" in page


def test_the_keys_of_the_reference_are_those_that_a_recipe_may_hold() -> None:
    found = {key.name for section in sections() for key in section.keys}
    for key, hint in TRAIN.hints.items():
        assert hint is not None
        assert f"train.{key}" in found
    assert {"crawl.sources[].path", "pretrain.base", "curate.mix.shares", "run.name"} <= found
    assert not any(name.startswith("tune.mixture") for name in found)
    assert len(found) == len([key for section in sections() for key in section.keys])
    for name in ("pretrain", "extend", "tune"):
        section = next(section for section in sections() if section.name == name)
        shared = [key for key in section.own if key.name.partition(".")[2] in TRAIN.hints]
        assert len(shared) < len(TRAIN.hints) / 2  # what is shared is written once


def test_every_key_says_what_it_does_in_both_languages(tool: ModuleType) -> None:
    assert [key.name for section in sections() for key in section.keys if not key.meaning] == []
    assert tool.chinese.differences("keys", tool.texts()) == []
    types = {key.type for section in sections() for key in section.keys}
    for words in types:
        assert "list" not in tool.chinese.type_words(words), words


def test_the_string_below_a_field_is_its_meaning_also_when_inherited() -> None:
    meanings = field_meanings(PretrainSettings)
    assert meanings["base"].startswith("Model folder whose weights to start from")
    assert meanings["weight_decay"] == "Weight decay of matrices; norms do not decay."
    assert field_meanings(TuneSettings)["weight_decay"] == meanings["weight_decay"]
    assert "\n" not in "".join(meanings.values())


def test_a_default_that_differs_by_stage_is_said_in_train() -> None:
    (key,) = explain("train.batch_tokens")
    assert key.default == "4_194_304; 32_768 in [tune]"
    (key,) = explain("train.separate_documents")
    assert key.default == "true; false in [extend]"
    (key,) = explain("tune.batch_tokens")
    assert key.default == "32_768"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("train.decay", ["train.decay"]),
        ("extend.rope_theta", ["extend.rope_theta"]),
        ("rope_theta", ["model.rope_theta", "extend.rope_theta", "extend.stages[].rope_theta"]),
        ("crawl.sources.0.path", ["crawl.sources[].path"]),
        ("[[crawl.sources]]", None),
        ("tune", None),
    ],
)
def test_explain_finds_a_key_a_table_or_a_section(asked: str, names: list[str] | None) -> None:
    found = [key.name for key in explain(asked)]
    if names is not None:
        assert found == names
    else:
        assert found[0] == asked.strip("[]")
        assert len(found) > 3
    assert f"{found[0]}\n" in printed("--explain", asked)
    assert [row["name"] for row in json.loads(printed("--explain", asked, "--json"))] == found


def test_an_unknown_key_to_explain_suggests_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        explain("train.peak_learning_rte")
    assert caught.value.hint == "did you mean `train.peak_learning_rate`?"
    with pytest.raises(UsageError) as caught:
        explain("dialoges")
    assert caught.value.hint == "did you mean `dialogues`?"


def test_presets_are_listed_with_a_line_each() -> None:
    lines = printed().splitlines()
    assert [line.split()[0] for line in lines] == preset_names()
    assert all(len(line) <= 100 and len(line.split()) > 4 for line in lines)
    listed = json.loads(printed("--json"))
    assert listed[0] == {"name": preset_names()[0], "is": preset_line(preset_names()[0])}


def test_a_recipe_as_json_has_the_values_of_the_toml(tmp_path: Path) -> None:
    import tomllib

    toml = printed("sample", "--set", "run.name=x")
    assert json.loads(printed("sample", "--set", "run.name=x", "--json")) == tomllib.loads(toml)
    path = tmp_path / "x.toml"
    path.write_text(toml, encoding="utf-8")
    assert load_recipe(str(path)) == load_recipe("sample", ["run.name=x"])


def test_options_that_do_not_go_together_are_refused() -> None:
    for arguments in (["sample", "--explain", "train"], ["--set", "run.name=x"]):
        result = CliRunner().invoke(command, arguments)
        assert isinstance(result.exception, UsageError)


def test_every_settings_class_can_be_read_and_its_source_is_where_python_says() -> None:
    names = [key.name for key in keys_of(Recipe, "")]
    assert len(names) == len(set(names)) > 300
    for kind in TRAIN.kinds.values():
        module = Path(sys.modules[kind.__module__].__file__ or "")
        classes = [node.name for node in ast.parse(module.read_text()).body
                   if isinstance(node, ast.ClassDef)]  # fmt: skip
        assert kind.__name__ in classes
