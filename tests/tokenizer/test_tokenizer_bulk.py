"""Bulk encoding gives exactly the ids of SentencePiece, whatever the text and the model."""

import io
import random
from itertools import chain
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

import tongwen.tokenizer.bulk as bulk
from tongwen.errors import InputError
from tongwen.tokenizer.bulk import BulkEncoder
from tongwen.tokenizer.kernels import SHORT
from tongwen.tokenizer.model_file import BPE, read_model
from tongwen.tokenizer.samples import MARKERS, TEXTS
from tongwen.tokenizer.text import Tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MIXED_TEXT = st.lists(
    st.one_of(
        ANY_TEXT, st.sampled_from([*TEXTS, *MARKERS, "▁", "\0", "  ", "the market", "同文馆"])
    ),
    max_size=6,
).map("".join)


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> BulkEncoder:
    made = BulkEncoder(tokenizer)
    assert made.slow_reason is None
    return made


def ids_of(encoder: BulkEncoder, texts: list[str]) -> list[list[int]]:
    ids, starts = encoder.encode(pa.array(texts, pa.string()))
    assert starts[0] == 0
    assert starts[-1] == len(ids)
    return [ids[starts[n] : starts[n + 1]].tolist() for n in range(len(texts))]


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(MIXED_TEXT, max_size=4))
def test_any_texts_get_the_ids_of_sentencepiece(
    encoder: BulkEncoder, tokenizer: Tokenizer, model: bytes, texts: list[str]
) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    found = ids_of(encoder, texts)
    assert found == [tokenizer.encode(text) for text in texts]
    assert [ids for ids, text in zip(found, texts, strict=True) if "▁" not in text] == [
        processor.encode(text) for text in texts if "▁" not in text
    ]


@pytest.mark.parametrize("slots", [4, 64, 1 << 12])
def test_equal_ids_where_merges_overlap_and_segments_push_one_another_out(
    tokenizer: Tokenizer, texts: list[str], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_SEEN_SLOTS", slots)
    encoder = BulkEncoder(tokenizer)
    rng = random.Random(7)
    parts = [
        *" -=.a*\n\t0",
        "  ",
        "▁",
        "\0",
        "，",
        "中",
        "同文馆",
        "😀",
        "<|im_end|>",
        "the ",
        "pr",
    ]
    mixed = [
        "".join(rng.choice(parts) * rng.randint(1, 9) for _ in range(rng.randint(1, 12)))
        for _ in range(2_000)
    ]
    for given_texts in (mixed, texts, mixed[::-1]):
        assert ids_of(encoder, given_texts) == [tokenizer.encode(text) for text in given_texts]


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, SHORT - 1, SHORT, SHORT + 1, 5_000])
@pytest.mark.parametrize("letters", ["e", " ", "-", "the", "同文馆", "aeiprst"])
def test_equal_ids_for_runs_of_every_length(
    encoder: BulkEncoder, tokenizer: Tokenizer, letters: str, length: int
) -> None:
    rng = random.Random(length)
    text = "".join(rng.choices(letters, k=length))
    texts = [text, "x " + text + "。\0", letters * length]
    assert ids_of(encoder, texts) == [tokenizer.encode(part) for part in texts]


def test_the_end_comes_after_every_text_and_a_cut_of_an_array_is_its_own(
    encoder: BulkEncoder, tokenizer: Tokenizer
) -> None:
    texts = ["skipped 同文", "", "the market", "x" * 3_000, "", "馆"]
    for kind in (pa.string(), pa.large_string()):
        ids, starts = encoder.encode(pa.array(texts, kind).slice(1, 4), end_id=2)
        expected = [[*tokenizer.encode(text), 2] for text in texts[1:5]]
        assert ids.tolist() == list(chain(*expected))
        assert [ids[starts[n] : starts[n + 1]].tolist() for n in range(4)] == expected
        assert encoder.encode(pa.array([], kind))[0].tolist() == []


def other_model(texts: list[str], **options: Any) -> bytes:
    model = io.BytesIO()
    rules = {
        "model_type": "bpe",
        "vocab_size": 700,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, **{**rules, **options}
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "unigram"),
        ({"add_dummy_prefix": True}, "puts a space"),
        ({"remove_extra_whitespaces": True}, "removes spaces"),
        ({"normalization_rule_name": "nfkc"}, "exchanges characters"),
        ({"byte_fallback": False}, "no bytes"),
        ({"user_defined_symbols": ["market"]}, "user-defined"),
    ],
)
def test_another_kind_of_model_goes_through_sentencepiece_and_says_why(
    texts: list[str], options: dict[str, Any], reason: str
) -> None:
    tokenizer = Tokenizer(other_model(texts, **options))
    encoder = BulkEncoder(tokenizer)
    assert encoder.slow_reason is not None
    assert reason in encoder.slow_reason
    given_texts = [*TEXTS, *MARKERS, *texts[:20]]
    assert ids_of(encoder, given_texts) == [tokenizer.encode(text) for text in given_texts]


def test_pieces_across_words_and_scripts_are_found_too(texts: list[str]) -> None:
    model = other_model(texts, split_by_whitespace=False, split_by_unicode_script=False)
    tokenizer = Tokenizer(model)
    encoder = BulkEncoder(tokenizer)
    assert encoder.slow_reason is None
    assert any("▁" in tokenizer.piece(number)[1:] for number in range(300, 500))
    given_texts = [*TEXTS, *MARKERS, *texts]
    assert ids_of(encoder, given_texts) == [tokenizer.encode(text) for text in given_texts]


def test_the_model_file_says_what_the_package_says(model: bytes) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    found = read_model(model)
    assert found.kind == BPE
    assert len(found.pieces) == processor.get_piece_size()
    for number, (piece, score, kind) in enumerate(found.pieces):
        assert piece == processor.id_to_piece(number)
        assert score == processor.get_score(number)
        assert (kind == 3) == processor.is_control(number)
        assert (kind == 6) == processor.is_byte(number)


@pytest.mark.parametrize("cut", [7, 1_000])
def test_a_model_file_that_is_cut_off_is_refused(model: bytes, cut: int) -> None:
    with pytest.raises(InputError, match="damaged"):
        read_model(model[:cut] + b"\x0a\xff\x7f")
