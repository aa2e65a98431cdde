"""Plans against published numbers, hand calculation and what training really takes."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tongwen.cli.plan import command
from tongwen.errors import DoesNotFitError, InputError, RecipeError
from tongwen.files import write_json
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.model.settings import ModelSettings
from tongwen.plan import plan as planning
from tongwen.plan.calibrate import Timed, timed_steps
from tongwen.plan.formulas import Memory, training_memory
from tongwen.plan.plan import add_times, check_fit, make_plan
from tongwen.road.recipe import load_recipe
from tongwen.road.stages import planned_run
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.settings import TrainSettings

YI_6B = ModelConfig.from_settings(ModelSettings(), 64_000)
YI_34B = ModelConfig(
    hidden_size=7168,
    intermediate_size=20480,
    num_hidden_layers=60,
    num_attention_heads=56,
    num_key_value_heads=8,
    vocabulary_size=64_000,
)
TINY = (
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=4",
    "model.num_key_value_heads=2",
    "model.head_dim=8",
)


@pytest.mark.parametrize(
    ("config", "sequence_tokens", "full", "causal"),
    [
        (YI_6B, 4_096, 41.2e9, 38.0e9),
        (YI_6B, 204_800, 357e9, 196e9),
        (YI_34B, 4_096, 224.7e9, 214.1e9),
        (YI_34B, 204_800, 1_261e9, 732e9),
    ],
)
def test_flops_of_a_token_are_those_of_the_published_formula(
    config: ModelConfig, sequence_tokens: int, full: float, causal: float
) -> None:
    flops = flops_per_token(config, sequence_tokens)
    assert flops.full == pytest.approx(full, rel=3e-3)
    assert flops.causal == pytest.approx(causal, rel=3e-3)


def test_states_take_16_bytes_a_parameter_and_activations_grow_with_the_micro_batch() -> None:
    def memory(micro_batch_tokens: int) -> dict[str, int]:
        settings = TrainSettings(max_tokens=10**9, micro_batch_tokens=micro_batch_tokens)
        found = training_memory(YI_6B, settings, bf16=False, on_cpu=False, process_bytes=0)
        return {"states": found.weights + found.gradients + found.optimizer, **vars(found)}

    small, large = memory(4_096), memory(8_192)
    assert small["states"] == large["states"] == 16 * YI_6B.parameters
    assert large["activations"] == 2 * small["activations"]


def test_yi_34b_is_counted_exactly_and_refused_with_numbers() -> None:
    result = CliRunner().invoke(command, ["yi-34b"])
    assert "34.389 B parameters, 33.471 B without embeddings" in result.output
    assert "2.247e+11 FLOPs a token (2.141e+11 causal)" in result.output
    assert isinstance(result.exception, DoesNotFitError)
    assert "alone" in result.exception.message
    assert "GiB are free" in result.exception.message


def test_json_is_printed_even_when_the_plan_does_not_fit() -> None:
    result = CliRunner().invoke(command, ["yi-6b", "--json"])
    assert json.loads(result.stdout)["model"]["parameters"] == 6_061_035_520


def test_activations_that_do_not_fit_come_with_a_micro_batch_that_is_smaller(
    tmp_path: Path,
) -> None:
    overrides = ("pretrain.micro_batch_tokens=65536", "plan.memory_gib=150")
    planned = planned_run(load_recipe("yi-6b", overrides))
    plan = make_plan(planned, None, tmp_path)
    with pytest.raises(DoesNotFitError, match="activations take") as caught:
        check_fit(plan, planned)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("--set pretrain.micro_batch_tokens=")
    assert int(caught.value.hint.rpartition("=")[2]) < 65_536


def test_a_disk_that_is_too_small_is_refused_with_numbers(tmp_path: Path) -> None:
    recipe = load_recipe("sample", TINY)
    plan = make_plan(planned_run(recipe), None, tmp_path)
    plan["machine"]["disk_bytes"] = 1_000
    with pytest.raises(DoesNotFitError, match=r"of disk, 0 MiB are free"):
        check_fit(plan, planned_run(recipe))


def test_a_tune_beyond_the_window_is_refused(tmp_path: Path) -> None:
    overrides = ("extend=false", "tune.sequence_tokens=8192", "tune.batch_tokens=8192")
    with pytest.raises(RecipeError, match=r"tune.sequence_tokens is 8,192, .* window"):
        make_plan(planned_run(load_recipe("sample", overrides)), None, tmp_path)


def test_epochs_come_from_the_shards_and_many_of_them_are_remarked(tmp_path: Path) -> None:
    shards = {
        "vocabulary_size": 500,
        "shards": [
            {"split": "train", "tokens": 1_000},
            {"split": "train", "tokens": 638},
            {"split": "valid-en", "tokens": 100},
        ],
    }
    (tmp_path / "shards.json").write_text(json.dumps(shards))
    overrides = ("pretrain.max_tokens=16384", "pretrain.batch_tokens=16384")
    plan = make_plan(planned_run(load_recipe("sample", (*TINY, *overrides))), tmp_path, tmp_path)
    stage = plan["stages"]["pretrain"]
    assert stage["epochs"] == pytest.approx(16_384 / 1_638)
    assert "10.0 times" in stage["notes"][0]
    assert plan["model"]["vocabulary_size"] == 500
    assert stage["validation_tokens"] == 100


@pytest.mark.parametrize("content", ["", "{}", '{"shards": [{"split": "train"}]}'])
def test_a_damaged_list_of_shards_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "shards.json").write_text(content)
    with pytest.raises(InputError, match="is damaged"):
        make_plan(planned_run(load_recipe("sample")), tmp_path, tmp_path)


def test_times_prices_and_memory_follow_from_timed_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: 48 steps of 2 + 0.5 s, 1,200 validation tokens at 3 ms, 3 s of start, half a second
    of the speed test, and checkpoints of 20, 40, 38 (the rate falls from there on) and 48 at
    0.25 s.
    """
    timed = Timed(
        pass_seconds=2.0, update_seconds=0.5, token_seconds=3e-3, first_seconds=3.0,
        save_seconds=0.25, extra_bytes=90 << 20,
    )  # fmt: skip
    monkeypatch.setattr(planning, "timed_steps", lambda *_, **__: timed)
    overrides = (
        "plan.price_per_hour=3.0", "extend=false", "tune=false", "pretrain.decay=wsd",
        "pretrain.max_tokens=12_288", "pretrain.batch_tokens=256", "pretrain.sequence_tokens=128",
        "pretrain.micro_batch_tokens=256", "pretrain.initial_batch_tokens=false",
        "pretrain.checkpoint_every_steps=20", "pretrain.validation_tokens=600",
        "pretrain.evaluate_every_steps=100", "pretrain.device=cpu",
    )  # fmt: skip
    planned = planned_run(load_recipe("sample", (*TINY, *overrides)))
    rows = [{"split": split, "tokens": 700} for split in ("train", "valid-en", "valid-zh")]
    write_json(tmp_path / "shards.json", {"vocabulary_size": 8_000, "shards": rows})
    plan = make_plan(planned, tmp_path, tmp_path)
    before = copy.deepcopy(plan["stages"]["pretrain"])
    add_times(plan, planned, tmp_path)
    stage = plan["stages"]["pretrain"]
    seconds = 48 * 2.5 + 1_200 * 3e-3 + 3.0 + 0.5 + 4 * 0.25
    assert stage["predicted_seconds"] == pytest.approx(seconds)
    assert stage["predicted_price"] == pytest.approx(seconds / 3600 * 3)
    less = before["predicted_memory_bytes"] - stage["predicted_memory_bytes"]
    assert less == before["memory"]["process"] - stage["memory"]["process"] == 110 << 20


