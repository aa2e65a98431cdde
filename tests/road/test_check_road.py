"""What a recipe alone shows to be impossible is refused before the first stage."""

import shutil
from pathlib import Path

import pytest

from tongwen.errors import InputError, RecipeError, TongwenError
from tongwen.progress import Progress
from tongwen.road.check import check_road
from tongwen.road.recipe import load_recipe, preset_names
from tongwen.road.run import run_road, stages_of, stages_until

OWN = "crawl.sources=[{path = 'texts', format = 'text'}]"


def refusal(*overrides: str, until: str | None = None) -> TongwenError:
    recipe = load_recipe("smallest", overrides)
    with pytest.raises(TongwenError) as caught:
        check_road(recipe, stages_until(recipe, until))
    return caught.value


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_passes(name: str) -> None:
    recipe = load_recipe(name)
    check_road(recipe, stages_of(recipe))


def test_a_window_that_does_not_grow_is_refused_with_what_to_set() -> None:
    error = refusal("model.max_position_embeddings=1024")
    assert isinstance(error, RecipeError)
    assert "extend.sequence_tokens is 1,024, but the model has 1,024 positions" in error.message
    assert error.hint is not None
    assert "--set extend.trained_window=256" in error.hint
    error = refusal("model.max_position_embeddings=1024", "pretrain.sequence_tokens=1024",
                    "pretrain.micro_batch_tokens=false")  # fmt: skip
    assert error.hint == "--set extend.sequence_tokens=2048, or --set extend=false"
    claimed = load_recipe("smallest", ["model.max_position_embeddings=1024",
                                       "extend.trained_window=256"])  # fmt: skip
    check_road(claimed, stages_until(claimed, "extend"))


def test_what_extend_would_refuse_is_refused_before_any_work() -> None:
    error = refusal("extend.rope_theta=100.0")
    assert "extend.rope_theta is 100, below the model's" in error.message
    error = refusal("extend.trained_window=4096")
    assert "extend.trained_window is 4,096, but the model has 256 positions" in error.message
    error = refusal(
        "extend.stages=[{sequence_tokens = 512, max_tokens = 4096},"
        " {sequence_tokens = 1024, max_tokens = 4096, rope_theta = 100.0}]"
    )
    assert "extend.stages.1.rope_theta is 100, below the model's" in error.message
    check_road(*(lambda recipe: (recipe, stages_until(recipe, "pretrain")))(
        load_recipe("smallest", ["model.max_position_embeddings=1024"])))  # fmt: skip


def test_sequences_longer_than_the_window_are_refused() -> None:
    error = refusal("pretrain.sequence_tokens=512")
    assert "pretrain.sequence_tokens is 512, but the model's window is 256" in error.message
    error = refusal("tune.sequence_tokens=2048")
    assert "tune.sequence_tokens is 2,048" in error.message


def test_files_of_a_sample_web_that_is_left_out_are_refused_unless_their_stage_is() -> None:
    error = refusal(OWN)
    assert "tune.dialogues names {crawl}/gold/dialogues.jsonl" in error.message
    assert "tune = false" in str(error.hint)
    assert "evaluate.tasks" in refusal(OWN, "tune=false").message
    recipe = load_recipe("smallest", [OWN])
    check_road(recipe, stages_until(recipe, "extend"))
    recipe = load_recipe("smallest", [OWN, "tune=false", "evaluate=false"])
    check_road(recipe, stages_of(recipe))


def test_a_base_model_brings_its_tokenizer_or_is_refused(
    tmp_path: Path, small_model_folder: Path
) -> None:
    short = "pretrain.sequence_tokens=128"
    recipe = load_recipe("smallest", [f"pretrain.base={small_model_folder}", short])
    assert recipe.tokenizer.model == str(small_model_folder)
    check_road(recipe, stages_of(recipe))
    assert "window is 128" in refusal(f"pretrain.base={small_model_folder}").message
    bare = tmp_path / "bare"
    shutil.copytree(small_model_folder, bare)
    (bare / "tokenizer.model").unlink()
    recipe = load_recipe("smallest", [f"pretrain.base={bare}", short])
    check_road(recipe, stages_of(recipe))  # tokenizer.json will do
    (bare / "tokenizer.json").unlink()
    error = refusal(f"pretrain.base={bare}", short)
    assert isinstance(error, InputError)
    assert "has no tokenizer" in error.message
    error = refusal("pretrain.base=/nowhere")
    assert "there is no model folder /nowhere" in error.message


def test_nothing_is_written_by_a_run_that_cannot_work(tmp_path: Path) -> None:
    recipe = load_recipe("smallest", ["pretrain.sequence_tokens=512"])
    with pytest.raises(RecipeError):
        run_road(recipe, tmp_path / "runs" / "x", Progress())
    assert list(tmp_path.iterdir()) == []
