"""Dialogues: what carries loss, what is refused, and that a tuned model answers."""

import gzip
import json
from pathlib import Path

import pytest
import torch
import zstandard
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.errors import InputError, RecipeError
from tongwen.flow.manifest import Manifest
from tongwen.model.folder import load_model_folder
from tongwen.road.alone import run_alone
from tongwen.tokenizer.special import IM_END_ID, PAD_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.metrics import read_metrics
from tongwen.tune.dialogues import read_dialogues
from tongwen.tune.settings import PairSettings

ANSWERS = {"How long is road 1?": "Very long.", "第一条路有多长？": "“很长。” 🚶"}

RECIPE = """
[run]
name = "tiny"
[tune]
max_tokens = 40_960
sequence_tokens = 64
batch_tokens = 512
peak_learning_rate = 5e-3
"""


def rows_of(answers: dict[str, str]) -> list[dict[str, object]]:
    return [
        {
            "lang": "en",
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ],
        }
        for question, answer in answers.items()
    ]


@pytest.fixture
def dialogue_file(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in rows_of(ANSWERS)]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def tokenizer(small_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_tokenizer_folder)


def tune(
    model: Path, out: Path, recipe: Path, *dialogues: Path, overrides: tuple[str, ...] = ()
) -> Manifest:
    names = json.dumps([str(path) for path in dialogues])
    return run_alone(
        "tune",
        inputs={"model": model, "tokenizer": model},
        out=out,
        recipe=str(recipe),
        overrides=(f"tune.dialogues={names}", *overrides),
    )


def test_only_answers_and_their_end_carry_loss_and_padding_never_does(
    dialogue_file: Path, tokenizer: Tokenizer
) -> None:
    data = read_dialogues([dialogue_file], tokenizer, 64)
    batch = PackedSequences(data.documents, 64, seed=0).batch(0, 2)
    for answer in ANSWERS.values():
        wanted = [*tokenizer.encode(answer), IM_END_ID]
        assert any(
            row[place : place + len(wanted)] == wanted
            for row in batch.targets_BT.tolist()
            for place in range(64)
        )
    expected = sum(len(tokenizer.encode(answer)) + 1 for answer in ANSWERS.values())
    epochs = 2 // PackedSequences(data.documents, 64, seed=0).sequences
    assert batch.targets == expected * epochs == data.answer_tokens * epochs
    assert (batch.targets_BT[batch.token_ids_BT == PAD_ID] == IGNORED).all()


def test_dialogues_that_do_not_fit_are_counted_and_none_at_all_is_an_error(
    dialogue_file: Path, tokenizer: Tokenizer
) -> None:
    lengths = sorted(len(tokenizer.encode_dialogue(row["messages"])[0]) for row in rows_of(ANSWERS))
    data = read_dialogues([dialogue_file], tokenizer, lengths[0])
    assert (data.dialogues, data.too_long) == (1, 1)
    with pytest.raises(InputError, match="none of the 2 dialogues fits into 4 tokens"):
        read_dialogues([dialogue_file], tokenizer, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"messages": ', "not JSON"),
        ("[1, 2]", "no list `messages`"),
        ('{"text": "hello"}', r"plain text and no dialogue \(fields of the row: text\)"),
        ('{"title": "hello"}', r"no known layout \(fields of the row: title\)"),
        ("3", "the row is a number"),
        ('{"messages": ["hello"]}', "no list `messages`"),
        ('{"messages": []}', "has no message"),
        ('{"messages": [{"role": "narrator", "content": "x"}]}', "message 1: `role` is 'narrator'"),
        ('{"messages": [{"role": "user", "content": 3}]}', "message 1: `content` is of type int"),
        ('{"messages": [{"role": "user", "content": "嗨"}]}', "nothing to learn"),
        ('{"messages": [{"role": "assistant", "content": "\\ud83d"}]}', "half a character"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(
    dialogue_file: Path, tokenizer: Tokenizer, line: str, message: str
) -> None:
    with dialogue_file.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=rf"dialogues\.jsonl, line 4: .*{message}"):
        read_dialogues([dialogue_file], tokenizer, 64)


def test_bytes_that_are_no_utf8_are_named_by_file_and_line(
    dialogue_file: Path, tokenizer: Tokenizer
) -> None:
    with dialogue_file.open("ab") as file:
        file.write('{"messages": "很长"}'.encode("gb18030") + b"\n")
    with pytest.raises(InputError, match=r"line 4: byte 15 is not UTF-8"):
        read_dialogues([dialogue_file], tokenizer, 64)


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="cannot read the dialogues"):
        read_dialogues([tmp_path / "nowhere.jsonl"], tokenizer, 64)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        read_dialogues([tmp_path / "empty.jsonl"], tokenizer, 64)


