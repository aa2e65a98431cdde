"""A run that was killed at any moment ends with the bytes of one that was not."""

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import Forked, run_tongwen, stopped_command

from tongwen.errors import DiskFullError, InputError, RecipeError
from tongwen.flow import versions
from tongwen.model.folder import load_model_folder
from tongwen.road.alone import run_alone
from tongwen.train import guard, passes
from tongwen.train.checkpoint import Checkpoints
from tongwen.train.metrics import read_metrics
from tongwen.train.recovery import DivergedError

_TIMES = ("seconds", "tokens_per_second", "mfu_full", "mfu_causal", "peak_memory_bytes")


def pretrain(shards: Path, tokenizer: Path, out: Path, recipe: Path, *overrides: str) -> None:
    run_alone(
        "pretrain",
        inputs={"shards": shards, "tokenizer": tokenizer},
        out=out,
        recipe=str(recipe),
        overrides=overrides,
    )


def curve(out: Path) -> list[dict[str, Any]]:
    """The metrics without times."""
    return [
        {key: value for key, value in row.items() if key not in _TIMES}
        for row in read_metrics(out / "metrics.jsonl")
    ]


def model_files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "model").iterdir()}


@pytest.fixture
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So many threads, here and in processes started here."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    monkeypatch.setenv("OMP_NUM_THREADS", str(request.param))
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("changed", "threads"), [("", 2), ("head_gradient_samples = 32\n", 1)], indirect=["threads"]
)
def test_a_killed_run_ends_with_the_bytes_and_the_curve_of_an_undisturbed_one(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    changed: str,
) -> None:
    recipe = recipe_file.read_text().replace("[pretrain]\n", f"[pretrain]\n{changed}")
    recipe_file.write_text(recipe.replace("max_tokens = 30_720", "max_tokens = 15_360"))
    words = (shards_folder, small_tokenizer_folder)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    pretrain(*words, undisturbed, recipe_file)
    command = ("pretrain", *words, "--recipe", recipe_file, "--out", killed)
    for rows, number in ((7, signal.SIGKILL), (9, signal.SIGTERM)):
        process = Forked(stopped_command, rows, number, 0, *command)
        assert process.wait() == (130 if number == signal.SIGTERM else -number)
        process.end()
    run_tongwen(*command)
    assert model_files(killed) == model_files(undisturbed)
    assert curve(killed) == curve(undisturbed)
    assert [row["step"] for row in curve(killed) if row["kind"] == "train"] == list(range(1, 31))


