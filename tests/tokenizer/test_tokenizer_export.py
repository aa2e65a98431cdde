"""The Hugging Face files give the ids of the SentencePiece model; the suite finds faults."""

import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tongwen.cli.tokenizer import command
from tongwen.errors import InputError
from tongwen.files import read_json, write_json
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.samples import DIALOGUES, MARKERS, TEXTS
from tongwen.tokenizer.special import chat_prompt, generation_config
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.verify import verify_folder


@pytest.fixture(scope="module")
def fast(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_fast_and_sentencepiece_agree_on_any_text(
    tokenizer: Tokenizer, fast: tokenizers.Tokenizer, text: str
) -> None:
    ids = tokenizer.encode(text, allow_special=True)
    assert fast.encode(text).ids == ids
    assert fast.decode(ids, skip_special_tokens=False) == text


def test_fast_and_sentencepiece_agree_where_merges_overlap(
    tokenizer: Tokenizer, fast: tokenizers.Tokenizer, texts: list[str]
) -> None:
    rng = random.Random(7)
    parts = [*" -=.a*\n\t0", "  ", "▁", "\0", "，", "中", "同文馆", "😀", "<|im_end|>", "the "]
    for _ in range(3_000):
        text = "".join(rng.choice(parts) * rng.randint(1, 9) for _ in range(rng.randint(1, 12)))
        assert fast.encode(text).ids == tokenizer.encode(text, allow_special=True), text
    for text in texts:
        assert fast.encode(text).ids == tokenizer.encode(text)


def test_transformers_loads_the_folder_with_equal_ids_and_template(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    model_folder = tmp_path / "model"
    shutil.copytree(folder, model_folder)
    write_json(model_folder / "config.json", {"model_type": "llama", "vocab_size": 900})
    for path in (folder, model_folder):
        loaded = AutoTokenizer.from_pretrained(path)
        assert len(loaded) == tokenizer.vocabulary_size
        assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (1, 2, 0)
        for text in (*TEXTS, *MARKERS):
            ids = tokenizer.encode(text, allow_special=True)
            assert loaded(text)["input_ids"] == ids
            assert loaded.decode(ids) == text
        for messages in DIALOGUES:
            rendered = loaded.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            assert rendered == chat_prompt(messages)


def test_the_files_are_the_same_every_time(model: bytes, folder: Path, tmp_path: Path) -> None:
    write_tokenizer_folder(model, tmp_path)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def failed(folder: Path) -> set[str]:
    return {item.name for item in verify_folder(folder) if item.passed is False}


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copied"
    shutil.copytree(folder, path)
    return path


def test_our_tokenizer_passes_the_whole_suite_beside_a_model(copied: Path) -> None:
    write_json(copied / "generation_config.json", generation_config())
    write_json(copied / "config.json", {"vocab_size": 900, "eos_token_id": [2, 7]})
    save_file(
        {"model.embed_tokens.weight": np.zeros((900, 2), dtype=np.float32)},
        copied / "model.safetensors",
    )
    assert all(item.passed for item in verify_folder(copied))


def test_the_suite_finds_a_dummy_prefix(copied: Path) -> None:
    path = copied / "tokenizer.json"
    wrong = tokenizers.Tokenizer.from_file(str(path))
    wrong.normalizer = normalizers.Prepend(" ")
    wrong.save(str(path))
    names = failed(copied)
    assert "no dummy prefix (Hugging Face fast)" in names
    assert "a dialogue turn by turn is the whole dialogue (Hugging Face fast)" in names
    assert "SentencePiece and Hugging Face fast give equal ids" in names
    assert not any("(SentencePiece)" in name for name in names)


def test_the_suite_finds_folded_punctuation(copied: Path) -> None:
    path = copied / "tokenizer.json"
    wrong = tokenizers.Tokenizer.from_file(str(path))
    wrong.normalizer = normalizers.NFKC()
    wrong.save(str(path))
    assert "full-width punctuation is kept (Hugging Face fast)" in failed(copied)


@pytest.mark.parametrize(
    ("file", "content", "check"),
    [
        ("generation_config.json", {"eos_token_id": 7}, "where an answer ends"),
        ("config.json", {"vocab_size": 902}, "size is that of the model's embedding"),
        ("tokenizer_config.json", {"add_bos_token": True}, "nothing is added"),
    ],
)
def test_the_suite_finds_files_that_disagree(
    copied: Path, file: str, content: dict[str, int], check: str
) -> None:
    before = read_json(copied / file) if (copied / file).exists() else {}
    write_json(copied / file, {**before, **content})
    assert any(check in name for name in failed(copied))


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
)


@pytest.mark.parametrize(
    ("content", "check", "reason"),
    [
        ({"tokenizer_class": "LlamaTokenizer"}, "as it is written", "'LlamaTokenizer'"),
        ({"tokenizer_class": "LlamaTokenizerFast"}, "as it is written", "'LlamaTokenizerFast'"),
        ({"tokenizer_class": "Qwen2Tokenizer"}, "as it is written", "'Qwen2Tokenizer'"),
        ({"tokenizer_class": 3}, "as it is written", "tokenizer_class 3"),
        ({"clean_up_tokenization_spaces": True}, "as it is written", "clean_up"),
        (
            {"chat_template": "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}"},
            "the chat template writes ChatML",
            "writes '[INST]Hi[/INST]'",
        ),
        ({"chat_template": CHATML}, "the chat template writes ChatML", "not '<|im_start|>assis"),
        ({"chat_template": "{% for %}"}, "the chat template writes ChatML", "it fails on"),
        ({"chat_template": "{{ raise_exception('no') }}"}, "the chat template writes", ": no"),
        ({"chat_template": "{{ messages.append(1) }}"}, "the chat template writes", "is unsafe"),
        ({"eos_token": "</s>"}, "which pieces are special", "eos_token is '</s>'"),
        ({"bos_token": "<|im_end|>"}, "which pieces are special", "bos_token is <|im_end|> in"),
    ],
)
def test_the_suite_reads_what_tokenizer_config_says(
    copied: Path, content: dict[str, object], check: str, reason: str
) -> None:
    path = copied / "tokenizer_config.json"
    write_json(path, {**read_json(path), **content})
    details = [item.detail for item in verify_folder(copied) if item.passed is False]
    assert any(check in name for name in failed(copied))
    assert any(reason in detail for detail in details), details


@pytest.mark.parametrize(
    ("number", "change", "reason"),
    [
        ("7", {"special": False}, "<|im_end|> is not special"),
        ("7", {"content": "<|end|>"}, "<|end|> is special, the tokenizer says otherwise"),
        ("7", {"content": "<|im_start|>"}, "says <|im_start|> is 7, its id is 6"),
        ("6", {"rstrip": True}, "rstrip of <|im_start|>"),
    ],
)
def test_the_suite_reads_the_flags_of_special_pieces(
    copied: Path, number: str, change: dict[str, object], reason: str
) -> None:
    path = copied / "tokenizer_config.json"
    config = read_json(path)
    config["added_tokens_decoder"][number] |= change
    write_json(path, config)
    (wrong,) = [item for item in verify_folder(copied) if item.passed is False]
    assert wrong.name == "the files agree on which pieces are special"
    assert reason in wrong.detail


def test_a_template_file_goes_before_the_one_in_the_configuration(copied: Path) -> None:
    (copied / "chat_template.jinja").write_text("{{ messages[0].content }}", encoding="utf-8")
    assert {name.split(" (")[0] for name in failed(copied)} == {"the chat template writes ChatML"}


def test_the_class_of_the_model_type_counts_where_the_folder_names_none(copied: Path) -> None:
    path = copied / "tokenizer_config.json"
    config = read_json(path)
    del config["tokenizer_class"]
    write_json(path, config)
    write_json(copied / "config.json", {"vocab_size": 900, "model_type": "llama"})
    assert failed(copied) == {"transformers reads the tokenizer as it is written"}


@pytest.mark.parametrize("kept", ["tokenizer.model", "tokenizer.json"])
def test_a_folder_with_one_of_the_two_files_is_checked_as_far_as_it_goes(
    copied: Path, kept: str
) -> None:
    other = {"tokenizer.model": "tokenizer.json", "tokenizer.json": "tokenizer.model"}[kept]
    (copied / other).unlink()
    assert not failed(copied)
    assert any(item.passed is None for item in verify_folder(copied))


def test_a_folder_without_any_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no tokenizer"):
        verify_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b'{"a":'),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.model", b"version https://git-lfs"),
        ("tokenizer_config.json", b'{"x"'),
        ("config.json", b"[]"),
        ("generation_config.json", b"\xff"),
        ("model.safetensors", b"{}"),
        ("model.safetensors", b"\xff" * 100),
        ("model.safetensors.index.json", b"[]"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_with_a_hint(
    copied: Path, name: str, content: bytes
) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(copied / name))) as caught:
        verify_folder(copied)
    assert caught.value.hint


