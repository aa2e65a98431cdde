"""Preference pairs: their layouts, their packing, and the loss by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention

from tongwen.errors import InputError, RecipeError
from tongwen.flow.manifest import Manifest
from tongwen.model.folder import load_model_folder
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.road.alone import run_alone
from tongwen.tokenizer.text import Tokenizer
from tongwen.train import loop
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.metrics import read_metrics
from tongwen.tune.layouts import NotForTuningError
from tongwen.tune.preferences.data import PreferenceSequences, read_pairs
from tongwen.tune.preferences.layouts import preference_pair_of
from tongwen.tune.preferences.objective import PreferenceObjective, answer_log_probabilities
from tongwen.tune.preferences.settings import DpoSettings
from tongwen.tune.settings import PairSettings, TuneSettings

USER = {"role": "user", "content": "Q"}
GOOD = {"role": "assistant", "content": "Good"}
BAD = {"role": "assistant", "content": "Bad"}
LAYOUTS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Q", "chosen": "Good", "rejected": "Bad"},
    "messages": {"prompt": "Q", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3},
    "HH": {
        "chosen": "\n\nHuman: Q\n\nAssistant: Good",
        "rejected": "\n\nHuman: Q\n\nAssistant: Bad",
    },
    "OpenAI pairs": {
        "input": {"messages": [USER]},
        "preferred_output": [GOOD],
        "non_preferred_output": [BAD],
    },
    "prompt, ms-swift": {"query": "Q", "response": "Good", "rejected_response": "Bad"},
    "messages, ms-swift": {"messages": [USER, GOOD], "rejected_response": "Bad"},
    "ShareGPT pairs": {
        "conversations": [{"from": "human", "value": "Q"}],
        "chosen": {"from": "gpt", "value": "Good"},
        "rejected": {"from": "gpt", "value": "Bad"},
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_pair(layout: str) -> None:
    pair = preference_pair_of(LAYOUTS[layout])
    assert pair.layout == layout.split(",")[0]
    assert pair.unused == (("score",) if layout == "messages" else ())
    for side, answer in ((pair.chosen, "Good"), (pair.rejected, "Bad")):
        contents = [(turn["role"], turn["content"]) for turn in side.messages]
        assert contents == [("user", "Q"), ("assistant", answer)]
        assert side.is_learnt == (False, True)


def test_turns_that_both_have_are_context_and_a_system_text_begins_both() -> None:
    before = "\n\nHuman: A\n\nAssistant: Same\n\nHuman: B\n\nAssistant: "
    pair = preference_pair_of({"chosen": before + "Good", "rejected": before + "Bad"})
    assert pair.chosen.is_learnt == (False, False, False, True)
    row = {"system": "S", "question": "Q", "chosen": "Good", "rejected": "Bad"}
    pair = preference_pair_of(row)
    assert [turn["role"] for turn in pair.rejected.messages] == ["system", "user", "assistant"]
    row = {"instruction": "A", "input": "B", "chosen": "Good", "rejected": "Bad"}
    assert preference_pair_of(row).chosen.messages[0]["content"] == "A\nB"
    lists = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
    assert len(preference_pair_of(lists).chosen.messages) == 2


def test_a_row_that_is_no_pair_is_refused() -> None:
    with pytest.raises(NotForTuningError, match="a dialogue and no preference pair"):
        preference_pair_of({"messages": [USER, GOOD]})
    with pytest.raises(InputError, match=r"fields of the row: chosen"):
        preference_pair_of({"chosen": "Good"})
    with pytest.raises(InputError, match="`rejected`: message 2"):
        preference_pair_of({"prompt": "Q", "chosen": "a", "rejected": [USER, {"role": "x"}]})


def pair_rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Which road is {number}?",
            "chosen": "The long road." if number % 2 else "It is long, said the old man.",
            "rejected": "很长。",
        }
        for number in range(count)
    ]


@pytest.fixture
def pair_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [*pair_rows(10), {"prompt": "Q", "chosen": "same", "rejected": "same"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepared(
    folder: Path, pair_file: Path, out: Path, beta: float = 0.3
) -> tuple[Llama, PreferenceSequences, PreferenceObjective]:
    data = read_pairs([pair_file], Tokenizer.load(folder), 128)
    assert (data.training.pairs, data.files[0].without_answer) == (10, 1)
    model, _ = load_model_folder(folder)
    objective = PreferenceObjective(
        beta,
        [data.training],
        sequence_tokens=128,
        sequences_at_once=2,
        device=torch.device("cpu"),
        progress=Progress(),
    )
    objective.prepare(out, "key", lambda: model, torch.float32)
    return model, PreferenceSequences(data.training, 128, seed=0), objective


def test_packed_pairs_have_the_loss_and_gradient_of_a_calculation_by_hand(
    small_model_folder: Path, pair_file: Path, tmp_path: Path
) -> None:
    model, data, objective = prepared(small_model_folder, pair_file, tmp_path)
    batch = data.sequences_at(np.arange(data.sequences))
    assert batch.targets == 10
    assert data.sequences < 10  # several pairs to a sequence
    loss = objective.loss_sum(model, batch, torch.float32)
    assert loss.item() / 10 == pytest.approx(np.log(2), rel=1e-5)  # the model is its reference
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    objective.loss_sum(model, batch, torch.float32).div(10).backward()
    found = {name: item.grad.clone() for name, item in model.named_parameters()}
    value = objective.loss_sum(model, batch, torch.float32).item() / 10
    model.zero_grad()

    tokenizer = Tokenizer.load(small_model_folder)
    reference, _ = load_model_folder(small_model_folder)

    def score(scored: Llama, question: str, answer: str) -> torch.Tensor:
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        ids, wanted = tokenizer.encode_dialogue(messages)
        logits = scored.logits(scored(torch.tensor([ids])))[0].log_softmax(-1)
        places = [place for place in range(1, len(ids)) if wanted[place]]
        return torch.stack([logits[place - 1, ids[place]] for place in places]).sum()

    total = torch.zeros(())
    for row in pair_rows(10):
        gains = [
            score(model, row["prompt"], row[side])
            - score(reference, row["prompt"], row[side]).detach()
            for side in ("chosen", "rejected")
        ]
        total = total - F.logsigmoid(0.3 * (gains[0] - gains[1]))
    (total / 10).backward()
    assert value == pytest.approx(total.item() / 10, rel=1e-4)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(found[name], parameter.grad, rtol=1e-3, atol=1e-5), name


def test_a_micro_batch_has_the_pairs_of_its_rows_and_the_kept_references_are_read_again(
    small_model_folder: Path, pair_file: Path, tmp_path: Path
) -> None:
    model, data, objective = prepared(small_model_folder, pair_file, tmp_path)
    batch = data.sequences_at(np.arange(data.sequences))
    parts = [objective.loss_sum(model, part, torch.float32) for part in batch.split(1)]
    assert sum(parts).item() == pytest.approx(10 * np.log(2), rel=1e-4)  # type: ignore[union-attr]
    learnt = (batch.targets_BT != IGNORED).sum()
    assert 0 < learnt < (batch.documents_BT >= 0).sum()  # type: ignore[operator]
    sums = answer_log_probabilities(model, batch, torch.float32)
    references = batch.references_BA
    assert references is not None
    known = ~references.isnan()
    assert torch.allclose(sums[known], references[known], atol=1e-3)
    before = data.pairs.references.copy()
    data.pairs.references[:] = 0

    def fail() -> Llama:
        raise AssertionError("computed again")

    objective.prepare(tmp_path, "key", fail, torch.float32)
    assert np.array_equal(data.pairs.references, before)


RECIPE = """
[run]
name = "tiny"
[tune]
max_tokens = 2_560
sequence_tokens = 128
batch_tokens = 256
peak_learning_rate = 2e-3
checkpoint_every_steps = 3
held_out_share = 0.2
precision = "fp32"
dpo.beta = 0.5
"""


@pytest.mark.parametrize("method", ["", "lora.rank = 4\n"])
def test_tuning_on_pairs_tells_held_out_pairs_apart_and_resumes_to_the_same_bytes(
    small_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    path, recipe = tmp_path / "pairs.jsonl", tmp_path / "tiny.toml"
    path.write_text("".join(json.dumps(row) + "\n" for row in pair_rows(16)))
    recipe.write_text(RECIPE + method)

    def tune(out: Path) -> Manifest:
        manifest = run_alone(
            "tune",
            inputs={"model": small_model_folder, "tokenizer": small_model_folder},
            out=out,
            recipe=str(recipe),
            overrides=(f"tune.dialogues={json.dumps([str(path)])}",),
        )
        assert manifest is not None
        return manifest

    counts = tune(tmp_path / "whole").counts
    assert counts["pairs"] + counts["pairs_held_out"] == 16
    assert counts["preference_accuracy"] == 1
    assert counts["preference_margin"] > 0.1
    assert counts["held_out_loss"] < np.log(2)
    losses = [
        row["loss"] for row in read_metrics(tmp_path / "whole/metrics.jsonl")
        if row["kind"] == "train"
    ]  # fmt: skip
    assert losses[0] == pytest.approx(np.log(2), rel=1e-3)
    rate = loop.learning_rate

    def cut_off(settings: TuneSettings, tokens: int) -> float:
        if tokens > 5 * 256:
            raise RuntimeError("the power is gone")
        return rate(settings, tokens)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "learning_rate", cut_off)
        with pytest.raises(RuntimeError, match="the power is gone"):
            tune(tmp_path / "cut")
    for kept in (tmp_path / "cut").glob("references-*.npy"):
        kept.unlink()  # they are computed again, of the first weights
    tune(tmp_path / "cut")
    weights = [tmp_path / name / "model/model.safetensors" for name in ("cut", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_settings_that_need_dialogues_are_refused_with_pairs() -> None:
    pair = PairSettings(path="x", question="{q}", answer="{a}")
    for wrong in ({"pairs": (pair,)}, {"replay_share": 0.1}, {"weights": {"a": 2.0}}):
        with pytest.raises(RecipeError, match=r"\[tune\.dpo\] learns from preference pairs"):
            TuneSettings(max_tokens=1, dpo=DpoSettings(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="beta is 0"):
        DpoSettings(beta=0)