def test_a_tuned_model_answers_in_both_languages(
    small_model_folder: Path, dialogue_file: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "chat"
    manifest = tune(small_model_folder, out, recipe_file, dialogue_file)
    assert manifest.counts["dialogues"] == 2
    assert manifest.counts["epochs"] > 100
    model, _ = load_model_folder(out / "model")
    tokenizer = Tokenizer.load(out / "model")
    for question, answer in ANSWERS.items():
        messages = [{"role": "user", "content": question}]
        ids, _ = tokenizer.encode_dialogue(messages, add_generation_prompt=True)
        new_ids: list[int] = []
        with torch.no_grad():
            while len(new_ids) < 40 and (not new_ids or new_ids[-1] != IM_END_ID):
                hidden = model(torch.tensor([ids + new_ids]))
                new_ids.append(int(model.logits(hidden[0, -1]).argmax()))
        assert tokenizer.decode(new_ids) == answer


def test_a_sequence_beyond_the_window_is_refused(
    small_model_folder: Path, dialogue_file: Path, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="the model has 128 positions"):
        tune(
            small_model_folder,
            tmp_path / "chat",
            recipe_file,
            dialogue_file,
            overrides=("tune.sequence_tokens=256",),
        )


def test_no_dialogues_at_all_is_an_error(
    small_model_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="names anything to learn"):
        tune(small_model_folder, tmp_path / "chat", recipe_file)


def test_pairs_of_the_recipe_need_no_file_on_the_command_line(
    small_model_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "alpaca.jsonl"
    rows.write_text('{"instruction": "Say hello", "output": "Hello"}\n', encoding="utf-8")
    pairs = '[{path = "alpaca.jsonl", question = "{instruction}", answer = "{output}"}]'
    recipe_file.write_text(f"{RECIPE}pairs = {pairs}\n", encoding="utf-8")
    result = CliRunner().invoke(
        cli,
        ["tune", str(small_model_folder), "--out", str(tmp_path / "chat"),
         "--recipe", str(recipe_file), "--set", "tune.max_tokens=512"],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0
    manifest = Manifest.read(tmp_path / "chat" / "manifest.json")
    assert manifest is not None
    assert manifest.counts["dialogues"] == 1


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_rows_of_another_shape_become_dialogues_by_a_template(
    tmp_path: Path, small_tokenizer_folder: Path, suffix: str
) -> None:
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path = tmp_path / f"pairs.jsonl{suffix}"
    path.write_bytes(compress('{"en": "Hello", "zh": "“你好”{en}"}\n'.encode()))
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    pair = PairSettings(path=str(path), question="Say in Chinese: {en}", answer="{zh}")
    data = read_dialogues([], tokenizer, 128, pairs=[(path, pair)])
    text = tokenizer.decode(data.documents.parts[0].tolist(), show_special=True)
    assert text == (
        "<|im_start|>user\nSay in Chinese: Hello<|im_end|>\n"
        "<|im_start|>assistant\n“你好”{en}<|im_end|>\n"
    )


def test_a_template_with_an_unknown_field_names_the_file_line_and_fields(
    tmp_path: Path, small_tokenizer_folder: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"en": "Hello", "zh": "你好"}\n', encoding="utf-8")
    pair = PairSettings(path=str(path), question="{english}", answer="{zh}")
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    with pytest.raises(InputError, match=r"line 1: the row has no field 'english'") as caught:
        read_dialogues([], tokenizer, 128, pairs=[(path, pair)])
    assert caught.value.hint == "fields of the row: en, zh"


def test_a_held_out_share_measures_the_loss_on_answers_and_epochs_end_the_run(
    small_model_folder: Path, recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of({f"What is {n} + 1?": f"{n + 1}." for n in range(100)})
    rows[7]["reasoning"] = "one more"
    path = tmp_path / "many.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n{}\n", encoding="utf-8")
    overrides = ("tune.held_out_share=0.1", "tune.epochs=3", "tune.peak_learning_rate=1e-3")
    manifest = tune(small_model_folder, tmp_path / "chat", recipe_file, path, overrides=overrides)
    counts = manifest.counts
    assert counts["dialogues"] + counts["dialogues_held_out"] == 100
    assert counts["dialogues_held_out"] > 1
    assert counts["bad_rows"] == 1
    assert 3 <= counts["epochs"] < 4
    metrics = read_metrics(tmp_path / "chat" / "metrics.jsonl")
    (measured,) = (row for row in metrics if row["kind"] == "validation")
    assert measured["language"] == "answers"
    assert counts["held_out_loss"] == pytest.approx(measured["loss"], abs=1e-4)
    shown = capfd.readouterr().err
    assert "many.jsonl: 100 dialogues (messages 100)" in shown
    assert "left out: 1 malformed row (the first: line 101: no known layout" in shown
    assert "unused fields: lang 100, reasoning 1" in shown
    assert "held out to measure the loss on answers" in shown


def test_a_batch_beyond_all_epochs_and_too_few_tokens_for_them_are_said(
    small_model_folder: Path,
    dialogue_file: Path,
    recipe_file: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, epochs, message in (
        ("a", 2, "one batch of 512 tokens is more than the 128 tokens of all epochs"),
        ("b", 1e6, "tune.max_tokens ends the run at 512"),
    ):
        overrides = (f"tune.epochs={epochs}", "tune.max_tokens=512")
        out = tmp_path / name
        tune(small_model_folder, out, recipe_file, dialogue_file, overrides=overrides)
        assert message in capfd.readouterr().err
