"""A run at a constant rate can be given another length or decay; what is kept of finished runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_loader import load

from tongwen.cli.main import cli
from tongwen.errors import InputError
from tongwen.files import read_json
from tongwen.road.alone import run_alone
from tongwen.train.metrics import read_metrics
from tongwen.train.retention import Retention, by_step, prune, size_of

_TIMES = ("seconds", "tokens_per_second", "mfu_full", "mfu_causal", "peak_memory_bytes")
SHORT, LONG = "pretrain.max_tokens=10240", "pretrain.max_tokens=15360"
WSD = ("pretrain.decay=wsd", "pretrain.evaluate_every_steps=100")


class Tiny:
    """Pretraining of the tiny recipe into folders of one test."""

    def __init__(self, shards: Path, tokenizer: Path, recipe: Path) -> None:
        self.inputs = {"shards": shards, "tokenizer": tokenizer}
        self.recipe = recipe

    def train(self, out: Path, *overrides: str) -> None:
        run_alone(
            "pretrain",
            inputs=self.inputs,
            out=out,
            recipe=str(self.recipe),
            overrides=(*WSD, *overrides),
        )


@pytest.fixture
def tiny(shards_folder: Path, small_tokenizer_folder: Path, recipe_file: Path) -> Tiny:
    return Tiny(shards_folder, small_tokenizer_folder, recipe_file)


def curve(path: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in _TIMES}
        for row in read_metrics(path)
    ]


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def steps_of(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("checkpoints/*/step-*"))


def test_a_longer_run_branches_from_the_constant_part_and_equals_one_planned_so_to_the_bit(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    tiny.train(out, SHORT)
    assert steps_of(out) == ["step-00000016"]  # of 20: the last before the decay
    first, trunk = curve(out / "metrics.jsonl"), next(out.glob("checkpoints/*/")).name
    tiny.train(out, LONG)
    assert f"goes on from step 16 of {trunk}" in capfd.readouterr().err
    tiny.train(whole, LONG)
    assert weights(out) == weights(whole)
    assert curve(out / "metrics.jsonl") == curve(whole / "metrics.jsonl")
    assert curve(out / "checkpoints" / trunk / "metrics.jsonl") == first
    assert steps_of(out) == ["step-00000016", "step-00000024"]

    tiny.train(out, SHORT)  # back again: its own curve and bytes
    assert curve(out / "metrics.jsonl") == first
    tiny.train(out, SHORT, "pretrain.decay_share=0.5", "pretrain.changed_run=restart")
    steps = [row["step"] for row in curve(out / "metrics.jsonl") if row["kind"] == "train"]
    assert steps == list(range(1, 21))


def test_a_branch_keeps_the_warm_up_and_the_batch_ramp_of_its_trunk(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shared = (
        "pretrain.initial_batch_tokens=256",
        "pretrain.batch_ramp_share=0.2",
        "pretrain.warmup_share=0.25",
    )
    out, whole = tmp_path / "out", tmp_path / "whole"
    tiny.train(out, SHORT, *shared)
    tiny.train(out, LONG, *shared)
    assert "its warm-up was 2,560 tokens" in capfd.readouterr().err
    planned = (*shared, "pretrain.warmup_tokens=2560", f"pretrain.batch_ramp_share={0.2 * 2 / 3}")
    tiny.train(whole, LONG, *planned)
    assert weights(out) == weights(whole)
    assert curve(out / "metrics.jsonl") == curve(whole / "metrics.jsonl")


def test_an_unfinished_trunk_goes_on_with_another_decay_and_other_changes_are_refused(
    tiny: Tiny, tmp_path: Path
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    tiny.train(out, SHORT, "pretrain.decay=constant", "pretrain.keep_every_steps=10")
    next(out.glob("checkpoints/*/_FINISHED")).unlink()  # as if it was killed
    with pytest.raises(InputError, match=r"unfinished run .*weight_decay") as caught:
        tiny.train(out, SHORT, "pretrain.weight_decay=0.2")
    assert "wsd" in str(caught.value.hint)
    with pytest.raises(InputError, match=r"unfinished run .*decay 'constant' -> 'cosine'"):
        tiny.train(out, SHORT, "pretrain.decay=cosine")
    tiny.train(out, SHORT, "pretrain.decay_share=0.5")  # step 20 is beyond its constant part
    tiny.train(whole, SHORT, "pretrain.decay_share=0.5")
    assert weights(out) == weights(whole)


@pytest.mark.parametrize("from_share", [0.8, 0.2])
def test_a_mixture_may_change_after_the_branch_but_not_before_it(
    tiny: Tiny, tmp_path: Path, from_share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    mixture = "pretrain.mixture={ en = 0.5, zh-Hans = 0.5 }"
    stage = f"pretrain.mixture_stages=[{{ from_share = {from_share}, weights = {{ en = 1.0 }} }}]"
    out, whole = tmp_path / "out", tmp_path / "whole"
    tiny.train(out, SHORT, mixture)
    tiny.train(out, SHORT, mixture, stage)
    assert ("goes on from step 16" in capfd.readouterr().err) is (from_share == 0.8)
    tiny.train(whole, SHORT, mixture, stage)
    assert weights(out) == weights(whole)


def test_the_model_may_be_the_mean_of_the_last_checkpoints_and_is_scored(
    tiny: Tiny, tmp_path: Path
) -> None:
    averaged, plain = tmp_path / "averaged", tmp_path / "plain"
    tiny.train(averaged, SHORT, "pretrain.average_last=3", "pretrain.checkpoint_every_steps=2")
    ends = []
    tiny.train(plain, SHORT, "pretrain.keep_every_steps=2")
    assert steps_of(averaged) == ["step-00000016"]
    name = "model.embed_tokens.weight"
    found = load_file(averaged / "model" / "model.safetensors")[name]
    for path in sorted(plain.glob("checkpoints/*/step-*"))[-3:]:
        tensors = {name: torch.empty_like(found)}
        with pytest.warns(UserWarning, match="single process"):
            load({"model": tensors}, storage_reader=FileSystemReader(path), no_dist=True)
        ends.append(tensors[name])
    torch.testing.assert_close(found, sum(ends) / 3, rtol=0, atol=1e-7)
    rows = [row for row in curve(averaged / "metrics.jsonl") if row["kind"] == "validation"]
    both = [row["bits_per_byte"] for row in rows if row["language"] == "en"]
    assert len(both) == 2
    assert rows[-1]["weights"] == "mean of steps 16, 18, 20"
    assert both[0] != both[1]
    assert abs(both[0] - both[1]) < 0.2


def test_prune_removes_what_nobody_asks_for_and_says_how_many_bytes(
    tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "run" / "stages" / "pretrain"
    tiny.train(out, SHORT, "pretrain.keep_every_steps=10")
    tiny.train(out, LONG)
    (first, second) = sorted(out.glob("checkpoints/*/"), key=lambda path: by_step(path)[0].name)
    assert [path.name[-2:] for path in by_step(first)] == ["10", "16", "20"]
    extra = second / "step-00000030"  # as an older release left the last one
    extra.mkdir()
    (extra / "__0_0.distcp").write_bytes(b"0" * 2_000_000)

    def called(*words: str) -> str:
        result = CliRunner().invoke(cli, ["prune", str(tmp_path / "run"), *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert "2,000,000 bytes" in called("--dry-run")
    assert extra.exists()
    assert "2,000,000 bytes" in called()
    assert not extra.exists()
    assert "0 bytes" in called()
    assert [path.name[-2:] for path in by_step(first)] == ["10", "16", "20"]
    called("--others")
    assert not by_step(first)
    assert [path.name[-2:] for path in by_step(second)] == ["24"]
    called("--all")
    assert not by_step(second)
    assert (out / "model" / "model.safetensors").exists()
    tiny.train(out, LONG)  # still done


def test_milestones_without_optimizer_states_are_models_of_their_steps(
    tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tiny.train(out, SHORT, "pretrain.keep_every_steps=10")
    (folder,) = out.glob("checkpoints/*/")
    before = size_of([folder])
    called = ["prune", str(out), "--weights-only"]
    result = CliRunner().invoke(cli, [*called, "--dry-run"], catch_exceptions=False)
    assert len(by_step(folder)) == 3
    result = CliRunner().invoke(cli, called, catch_exceptions=False)
    assert "model-00000020 kept" in result.output
    assert not by_step(folder)
    assert size_of([folder]) < 0.6 * before
    last = load_file(folder / "model-00000020" / "model.safetensors")
    model = load_file(out / "model" / "model.safetensors")
    assert all(torch.equal(last[name], model[name]) for name in model)
    earlier = load_file(folder / "model-00000010" / "model.safetensors")
    assert not torch.equal(earlier["model.norm.weight"], model["model.norm.weight"])
    tiny.train(out, SHORT, "pretrain.keep_every_steps=10")  # still done


def test_prune_leaves_an_unfinished_run_alone_and_refuses_a_folder_without_checkpoints(
    tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tiny.train(out, SHORT, "pretrain.keep_every_steps=10")
    next(out.glob("checkpoints/*/_FINISHED")).unlink()
    (found,) = prune(out / "checkpoints", everything=True)
    assert (found.removed, found.why) == ((), "unfinished")
    result = CliRunner().invoke(cli, ["prune", str(tmp_path / "nothing")])
    assert result.exit_code != 0
    assert "no checkpoints" in str(result.exception)
    assert read_json(next(out.glob("checkpoints/*/retention.json")))["every"] == 10


def test_what_is_kept_while_a_run_goes_on_and_after_its_end() -> None:
    keep = Retention(newest=2, every=40, branch_point=72, averaged=3, regular=10, last=90)
    steps = [10, 20, 30, 40, 50, 60, 70, 72, 75, 80]
    assert keep.superfluous(steps, is_finished=False) == [10, 20, 30, 50]
    assert keep.averaged_steps([*steps, 90]) == [70, 80, 90]
    assert keep.superfluous([*steps, 90], is_finished=True) == [10, 20, 30, 50, 60, 70, 75, 90]
    assert keep.is_due(72)
    assert not keep.is_due(75)
