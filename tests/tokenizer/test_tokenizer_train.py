"""Training: deterministic, nothing dropped, clear errors; which documents are drawn."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import DoesNotFitError, InputError, RecipeError
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.tokenizer.report import Texts, measure
from tongwen.tokenizer.sample import sample_documents
from tongwen.tokenizer.settings import TokenizerSettings
from tongwen.tokenizer.sides import SentencePieceSide
from tongwen.tokenizer.stage import check_memory
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model, training_lines


def test_training_twice_gives_the_same_bytes(texts: list[str], model: bytes) -> None:
    assert train_model(iter(texts), vocabulary_size=900) == model


def test_it_has_the_size_that_was_asked_for(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocabulary_size == 900


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("ab 中\n\t\0▁▅。"), max_size=60))
def test_training_lines_hold_all_text_but_what_the_trainer_refuses(text: str) -> None:
    lines = list(training_lines(text))
    assert "".join(lines) == "".join(c for c in text if c not in "\n\t\0▁▅")
    assert not any(c in line for line in lines for c in "\n\t\0▁▅")


def test_a_long_line_is_cut_and_not_dropped() -> None:
    line = "同文馆" * 50_000
    lines = list(training_lines(line))
    assert "".join(lines) == line
    assert max(len(part.encode()) for part in lines) <= 65_536


def test_a_line_that_the_trainer_would_refuse_still_teaches() -> None:
    texts = [f"zyxwv{mark}qponm" for mark in "\0▅\t▁"] * 500 + ["q" * 40_000]
    tokenizer = Tokenizer(train_model(texts, vocabulary_size=335))
    assert len(tokenizer.encode("zyxwv")) == 1


def test_too_little_text_names_the_largest_size_that_works(texts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        train_model(texts, vocabulary_size=60_000)
    assert caught.value.hint is not None
    largest = int(caught.value.hint.split("vocabulary_size=")[1].split(",")[0])
    assert Tokenizer(train_model(texts, vocabulary_size=largest)).vocabulary_size == largest


def test_too_many_characters_for_the_size_are_explained() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 2_000)))
    with pytest.raises(InputError, match="so many characters"):
        train_model([text * 3], vocabulary_size=600)


def test_no_text_is_an_error() -> None:
    with pytest.raises(InputError, match="no text"):
        train_model([], vocabulary_size=600)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocabulary_size": 100},
        {"sample_bytes": 0},
        {"chinese_share": 1.5},
        {"character_coverage": 0.5},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        TokenizerSettings(**wrong)  # type: ignore[arg-type]


def write_documents(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "")
    table = pa.Table.from_pylist(
        [
            {**empty, "warc_offset": 0, "doc_id": name, "lang": lang, "text": text}
            for name, lang, text in rows
        ],
        schema=DOCUMENT_SCHEMA,
    )
    folder.mkdir(exist_ok=True)
    pq.write_table(table.slice(0, len(rows) // 2), folder / "part-00000.parquet")
    pq.write_table(table.slice(len(rows) // 2), folder / "part-00001.parquet")


def drawn(folder: Path, sample_bytes: int, share: float | None, seed: int = 1) -> dict[str, int]:
    sample = sample_documents(folder, sample_bytes=sample_bytes, chinese_share=share, seed=seed)
    result = {"en": 0, "zh": 0}
    for language, text in sample.texts():
        result[language[:2]] += len(text.encode())
    return result


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """1,000 English documents of 100 bytes, 250 Chinese ones of 99 bytes."""
    rows = [(f"e{n}", "en", "a" * 100) for n in range(1_000)]
    rows += [(f"z{n}", ("zh-Hans", "zh-Hant")[n % 2], "中" * 33) for n in range(250)]
    write_documents(tmp_path / "documents", rows)
    return tmp_path


def test_a_sample_larger_than_the_documents_takes_all(mixture: Path) -> None:
    assert drawn(mixture, 1 << 30, None) == {"en": 100_000, "zh": 24_750}


def test_a_smaller_sample_keeps_its_size_and_the_mixture(mixture: Path) -> None:
    sample = drawn(mixture, 50_000, None)
    assert 49_800 <= sum(sample.values()) <= 50_000
    assert 0.15 < sample["zh"] / sum(sample.values()) < 0.25


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("sample_bytes", [10_000, 1 << 30])
def test_the_chinese_share_is_kept_even_where_chinese_runs_out(
    mixture: Path, share: float, sample_bytes: int
) -> None:
    sample = drawn(mixture, sample_bytes, share)
    assert sample["zh"] / sum(sample.values()) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_sample_knows_its_size_before_it_is_read(mixture: Path, share: float | None) -> None:
    for sample_bytes in (10_000, 1 << 30):
        sample = sample_documents(mixture, sample_bytes=sample_bytes, chinese_share=share, seed=1)
        found = [0, 0]
        for language, text in sample.texts():
            found[language.startswith("zh")] += len(text.encode())
        assert sample.drawn_bytes == tuple(found)


def test_a_sample_beyond_the_memory_is_refused_with_one_that_fits(mixture: Path) -> None:
    sample = sample_documents(mixture, sample_bytes=1 << 30, chinese_share=None, seed=1)
    check_memory(sample, 1 << 30)
    with pytest.raises(DoesNotFitError, match="GiB are free") as caught:
        check_memory(sample, 500_000)
    fitting = int((caught.value.hint or "").split("sample_bytes=")[1].split(";")[0])
    assert 0 < fitting < sum(sample.drawn_bytes)
    smaller = sample_documents(mixture, sample_bytes=fitting, chinese_share=None, seed=1)
    check_memory(smaller, 520_000)


def test_the_draw_depends_on_the_seed_and_on_nothing_else(mixture: Path) -> None:
    sample = sample_documents(mixture, sample_bytes=10_000, chinese_share=None, seed=1)
    assert sample == sample_documents(mixture, sample_bytes=10_000, chinese_share=None, seed=1)
    other = sample_documents(mixture, sample_bytes=10_000, chinese_share=None, seed=2)
    assert sample.purpose != other.purpose


def test_one_huge_document_is_better_than_none(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents", [("a", "en", "x" * 1_000), ("b", "en", "y" * 1_000)])
    assert drawn(tmp_path, 10, None)["en"] == 1_000


def test_a_share_of_a_language_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents", [("a", "en", "x"), ("b", "en", "y")])
    with pytest.raises(InputError, match="Chinese"):
        drawn(tmp_path, 100, 0.5)


def test_foreign_parquet_is_refused_with_the_missing_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column 'doc_id'"):
        drawn(tmp_path, 100, None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(InputError, match="cannot read"):
        drawn(tmp_path, 100, None)


def test_the_report_counts_what_it_says(tokenizer: Tokenizer) -> None:
    texts = [("en", "the market, 1,350 apples"), ("zh-Hans", "同文馆")]
    report = measure(SentencePieceSide(tokenizer), Texts.gather(texts, measured_bytes=1 << 20))
    english = report["languages"]["en"]
    assert english["utf8_bytes"] == 24
    assert english["words"] == 4
    assert english["tokens"] == len(tokenizer.encode(texts[0][1]))
    assert report["languages"]["zh-Hans"]["characters"] == 3
    assert report["languages"]["digits"]["bytes_per_token"] == 1.0
    assert 0 < report["unused_pieces"] < report["learned_pieces"] == 900 - 14 - 256