def test_a_later_stage_has_at_least_the_memory_that_the_process_took_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = iter([500 << 20, 10 << 20, 0])  # libraries load in the first stage only
    monkeypatch.setattr(
        planning, "timed_steps", lambda *_, **__: Timed(1.0, 1.0, 1.0, 0.0, 0.0, next(extra))
    )
    devices = [f"{stage}.device=cpu" for stage in ("pretrain", "extend", "tune")]
    planned = planned_run(load_recipe("sample", (*TINY, *devices)))
    plan = make_plan(planned, None, tmp_path)
    add_times(plan, planned)
    stages = [plan["stages"][name] for name in ("pretrain", "extend", "tune")]
    taken = [stage["predicted_memory_bytes"] for stage in stages]
    assert taken[0] <= taken[1] <= taken[2]
    assert [sum(stage["memory"].values()) for stage in stages] == taken


def test_timed_steps_measure_what_the_closed_form_leaves_out(tmp_path: Path) -> None:
    config = ModelConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, vocabulary_size=500,
    )  # fmt: skip
    settings = TrainSettings(
        max_tokens=1_024, sequence_tokens=64, batch_tokens=512, micro_batch_tokens=128, device="cpu"
    )
    found = timed_steps(config, settings, steps=2, target_share=1.0, folder=tmp_path)
    assert found is not None
    assert found.save_seconds > 0
    assert not [*tmp_path.iterdir()]
    assert found.step_seconds == found.pass_seconds + found.update_seconds > 0
    assert found.first_seconds >= 0
    assert found.extra_bytes is not None
    assert found.extra_bytes < 400 << 20


