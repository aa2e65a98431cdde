"""Tokenizers side by side: the counts are right, and who loses text is told and never the best."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
import tokenizers
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers

from tongwen.cli.main import cli
from tongwen.cli.tokenizer import command
from tongwen.errors import InputError
from tongwen.files import read_json, write_text
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.tokenizer.compare import compare_folders, open_side, read_texts
from tongwen.tokenizer.report import Texts, measure
from tongwen.tokenizer.sides import FastSide, SentencePieceSide
from tongwen.tokenizer.text import Tokenizer


def write_documents(folder: Path, texts: list[str], languages: list[str]) -> None:
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    rows = [
        {**empty, "warc_offset": 0, "doc_id": str(number), "lang": lang, "text": text}
        for number, (text, lang) in enumerate(zip(texts, languages, strict=True))
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), folder / "a.parquet")


@pytest.fixture
def documents(tmp_path: Path, texts: list[str]) -> Path:
    write_documents(tmp_path / "documents", texts, ["en", "zh-Hans"] * 200)
    return tmp_path / "documents"


@pytest.fixture
def dropping(folder: Path, tmp_path: Path) -> Path:
    """A tokenizer that drops a punctuation mark, so spells in fewer pieces and loses text."""
    path = tmp_path / "dropping"
    path.mkdir()
    wrong = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    wrong.normalizer = normalizers.Replace("，", "")
    wrong.save(str(path / "tokenizer.json"))
    return path


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_both_ways_to_run_one_tokenizer_measure_the_same(
    folder: Path, tokenizer: Tokenizer, texts: list[str]
) -> None:
    gathered = Texts.gather([("en", text) for text in texts], measured_bytes=1 << 20)
    one = measure(SentencePieceSide(tokenizer), gathered)
    other = measure(FastSide(folder / "tokenizer.json"), gathered)
    for result in (one, other):
        del result["unused_examples"]  # one spells a space with a mark
    assert one == other
    assert one["texts_failed"] == 0
    assert one["languages"]["en"]["tokens"] == sum(len(tokenizer.encode(text)) for text in texts)


def test_bytes_and_parts_of_characters_are_counted(tokenizer: Tokenizer) -> None:
    gathered = Texts.gather([("en", "the 😀")], measured_bytes=100)
    result = measure(SentencePieceSide(tokenizer), gathered)
    tokens = len(tokenizer.encode("the 😀"))
    assert result["byte_token_share"] == pytest.approx(4 / tokens, abs=1e-6)
    assert result["languages"]["en"]["byte_token_share"] == pytest.approx(4 / tokens, abs=1e-6)


def test_a_language_is_measured_up_to_its_bytes_and_digits_are_the_numbers() -> None:
    texts = [("en", "a 12,000"), ("en", "b"), ("en", "c"), ("zh", "中3")]
    gathered = Texts.gather(texts, measured_bytes=9)
    assert gathered.by_language == {
        "en": ["a 12,000", "b"],
        "zh": ["中3"],
        "digits": ["12,000", "3"],
    }
    assert list(gathered.by_language)[-1] == "digits"


def test_who_loses_text_is_told_and_is_not_the_best(
    documents: Path, folder: Path, dropping: Path
) -> None:
    found = compare_folders(documents, [dropping, folder], measured_bytes=1 << 20)
    wrong, right = found["tokenizers"][str(dropping)], found["tokenizers"][str(folder)]
    assert right["texts_failed"] == 0
    assert wrong["texts_failed"] == sum("，" in text for _, text in read_texts(documents))
    assert "comes back as" in wrong["failure_examples"][0]
    assert wrong["languages"]["zh-Hans"]["tokens"] < right["languages"]["zh-Hans"]["tokens"]
    assert found["best"] == str(folder)
    assert compare_folders(documents, [dropping], measured_bytes=1 << 20)["best"] is None


def test_the_command_prints_a_table_and_the_same_as_json(
    documents: Path, folder: Path, dropping: Path
) -> None:
    arguments = ["compare", str(documents), str(folder), str(dropping)]
    text = CliRunner().invoke(command, arguments, catch_exceptions=False).output
    found = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).output)
    result = found["tokenizers"][str(folder)]
    rate = result["languages"]["en"]["bytes_per_token"]
    assert f"{rate:.3f}" in text
    assert f"best: {folder} " in text
    assert "dropping: " in text
    assert result["size"] == 900
    assert set(found["texts"]) == {"en", "zh-Hans", "digits"}


def test_files_without_a_language_are_counted_under_their_names(
    tmp_path: Path, folder: Path
) -> None:
    write_text(tmp_path / "zh-Hant.txt", "價錢是三十元！\n")
    write_text(tmp_path / "code.jsonl", json.dumps({"text": "x = 1\n"}) + "\n")
    write_text(tmp_path / "notes.pdf", "not a text")
    assert dict(read_texts(tmp_path)) == {"zh-Hant": "價錢是三十元！\n", "code": "x = 1\n"}
    found = compare_folders(tmp_path, [folder], measured_bytes=1_000)
    assert set(found["texts"]) == {"zh-Hant", "code", "digits"}


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("missing", "there are no texts"), ("empty", "no texts in"), ("blank", "are empty")],
)
def test_no_texts_are_refused(tmp_path: Path, folder: Path, name: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    write_documents(tmp_path / "blank", [""], ["en"])
    with pytest.raises(InputError, match=complaint):
        compare_folders(tmp_path / name, [folder], measured_bytes=1_000)


def test_a_tokenizer_that_is_not_there_is_refused_before_the_texts_are_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        compare_folders(tmp_path / "missing", [tmp_path / "typo"], measured_bytes=1_000)


def test_another_file_named_tokenizer_model_is_passed_over_for_the_json(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other"
    shutil.copytree(folder, path)
    (path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert open_side(path).name == "Hugging Face fast"
    (path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no SentencePiece model"):
        open_side(path)


def test_a_tokenizer_with_a_dummy_prefix_fails_every_text(
    documents: Path, texts: list[str], tmp_path: Path
) -> None:
    (tmp_path / "prefixed").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(tmp_path / "prefixed" / "tokenizer"),
        model_type="bpe",
        vocab_size=700,
        byte_fallback=True,
        minloglevel=2,
    )
    found = compare_folders(documents, [tmp_path / "prefixed"], measured_bytes=1 << 20)
    result = found["tokenizers"][str(tmp_path / "prefixed")]
    assert result["texts_failed"] == len(texts)


def test_ids_with_holes_between_them_are_measured(tmp_path: Path) -> None:
    sparse = tokenizers.Tokenizer(models.BPE(vocab={"a": 0, "b": 40}, merges=[]))
    sparse.save(str(tmp_path / "tokenizer.json"))
    side = open_side(tmp_path)
    result = measure(side, Texts.gather([("en", "ab"), ("en", "b")], measured_bytes=100))
    assert result["learned_pieces"] == 2
    assert result["unused_pieces"] == 0


def test_the_stage_reports_the_comparison_the_recipe_asks_for(
    documents: Path, dropping: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        cli,
        [
            *("tokenizer", "train", str(documents), "--out", str(tmp_path / "out")),
            *("--set", "tokenizer.vocabulary_size=900"),
            *("--set", f'tokenizer.compare_with=["{dropping}"]'),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    report = read_json(tmp_path / "out" / "report.json")
    assert report["comparison"]["best"] == "this"
    assert set(report["comparison"]["tokenizers"]) == {"this", str(dropping)}
    for key in ("languages", "unused_pieces", "byte_token_share"):
        assert report["comparison"]["tokenizers"]["this"][key] == report[key]