@pytest.fixture
def trained(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> Path:
    recipe = recipe_file.read_text().replace("[pretrain]\n", "[pretrain]\nkeep_every_steps = 30\n")
    recipe_file.write_text(recipe)
    pretrain(shards_folder, small_tokenizer_folder, tmp_path / "out", recipe_file)
    return tmp_path / "out"


def test_training_lowers_the_loss_in_both_languages_and_writes_a_model_that_loads(
    trained: Path,
) -> None:
    rows = curve(trained)
    for language in ("en", "zh"):
        bits = [row["bits_per_byte"] for row in rows if row.get("language") == language]
        assert len(bits) == 3
        assert bits[-1] < bits[0]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < 0.7 * losses[0]
    model, config = load_model_folder(trained / "model")
    assert config.vocabulary_size == 400
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    kept = sorted(path.name for path in (trained / "checkpoints").glob("*/step-*"))
    assert kept == ["step-00000030", "step-00000060"]


def test_a_damaged_checkpoint_is_passed_over_and_the_one_before_is_used(
    trained: Path,
    shards_folder: Path,
    small_tokenizer_folder: Path,
    recipe_file: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before, rows = model_files(trained), curve(trained)
    (state,) = trained.glob("checkpoints/*/step-00000060/__0_0.distcp")
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    (trained / "manifest.json").unlink()
    (trained / "model" / "config.json").unlink()
    pretrain(shards_folder, small_tokenizer_folder, trained, recipe_file)
    messages = capfd.readouterr().err
    assert "step-00000060 is damaged" in messages
    assert "continues after step 30" in messages
    assert model_files(trained) == before
    found = curve(trained)
    (damaged,) = [row for row in found if row["kind"] == "damaged_checkpoint"]
    assert damaged["checkpoint"] == "step-00000060"
    assert [row for row in found if row != damaged] == rows


def test_checkpoints_of_other_settings_are_neither_used_nor_removed(
    trained: Path,
    shards_folder: Path,
    small_tokenizer_folder: Path,
    recipe_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = (shards_folder, small_tokenizer_folder)
    changed = ("pretrain.peak_learning_rate=1e-3", "pretrain.max_tokens=5120")
    pretrain(*words, trained, recipe_file, *changed)
    assert "2 checkpoints of other models, settings or data stay" in capfd.readouterr().err
    assert len(list(trained.glob("checkpoints/*/step-00000060"))) == 1
    pretrain(*words, tmp_path / "fresh", recipe_file, *changed)
    assert model_files(trained) == model_files(tmp_path / "fresh")


def test_what_other_code_finished_is_trained_again_and_what_it_left_unfinished_goes_on(
    trained: Path,
    shards_folder: Path,
    small_tokenizer_folder: Path,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = (shards_folder, small_tokenizer_folder, trained, recipe_file)
    before, rows = model_files(trained), curve(trained)
    (first,) = trained.glob("checkpoints/*/")
    monkeypatch.setattr(versions, "code_of", lambda name, module: "7")
    pretrain(*words)
    said = capfd.readouterr().err
    assert "pretrain: runs again, the code of pretrain has changed (version " in said
    assert "continues after" not in said
    aside = {path.name for path in trained.glob("checkpoints/*/")} - {first.name}
    assert len(aside) == 1  # kept, as a run of other settings is
    assert (model_files(trained), curve(trained)) == (
        before,
        rows,
    )  # it was the same code after all

    (first / "_FINISHED").unlink()  # as if it was killed
    monkeypatch.setattr(versions, "code_of", lambda name, module: "8")
    pretrain(*words)
    assert "continues after step 60" in capfd.readouterr().err
    assert {path.name for path in trained.glob("checkpoints/*/")} == {first.name, *aside}


def test_a_full_disk_keeps_the_checkpoint_before_and_the_run_goes_on_from_it(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    words = (shards_folder, small_tokenizer_folder, out, recipe_file)
    true_write, true_save = torch.save, Checkpoints.save
    saves = []

    def write_until_full(item: Any, file: Any, *arguments: Any, **options: Any) -> None:
        if len(saves) < 3:
            true_write(item, file, *arguments, **options)
            return
        file.write(b"half a checkpoint")
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 - as torch does it

    def counted_save(self: Checkpoints, *arguments: Any) -> None:
        saves.append(1)
        true_save(self, *arguments)

    monkeypatch.setattr(torch, "save", write_until_full)
    monkeypatch.setattr(Checkpoints, "save", counted_save)
    with pytest.raises(DiskFullError, match="step-00000015"):
        pretrain(*words)
    assert sorted(path.name for path in (out / "checkpoints").glob("*/step-*")) == [
        "step-00000005",
        "step-00000010",
    ]
    monkeypatch.undo()
    pretrain(*words)
    assert [row["step"] for row in curve(out) if row["kind"] == "train"] == list(range(1, 61))


def multiply_losses(
    monkeypatch: pytest.MonkeyPatch, factor: Callable[[int], float]
) -> list[torch.Tensor]:
    """Multiply each micro-batch's loss by what `factor` gives for its number, from 1; gives the
    list of the losses so far, which may be cleared.
    """
    true_loss = passes.mean_loss
    losses: list[torch.Tensor] = []

    def changed(*arguments: Any) -> torch.Tensor:
        loss = true_loss(*arguments)
        losses.append(loss.detach())
        return loss * factor(len(losses))

    monkeypatch.setattr(passes, "mean_loss", changed)
    return losses


def test_a_signal_in_the_last_step_ends_the_command_when_the_model_is_written(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(call: int) -> float:
        if call == 120:  # 60 steps of two micro-batches
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    calls = multiply_losses(monkeypatch, interrupt)
    words = (shards_folder, small_tokenizer_folder, tmp_path / "out", recipe_file)
    with pytest.raises(KeyboardInterrupt):
        pretrain(*words)
    before = model_files(tmp_path / "out")
    pretrain(*words)
    assert len(calls) == 120
    assert model_files(tmp_path / "out") == before


def test_a_step_without_a_finite_loss_is_skipped_and_counted_and_ten_in_a_row_stop_the_run(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (shards_folder, small_tokenizer_folder)
    calls = multiply_losses(monkeypatch, lambda call: float("nan") if bad(call) else 1.0)
    bad = {9, 20}.__contains__
    pretrain(*words, tmp_path / "two", recipe_file)
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["counts"]["skipped_steps"] == 2
    model, _ = load_model_folder(tmp_path / "two" / "model")
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    calls.clear()
    bad = (20).__lt__
    with pytest.raises(DivergedError, match="10 steps in a row, up to step 20"):
        pretrain(*words, tmp_path / "many", recipe_file)
    assert [row["step"] for row in curve(tmp_path / "many") if row["kind"] == "rollback"] == [
        10
    ] * 3


def test_a_spike_that_stays_is_left_behind_with_its_data(
    shards_folder: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multiply_losses(monkeypatch, lambda call: 1000.0 if 80 < call <= 100 else 1.0)
    monkeypatch.setattr(guard, "_LEAST_STEPS", 20)
    out = tmp_path / "out"
    pretrain(shards_folder, small_tokenizer_folder, out, recipe_file)
    rows = curve(out)
    (rollback,) = [row for row in rows if row["kind"] == "rollback"]
    assert (rollback["step"], rollback["from_step"], rollback["samples"]) == (40, 50, 50 * 8)
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    assert (counts["rollbacks"], counts["skipped_steps"], counts["steps"]) == (1, 10, 60)
    assert counts["time_skipped_share"] > 0


def test_sequences_beyond_the_model_window_are_refused_before_work(
    shards_folder: Path, small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    with pytest.raises(RecipeError, match=r"sequence_tokens is 128, but .* is 64"):
        pretrain(
            shards_folder,
            small_tokenizer_folder,
            tmp_path / "out",
            recipe_file,
            "pretrain.sequence_tokens=128",
        )


def test_shards_of_another_tokenizer_are_refused(
    shards_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    from tongwen.tokenizer.export import write_tokenizer_folder
    from tongwen.tokenizer.train import train_model

    other = tmp_path / "other"
    write_tokenizer_folder(
        train_model(["Another text. 另一段文字。"] * 9, vocabulary_size=320), other
    )
    with pytest.raises(InputError, match="was encoded with another tokenizer"):
        pretrain(shards_folder, other, tmp_path / "out", recipe_file)


def test_a_folder_without_shards_is_refused(
    small_tokenizer_folder: Path, tmp_path: Path, recipe_file: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no training shard"):
        pretrain(tmp_path / "empty", small_tokenizer_folder, tmp_path / "out", recipe_file)


def test_pretrain_goes_on_from_the_weights_of_another_model_with_the_same_command(
    trained: Path,
    shards_folder: Path,
    small_tokenizer_folder: Path,
    recipe_file: Path,
    tmp_path: Path,
) -> None:
    words = (shards_folder, small_tokenizer_folder)
    base = f"pretrain.base={json.dumps(str(trained / 'model'))}"
    few = ("pretrain.max_tokens=2560", "model.hidden_size=64")  # the base's shape is taken
    pretrain(*words, tmp_path / "more", recipe_file, base, *few)
    last = [row["loss"] for row in curve(trained) if row["kind"] == "train"][-1]
    first = [row["loss"] for row in curve(tmp_path / "more") if row["kind"] == "train"][0]
    assert first == pytest.approx(last, abs=0.3)
    again, _ = load_model_folder(tmp_path / "more" / "model")
    assert again.config.hidden_size == 32
    with pytest.raises(InputError, match="there is no model folder"):
        pretrain(*words, tmp_path / "none", recipe_file, 'pretrain.base="/nowhere"')
    with pytest.raises(RecipeError, match=r"sequence_tokens is 128, but .* is 64"):
        pretrain(*words, tmp_path / "long", recipe_file, base, "pretrain.sequence_tokens=128")


def test_a_base_model_of_another_tokenizer_or_with_a_missing_tensor_is_refused(
    trained: Path,
    shards_folder: Path,
    small_tokenizer_folder: Path,
    recipe_file: Path,
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    from tongwen.tokenizer.export import write_tokenizer_folder
    from tongwen.tokenizer.train import train_model

    words = (shards_folder, small_tokenizer_folder)
    folder = trained / "model"
    base = f"pretrain.base={json.dumps(str(folder))}"
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    lost = weights.pop(name)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InputError, match=f"lacks 1 tensors, the first is {name}"):
        pretrain(*words, tmp_path / "missing", recipe_file, base)
    save_file({**weights, name: lost[1:]}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"up_proj.weight has shape \(63, 32\), expected"):
        pretrain(*words, tmp_path / "shape", recipe_file, base)
    save_file({**weights, name: lost}, folder / "model.safetensors")
    other = train_model(["Another text. 另一段文字。"] * 9, vocabulary_size=320)
    write_tokenizer_folder(other, folder)
    with pytest.raises(InputError, match="the shards were made with the tokenizer"):
        pretrain(*words, tmp_path / "other", recipe_file, base)