def test_no_timed_step_no_predicted_time(tmp_path: Path) -> None:
    recipe = load_recipe("sample", (*TINY, "plan.calibration_steps=0"))
    plan = make_plan(planned_run(recipe), None, tmp_path)
    add_times(plan, planned_run(recipe))
    assert plan["stages"]["pretrain"]["predicted_seconds"] is None


def test_a_model_too_large_to_be_timed_is_not_timed() -> None:
    settings = TrainSettings(max_tokens=10**9, device="cpu")
    assert timed_steps(YI_34B, settings, steps=1, target_share=1.0) is None


def test_memory_of_a_process_falls_with_the_processes_that_share_the_model() -> None:
    recipe = load_recipe("yi-34b")
    assert recipe.pretrain is not None
    config = ModelConfig.from_settings(recipe.model, 64_000)

    def needed(**degrees: int) -> Memory:
        settings = replace(recipe.pretrain, parallel=ParallelSettings(**degrees))
        return training_memory(config, settings, bf16=True, on_cpu=False, process_bytes=0)

    alone = needed()
    assert alone.gradients + alone.optimizer == 12 * config.parameters
    shared = needed(shard=64)
    assert shared.gradients + shared.optimizer == 12 * config.parameters // 64
    assert needed(shard=8, tensor=8).activations < shared.activations / 7
    assert needed(pipeline=4, shard=16).total < alone.total / 4
    again = replace(recipe.pretrain, recompute="layer")
    kept = training_memory(config, again, bf16=True, on_cpu=False, process_bytes=0).activations
    assert kept < alone.activations / 10


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("yi-34b", ("pretrain.parallel.shard=64", "plan.memory_gib=80")),
        ("yi-34b", ("pretrain.parallel.shard=64", "plan.memory_gib=20")),
        ("yi-34b", ()),
        ("yi-6b", ("pretrain.micro_batch_tokens=65536", "plan.memory_gib=120")),
        ("yi-6b", ("pretrain.recompute=layer", "pretrain.micro_batch_tokens=4096")),
        ("yi-6b", ("pretrain.recompute=cheap", "plan.memory_gib=115")),
        ("yi-34b", ("pretrain.parallel.tensor=8", "plan.memory_gib=79")),
    ],
)
def test_a_hint_changes_something_and_the_plan_then_fits(
    tmp_path: Path, preset: str, overrides: tuple[str, ...]
) -> None:
    overrides = ("plan.calibration_steps=0", "extend=false", *overrides)
    planned = planned_run(load_recipe(preset, overrides))
    plan = make_plan(planned, None, tmp_path)
    if planned.plan.memory_gib is None:  # not what happens to be free here
        plan["machine"]["memory_bytes"] = 120 << 30
    with pytest.raises(DoesNotFitError) as caught:
        check_fit(plan, planned)
    assert caught.value.hint is not None
    changes = [part.split(",")[0].strip() for part in caught.value.hint.split("--set ")[1:]]
    assert changes
    changed = planned_run(load_recipe(preset, (*overrides, *changes)))
    assert changed != planned
    again = make_plan(changed, None, tmp_path)
    there = plan["machine"]["memory_bytes"]
    assert again["stages"]["pretrain"]["predicted_memory_bytes"] <= there


