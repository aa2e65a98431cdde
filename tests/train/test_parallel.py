"""However a run is cut over processes, it sees the same samples and its losses are the same."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from layout_worker import CONFIG, SETTINGS
from processes import command, curves, end_together, run_tongwen, start_together, stopped_command
from safetensors.torch import load_file

from tongwen.errors import DoesNotFitError, InputError, RecipeError
from tongwen.model.config import ModelConfig
from tongwen.model.folder import load_model_folder
from tongwen.train.metrics import read_metrics
from tongwen.train.parallel.context import check_context_degree, tokens_here
from tongwen.train.parallel.pipeline import check_pipeline_degree, layers_of_stage
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.parallel.tensor import check_tensor_degree

PLAIN: list[dict[str, Any]] = [
    {},
    {"tied": True},
    {"optimizer": "muon"},
    {"recompute": "layer"},
    {"recompute": "cheap"},
    {"checkpoint_in_background": "yes"},
    {"micro_batch_tokens": 256},
    {"scaled": True},
    {"separate_documents": False},
]
PAIRS: list[dict[str, Any]] = [
    {"shard": 2},
    {"replicate": 2},
    {"tensor": 2},
    {"context": 2},
    {"pipeline": 2},
    {"shard": 2, "tied": True},
    {"tensor": 2, "tied": True},
    {"shard": 2, "recompute": "layer", "checkpoint_in_background": "yes"},
    {"context": 2, "separate_documents": False},
    {"shard": 2, "scaled": True},
    {"tensor": 2, "micro_batch_tokens": SETTINGS.batch_tokens},
]
FOURS: list[dict[str, Any]] = [
    {"shard": 2, "tensor": 2},
    {"shard": 2, "context": 2},
    {"shard": 2, "pipeline": 2},
    {"replicate": 2, "shard": 2},
    {"context": 2, "tensor": 2},
    {"pipeline": 2, "tensor": 2},
    {"pipeline": 2, "context": 2},
    {"replicate": 2, "tensor": 2},
    {"replicate": 2, "context": 2},
    {"replicate": 2, "pipeline": 2},
]
_WITHOUT_EFFECT = {"recompute", "checkpoint_in_background", "micro_batch_tokens"}


def without_effect(layout: dict[str, Any]) -> dict[str, Any]:
    """What is left of a layout that decides the course of a run."""
    degrees = ParallelSettings.__annotations__
    return {
        key: value
        for key, value in layout.items()
        if key not in _WITHOUT_EFFECT and key not in degrees
    }


def numbers(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    kinds = ("loss", "gradient_norm", "bits_per_byte")
    return [tuple(row[kind] for kind in kinds if kind in row) for row in rows]


def samples(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["samples"], row["batch_digest"], row["targets"]) for row in rows
            if row["kind"] == "train"]  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    return curves(1, tmp_path_factory.mktemp("alone"), PLAIN)


def expected_of(layout: dict[str, Any], alone: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return alone[PLAIN.index(without_effect(layout))]


def check(layout: dict[str, Any], found: list[dict[str, Any]], expected: list[Any]) -> None:
    assert samples(found) == samples(expected), layout
    for ours, theirs in zip(numbers(found), numbers(expected), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-5), layout


def test_what_is_computed_again_and_how_the_batch_is_split_change_no_loss(
    alone: list[list[dict[str, Any]]],
) -> None:
    for layout, found in zip(PLAIN, alone, strict=True):
        check(layout, found, expected_of(layout, alone))
    different = {str(numbers(expected_of(layout, alone))) for layout in PLAIN}
    assert len(different) == 5  # plain, tied, Muon, scaled, documents that see each other


@pytest.mark.parametrize(("count", "layouts"), [(2, PAIRS), (4, FOURS)], ids=["pairs", "fours"])
def test_every_kind_of_parallelism_and_pairs_of_them_give_the_losses_of_one_process(
    count: int, layouts: list[dict[str, Any]], alone: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    firsts: dict[str, dict[str, torch.Tensor]] = {}
    for number, (layout, found) in enumerate(
        zip(layouts, curves(count, tmp_path, layouts), strict=True)
    ):
        check(layout, found, expected_of(layout, alone))
        weights = load_file(tmp_path / str(number) / "model" / "model.safetensors")
        first = firsts.setdefault(str(without_effect(layout)), weights)
        assert weights.keys() == first.keys()
        for name, weight in first.items():
            # Where a gradient is next to nothing Adam may turn its rounding into a step.
            torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=2e-4)


def test_a_sequence_is_cut_into_shares_with_the_same_number_of_pairs() -> None:
    shares = [tokens_here(64, 4, place) for place in range(4)]
    assert sorted(torch.cat(shares).tolist()) == list(range(64))
    assert len({int((share + 1).sum()) for share in shares}) == 1


def test_stages_have_all_layers_and_the_first_no_more_than_the_others() -> None:
    for layers, stages in ((4, 2), (7, 3), (60, 8)):
        found = [layers_of_stage(layers, stages, stage) for stage in range(stages)]
        assert [layer for part in found for layer in part] == list(range(layers))
        assert len(found[0]) == min(map(len, found)) >= max(map(len, found)) - 1


@pytest.mark.parametrize(
    ("degree", "words"),
    [
        (3, "parallel.tensor is 3, which does not divide the model's num_attention_heads, 8"),
        (8, "parallel.tensor is 8, which does not divide the model's num_key_value_heads, 4"),
    ],
)
def test_a_tensor_degree_that_does_not_divide_the_heads_is_refused(degree: int, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_tensor_degree(CONFIG, degree)


def test_degrees_that_do_not_fit_are_refused_with_what_they_ask_for() -> None:
    with pytest.raises(RecipeError, match="pipeline is 5, the model has 4 layers"):
        check_pipeline_degree(CONFIG, 5)
    tied = ModelConfig(vocabulary_size=10, tie_word_embeddings=True)
    with pytest.raises(RecipeError, match="ties its embedding to its output head"):
        check_pipeline_degree(tied, 2)
    with pytest.raises(RecipeError, match=r"sequence_tokens is 64, which parallel\.context 3"):
        check_context_degree(SETTINGS, 3, 1)
    with pytest.raises(RecipeError, match=r"asks for 6 processes \(.*tensor 3.*\), 4 run"):
        ParallelSettings(tensor=3, shard=2).degrees(4)
    with pytest.raises(RecipeError, match=r"parallel\.context is 0"):
        ParallelSettings(context=0)


def test_a_group_of_processes_is_told_what_does_not_fit_before_any_step(tmp_path: Path) -> None:
    for layout, words in (
        ({"shard": 2}, "not a multiple of what 2 processes take"),
        ({"pipeline": 2}, "1 micro-batches, fewer than its 2 stages"),
    ):
        with pytest.raises(AssertionError, match=words):
            curves(2, tmp_path, [{**layout, "micro_batch_tokens": SETTINGS.batch_tokens}])


def test_the_command_under_torchrun_trains_and_is_then_up_to_date(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    out, one = tmp_path / "out", tmp_path / "one"
    # Float32: the rounding of bfloat16 depends on how the batch is cut.
    words = ["pretrain", shards_folder, small_tokenizer_folder, "--recipe", recipe_file]
    words += ["--set", "pretrain.max_tokens=5120", "--set", "pretrain.precision=fp32", "--out"]
    end_together(start_together(2, command, *words, out))
    first = (out / "model" / "model.safetensors").read_bytes()
    end_together(start_together(2, command, *words, out))
    assert (out / "model" / "model.safetensors").read_bytes() == first
    subprocess.run([sys.executable, "-m", "tongwen", *map(str, [*words, one])], check=True)
    alone, together = (load_model_folder(path / "model")[0] for path in (one, out))
    for ours, theirs in zip(alone.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_group_stops_together_when_one_is_told_to_and_one_process_goes_on(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    words = ["pretrain", shards_folder, small_tokenizer_folder, "--recipe", recipe_file, "--out"]
    out, one = tmp_path / "out", tmp_path / "one"
    metrics = out / "metrics.jsonl"
    group = start_together(2, stopped_command, 7, signal.SIGTERM, 1, *words, out)
    assert [process.wait() for process in group] == [130, 130]
    stopped = len(samples(read_metrics(metrics)))
    assert 7 <= stopped < 60
    for folder in (out, one):
        run_tongwen(*words, folder)
    assert samples(read_metrics(metrics)) == samples(read_metrics(one / "metrics.jsonl"))


def test_a_model_that_does_not_fit_into_memory_is_refused_before_any_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from layout_worker import run_with

    from tongwen.train.parallel import build

    monkeypatch.setattr(build, "free_memory_bytes", lambda device: 100_000)
    with pytest.raises(DoesNotFitError, match=r"need .* GiB in each process"):
        run_with(SETTINGS, tmp_path)


def test_an_unfinished_run_with_other_settings_or_data_is_refused_with_the_key_that_changed(
    tmp_path: Path,
) -> None:
    from dataclasses import replace

    from layout_worker import run_with

    run_with(replace(SETTINGS, keep_every_steps=SETTINGS.steps), tmp_path)
    (marker,) = tmp_path.glob("checkpoints/*/_FINISHED")
    marker.unlink()  # as if it had been killed
    with pytest.raises(InputError, match=r"unfinished run .*peak_learning_rate 0.01 -> 0.02"):
        run_with(replace(SETTINGS, peak_learning_rate=0.02), tmp_path)
    with pytest.raises(InputError, match=r"data.sequence_tokens 64 -> 32"):
        run_with(replace(SETTINGS, sequence_tokens=32), tmp_path)
    rows = run_with(replace(SETTINGS, checkpoint_every_steps=3, micro_batch_tokens=128), tmp_path)
    assert rows[-1]["step"] == SETTINGS.steps  # these change nothing: it goes on
    anew = replace(SETTINGS, peak_learning_rate=0.02, changed_run="restart")
    assert len(run_with(anew, tmp_path)) == len(rows)
