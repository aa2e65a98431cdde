"""Plain text next to dialogues: replay, what is forgotten, and files with weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from tongwen.errors import InputError, RecipeError
from tongwen.flow.manifest import Manifest
from tongwen.road.alone import run_alone
from tongwen.tokenizer.special import IM_START_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.metrics import read_metrics
from tongwen.tune.dialogues import read_dialogues
from tongwen.tune.plain_text import ReplayedSequences, plain_text_of_files

RECIPE = """
[run]
name = "tiny"
[tune]
max_tokens = 1_024
sequence_tokens = 64
batch_tokens = 256
peak_learning_rate = 1e-2
held_out_share = 0
"""


def write_rows(path: Path, count: int, word: str = "road") -> Path:
    rows = [
        {"question": f"How long is {word} {number}?", "answer": f"It is {number} long."}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def texts(tmp_path: Path) -> list[Path]:
    english, chinese = tmp_path / "en.txt", tmp_path / "zh.txt"
    paragraphs = [f"The old road number {n} is long, said the man. " * 30 for n in range(12)]
    english.write_text("\n\n".join(paragraphs))
    lines = [f"第{n}条路很长，老人说。" * 120 for n in range(12)]
    chinese.write_bytes("\n\n".join(lines).encode("gb18030"))
    return [english, chinese]


def test_text_files_of_any_encoding_are_learnt_and_measured_apart_in_both_languages(
    texts: list[Path], small_tokenizer_folder: Path
) -> None:
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    text = plain_text_of_files(texts, tokenizer)
    again = plain_text_of_files(texts[::-1], tokenizer)
    assert text.training is not None
    assert set(text.measured) <= {"en", "zh"}
    assert text.measured
    counted = len(text.training.starts) + sum(len(d.starts) for d in text.measured.values())
    assert counted == 24
    assert again.measured.keys() == text.measured.keys()
    empty = texts[0].with_name("empty.txt")
    empty.write_text(" \n")
    with pytest.raises(InputError, match=r"empty\.txt is empty"):
        plain_text_of_files([empty], tokenizer)
    with pytest.raises(InputError, match=r"cannot read the plain text .*nowhere"):
        plain_text_of_files([empty.with_name("nowhere")], tokenizer)


def test_a_replay_share_is_that_share_of_any_thousand_sequences_and_a_batch_is_both(
    texts: list[Path], small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    file = write_rows(tmp_path / "rows.jsonl", 30)
    dialogues = PackedSequences(read_dialogues([file], tokenizer, 64).documents, 64, seed=1)
    text = plain_text_of_files(texts, tokenizer)
    assert text.training is not None
    mixed = ReplayedSequences(dialogues, PackedSequences(text.training, 64, seed=1), 0.25, seed=1)
    batch = mixed.batch(0, 1_000)
    is_text = (batch.token_ids_BT != IM_START_ID).all(1).numpy()
    assert is_text.sum() == 250
    assert is_text[:100].any()
    # Of plain text every token but the first of a document is a target, of dialogues the answers.
    shares = (batch.targets_BT != IGNORED).float().mean(1).numpy()
    assert shares[is_text].mean() > 0.8 > 0.6 > shares[~is_text].mean()
    assert mixed.describe(2_000)["replayed_sequences"] == 500
    parts = [mixed.batch(0, 3), mixed.batch(3, 7)]
    assert np.array_equal(
        batch.token_ids_BT[:10].numpy(), np.concatenate([p.token_ids_BT.numpy() for p in parts])
    )
    assert batch.targets == int((batch.targets_BT != IGNORED).sum())


def test_a_run_says_what_plain_text_costs_before_and_after(
    small_model_folder: Path, texts: list[Path], tmp_path: Path
) -> None:
    recipe, file = tmp_path / "tiny.toml", write_rows(tmp_path / "rows.jsonl", 30)
    recipe.write_text(RECIPE)

    def tune(out: str, *overrides: str) -> Manifest:
        manifest = run_alone(
            "tune",
            inputs={"model": small_model_folder, "tokenizer": small_model_folder},
            out=tmp_path / out,
            recipe=str(recipe),
            overrides=(f"tune.dialogues={json.dumps([str(file)])}", *overrides),
        )
        assert manifest is not None
        return manifest

    named = f"tune.plain_text={json.dumps([str(path) for path in texts])}"
    counts = tune("replayed", named, "tune.replay_share=0.5", "tune.max_tokens=4096").counts
    rows = read_metrics(tmp_path / "replayed/metrics.jsonl")
    text = [row for row in rows if row["kind"] == "plain_text"]
    for language in {row["language"] for row in text}:
        first, last = [row for row in text if row["language"] == language]
        assert (first["step"], last["step"]) == (0, 16)
        assert counts[f"{language}_bits_per_byte_before"] == round(first["bits_per_byte"], 4)
        assert counts[f"{language}_bits_per_byte_after"] == round(last["bits_per_byte"], 4)
        assert last["bits_per_byte"] < first["bits_per_byte"]
    assert counts["replayed_sequences"] > 10
    with pytest.raises(RecipeError, match="there is no plain text to learn"):
        tune("without", "tune.replay_share=0.5")


def test_a_file_of_weight_two_is_learnt_twice_and_one_of_a_half_by_half(
    small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    files = [write_rows(tmp_path / f"{word}.jsonl", 200, word) for word in ("road", "old")]
    weights = {"road.jsonl": 2.0, "old.jsonl": 0.5}
    plain = read_dialogues(files, tokenizer, 64)
    data = read_dialogues(files, tokenizer, 64, weights=weights, held_out_share=0.1)
    again = read_dialogues(files[::-1], tokenizer, 64, weights=weights, held_out_share=0.1)
    assert data.held_out is not None
    assert 20 < data.held_out.dialogues < 60
    assert 320 < data.dialogues - 0.45 * 200 < 400
    assert data.dialogues == again.dialogues
    assert data.documents.total_tokens == len(data.documents.parts[0])
    first = data.documents.parts[0][: int(data.documents.tokens[0])].tolist()
    second = data.documents.parts[0][int(data.documents.starts[1]) :][: len(first)].tolist()
    assert first == second
    assert first in [
        plain.documents.parts[0][start : start + tokens].tolist()
        for start, tokens in zip(plain.documents.starts, plain.documents.tokens, strict=True)
    ]
    with pytest.raises(RecipeError, match=r"tune\.weights names 'new\.jsonl'"):
        read_dialogues(files, tokenizer, 64, weights={"new.jsonl": 1.0})