def test_the_case_of_a_34b_on_64_cards_of_80_gib_names_recompute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = shutil.disk_usage("/")._replace(free=1 << 50)  # its checkpoints want more than many have
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk)
    words = ["--set", "pretrain.parallel.shard=64", "--set", "plan.memory_gib=80"]
    words += ["--set", "train.precision=fp32"]  # as much on every processor
    result = CliRunner().invoke(command, ["yi-34b", *words])
    assert isinstance(result.exception, DoesNotFitError)
    assert result.exception.hint == "--set pretrain.recompute=layer"


def test_a_hint_about_disk_names_only_stages_that_keep_more_than_one_checkpoint(
    tmp_path: Path,
) -> None:
    for keep, named in ((2, True), (1, False)):
        overrides = (*TINY, "extend=false", f"pretrain.keep_checkpoints={keep}")
        planned = planned_run(load_recipe("sample", (*overrides, "tune.keep_checkpoints=1")))
        plan = make_plan(planned, None, tmp_path)
        plan["machine"]["disk_bytes"] = 1_000
        with pytest.raises(DoesNotFitError) as caught:
            check_fit(plan, planned)
        assert ("keep_checkpoints" in str(caught.value.hint)) is named


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pretrain.parallel.tensor=7", "does not divide the model's num_key_value_heads"),
        ("pretrain.parallel.pipeline=61", "the model has 60 layers"),
        ("pretrain.parallel.context=3", "cut into 6 chunks"),
        ("pretrain.parallel.shard=7", "not a multiple of what 7 processes take at once"),
        ("pretrain.parallel={ pipeline = 2, shard = 1024 }", "fewer than its 2 stages"),
    ],
)
def test_a_layout_that_the_trainer_would_refuse_is_refused_by_the_plan(
    override: str, message: str
) -> None:
    result = CliRunner().invoke(command, ["yi-34b", "--set", override])
    assert isinstance(result.exception, RecipeError)
    assert message in result.exception.message


def test_a_batch_that_cannot_be_cut_comes_with_one_that_can() -> None:
    for degrees in ("{ shard = 7 }", "{ pipeline = 2, shard = 1024 }"):
        parallel = f"pretrain.parallel={degrees}"
        words = ["yi-34b", "--set", parallel, "--set", "plan.memory_gib=9000", "--json"]
        words += ["--set", "plan.calibration_steps=0"]
        result = CliRunner().invoke(command, words)
        assert isinstance(result.exception, RecipeError)
        hint = str(result.exception.hint)
        assert "lower micro_batch_tokens" not in hint  # it is one sequence already
        batch = hint.removeprefix("--set ").partition(" ")[0]
        result = CliRunner().invoke(command, [*words, "--set", f"pretrain.{batch}"])
        assert not isinstance(result.exception, RecipeError)


@pytest.mark.parametrize("preset", ["yi-6b-200k", "yi-9b-200k", "yi-34b-200k"])
def test_the_200k_presets_can_extend_what_they_pretrain(preset: str, tmp_path: Path) -> None:
    recipe = load_recipe(preset)
    assert recipe.extend is not None
    assert recipe.extend.sequence_tokens > recipe.model.max_position_embeddings
    window = f"model.max_position_embeddings={recipe.extend.sequence_tokens}"
    with pytest.raises(RecipeError, match="positions already"):
        make_plan(planned_run(load_recipe(preset, (window,))), None, tmp_path)


def test_an_extension_in_stages_is_planned_window_by_window(tmp_path: Path) -> None:
    stages = (
        "extend.stages=[{sequence_tokens = 2048, max_tokens = 8192},"
        " {sequence_tokens = 8192, max_tokens = 65536}]"
    )
    planned = planned_run(load_recipe("sample", (*TINY, stages)))
    plan = make_plan(planned, None, tmp_path)["stages"]
    assert list(plan) == ["pretrain", "extend.stages.0", "extend.stages.1", "tune"]
    assert plan["extend.stages.1"]["tokens"] == 65_536
    needed = [plan[f"extend.stages.{n}"]["memory"]["activations"] for n in (0, 1)]
    assert needed[0] < needed[1]