def test_a_folder_that_does_not_exist_and_a_file_that_is_no_tokenizer_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        verify_folder(tmp_path / "typo")
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match="no SentencePiece model"):
        verify_folder(tmp_path / "notes.txt")


def test_a_tokenizer_of_another_kind_gets_a_verdict(tmp_path: Path) -> None:
    """Byte-level pieces without ChatML, as many published models have."""
    other = tokenizers.Tokenizer(models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    other.train_from_iterator(["the market 12 同文馆"] * 10, trainer)
    other.enable_truncation(4)
    other.save(str(tmp_path / "tokenizer.json"))
    checks = {item.name: item for item in verify_folder(tmp_path)}
    round_trip = "decode(encode(text)) is the text, byte for byte (Hugging Face fast)"
    assert checks[round_trip].passed
    assert checks["no dummy prefix (Hugging Face fast)"].passed
    pieces = checks["<|im_end|> and a newline are two pieces (Hugging Face fast)"]
    assert (pieces.passed, pieces.detail) == (False, "it has no control piece <|im_end|>")
    turns = checks["a dialogue turn by turn is the whole dialogue (Hugging Face fast)"]
    assert turns.passed is None
    result = CliRunner().invoke(command, ["verify", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 1


def test_verify_exits_with_the_result(copied: Path) -> None:
    result = CliRunner().invoke(command, ["verify", str(copied)])
    assert result.exit_code == 0
    assert "FAIL" not in result.output
    write_json(copied / "config.json", {"vocab_size": 1})
    result = CliRunner().invoke(command, ["verify", str(copied), "--json"])
    assert result.exit_code == 1
    assert any(item["passed"] is False for item in json.loads(result.output))
