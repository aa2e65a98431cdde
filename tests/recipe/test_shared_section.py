"""[train]: what holds for pretrain, extend and tune, and how it is laid over and written out."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.recipe.loader import to_toml
from tongwen.road.recipe import TRAIN, Recipe, load_recipe, recipe_text, recipe_values

STAGES = ("pretrain", "extend", "tune")

# Keys whose values do not depend on one another.
VALUES = {
    "peak_learning_rate": st.sampled_from([1e-3, 2e-3, 5e-3]),
    "decay": st.sampled_from(["cosine", "linear", "constant", "wsd"]),
    "weight_decay": st.sampled_from([0.0, 0.1]),
    "separate_documents": st.booleans(),
    "adam_betas": st.sampled_from([[0.9, 0.95], [0.9, 0.99]]),
    "spike_sigmas": st.sampled_from([False, 4.0, 6.0]),
    "seed": st.integers(0, 3),
    "complete_p": st.sampled_from([False, {"base_hidden_size": 64, "base_layers": 2}]),
    "parallel": st.dictionaries(
        st.sampled_from(["pipeline", "shard", "replicate"]), st.integers(1, 2), max_size=2
    ),
}
TABLES = st.fixed_dictionaries({}, optional=VALUES)
MIXTURES = st.dictionaries(st.sampled_from(["en", "zh-Hans", "code"]), st.just(1.0), min_size=1)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """The values of a recipe with some of the three stages and a [train]."""
    values: dict[str, Any] = {"run": {"name": "a"}}
    sections = {name: draw(TABLES) for name in STAGES if draw(st.booleans())}
    train = draw(TABLES)
    for table in (train, *(sections[name] for name in STAGES[:2] if name in sections)):
        if draw(st.booleans()):
            table["mixture"] = draw(MIXTURES)
    return values | {"train": train} | {
        name: {"max_tokens": 100, **table} for name, table in sections.items()
    }  # fmt: skip


def load(folder: Path, values: dict[str, Any], *overrides: str) -> Recipe:
    path = folder / "recipe.toml"
    path.write_text(tomli_w.dumps(values), encoding="utf-8")
    return load_recipe(str(path), overrides)


def merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merged(below.get(key), item) for key, item in above.items()}}
    return above


@settings(deadline=None)
@given(values=recipes())
def test_a_stage_has_its_own_value_else_that_of_train_else_its_default(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("recipe")
    resolved = to_toml(load(folder, values))
    without = {key: table for key, table in values.items() if key != "train"}
    for name in STAGES:
        if name not in values:
            assert resolved[name] is False
            continue
        # By hand: a recipe that has no [train] and repeats its keys in every stage.
        for key, value in values["train"].items():
            if name == "tune" and key == "mixture":
                continue
            is_table = key in ("parallel", "complete_p") and key in values[name]
            own = values[name].get(key, value)
            without[name] = {**without[name], key: merged(value, own) if is_table else own}
    assert to_toml(load(folder, without)) == resolved


@settings(deadline=None)
@given(values=recipes())
def test_a_resolved_recipe_reads_back_as_itself_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("recipe")
    recipe = load(folder, values)
    path = folder / "resolved.toml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(str(path)) == recipe
    resolved = recipe_values(recipe)
    present = [name for name in STAGES if name in values]
    assert ("train" in resolved) == (len(present) > 1)
    for key in TRAIN.hints if len(present) > 1 else ():
        written = [str(resolved[name][key]) for name in present if key in resolved[name]]
        shared = [str(resolved["train"][key])] if key in resolved["train"] else []
        assert len({*written, *shared}) == len(written) + len(shared)


def test_train_is_written_once_in_a_resolved_recipe() -> None:
    text = recipe_text(load_recipe("sample"))
    for line in ('optimizer = "muon"\n', "gradient_clip = 1.0\n", "[train.parallel]\n"):
        assert text.count(line) == 1
    assert "[tune.parallel]" not in text


def test_a_recipe_that_repeats_every_key_as_runs_of_version_0_1_wrote_it_still_loads(
    tmp_path: Path,
) -> None:
    recipe = load_recipe("sample")
    values = to_toml(recipe)
    values["tune"] |= {"mixture": False, "mixture_stages": []}
    del values["tokenizer"]["model"]
    assert load(tmp_path, values) == recipe


def test_defaults_of_a_stage_hold_until_a_recipe_says_otherwise(tmp_path: Path) -> None:
    values: dict[str, Any] = {"run": {"name": "a"}, "train": {"seed": 1}}
    values |= {name: {"max_tokens": 10} for name in STAGES}
    recipe = load(tmp_path, values)
    assert recipe.pretrain
    assert recipe.extend
    assert recipe.tune
    assert recipe.pretrain.separate_documents
    assert not recipe.extend.separate_documents
    assert recipe.pretrain.batch_tokens == 4_194_304
    assert recipe.tune.batch_tokens == 32_768
    assert recipe.tune.peak_learning_rate == 2e-5
    values["train"]["batch_tokens"] = 8_192
    recipe = load(tmp_path, values)
    assert recipe.tune
    assert recipe.tune.batch_tokens == 8_192


def test_what_is_laid_on_top_wins_also_where_it_speaks_for_all_stages(tmp_path: Path) -> None:
    values = {
        "base": "sample",
        "run": {"name": "a"},
        "train": {"peak_learning_rate": 1e-4},
        "tune": {"peak_learning_rate": 2e-4},
    }
    recipe = load(tmp_path, values)
    assert recipe.pretrain
    assert recipe.extend
    assert recipe.tune
    assert recipe.extend.peak_learning_rate == 1e-4  # the preset says 1e-3 in [extend]
    assert recipe.tune.peak_learning_rate == 2e-4
    recipe = load(
        tmp_path, values, "pretrain.peak_learning_rate=4e-4", "train.peak_learning_rate=3e-4"
    )
    assert recipe.pretrain
    assert recipe.extend
    assert recipe.tune
    assert recipe.pretrain.peak_learning_rate == 4e-4
    assert recipe.extend.peak_learning_rate == recipe.tune.peak_learning_rate == 3e-4


def test_a_mixture_of_one_stage_replaces_the_shared_one_as_a_whole(tmp_path: Path) -> None:
    values = {
        "run": {"name": "a"},
        "train": {"max_tokens": 10, "mixture": {"en": 1.0, "code": 1.0}},
        "pretrain": {},
        "extend": {"mixture": {"en": 1.0}},
        "tune": {},
    }
    recipe = load(tmp_path, values)
    assert recipe.pretrain
    assert recipe.extend
    assert recipe.tune
    assert recipe.pretrain.mixture == {"en": 1.0, "code": 1.0}
    assert recipe.extend.mixture == {"en": 1.0}
    assert not hasattr(recipe.tune, "mixture")


RUN = "[run]\nname = 'a'\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[train]\nbase = 'x'\n", "`base` is a key of [pretrain] alone, not of [train]", "move"),
        ("[train]\ndecay = 'cosin'\n", "`train.decay` is 'cosin'", "did you mean 'cosine'?"),
        ("[train]\nmax_tokens = 1.5\n", "`train.max_tokens` must be a whole number", ""),
        ("[train]\ndecai = 'x'\n", "unknown key `train.decai`", "did you mean `decay`?"),
        ("[train]\nname = 'x'\n", "unknown key `train.name`", "known keys: max_tokens, "),
        ("[trian]\nx = 1\n", "unknown key `trian`", "did you mean `train`?"),
        ("[train.parallel]\nshard = 0\n", "train.parallel.shard is 0", "1 or more"),
        ("train = 3\n", "`run.train`", ""),
    ],
)
def test_a_mistake_in_train_is_found_also_when_no_stage_trains(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RUN + text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert message in caught.value.message
    assert "r.toml, line " in caught.value.message
    assert hint in str(caught.value.hint or "")


def test_values_that_do_not_go_together_are_placed_where_each_was_written(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        f"{RUN}[train]\nbatch_tokens = 100\n[pretrain]\nmax_tokens = 1\nsequence_tokens = 64\n",
        encoding="utf-8",
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert caught.value.message == (
        "pretrain.batch_tokens is 100, not a multiple of sequence_tokens, 64 "
        f"(batch_tokens: {path}, line 4, in [train]; sequence_tokens: {path}, line 7)"
    )
    with pytest.raises(RecipeError, match=r"^tune\.gradient_clip is 0\.0 \(--set train\.gradient"):
        load_recipe("sample", ["pretrain=false", "extend=false", "train.gradient_clip=0"])
