"""What a stage of the extension reads: long documents, joined ones, exercises, short ones."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tongwen.errors import RecipeError
from tongwen.extend.documents import stage_documents
from tongwen.extend.exercises import exercise
from tongwen.extend.settings import ExtendSettings, LongMix
from tongwen.formats.shards import Shard, shard_writer
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import Documents

WORDS = {
    "en": [
        "river",
        "stone",
        "winter",
        "garden",
        "letter",
        "silver",
        "mountain",
        "harbour",
        "evening",
        "market",
    ],
    "zh": ["河流", "石头", "冬天", "花园", "书信", "白银", "高山", "港口", "傍晚", "市场"],
}


def prose(script: str, sentences: int, seed: int) -> str:
    generator = random.Random(seed)
    joint, end = (" ", ". ") if script == "en" else ("", "。")
    made = [joint.join(generator.choices(WORDS[script], k=7)) for _ in range(sentences)]
    return end.join(made) + end.strip()


@pytest.fixture(scope="module")
def tokenizer(small_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_tokenizer_folder)


@pytest.fixture(scope="module")
def documents(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Documents:
    path = tmp_path_factory.mktemp("long") / "train-00000.shard"
    texts = [("en", prose("en", 30, seed)) for seed in range(8)]
    texts += [("en", "again and again " * 200), ("en", "".join(map(chr, range(0x3400, 0x3700))))]
    texts += [("en", prose("en", 2, 100 + seed)) for seed in range(30)]
    texts += [("zh-Hans", prose("zh", 2, 200 + seed)) for seed in range(60)]
    with shard_writer(
        path, vocabulary_size=tokenizer.vocabulary_size, tokenizer_digest=tokenizer.digest
    ) as writer:
        for language, text in texts:
            writer.append([*tokenizer.encode(text), EOS_ID], language=language, utf8_bytes=1)
    return Documents.from_shards([Shard.open(path)])


def settings(**changes: object) -> ExtendSettings:
    values = {"max_tokens": 40_000, "sequence_tokens": 1024, "batch_tokens": 1024, **changes}
    return ExtendSettings(**values)  # type: ignore[arg-type]


MIX = LongMix(long_tokens=300)


def test_shares_of_long_and_short_text_are_exact_in_every_thousand_sequences(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found = stage_documents(documents, tokenizer, settings(), MIX, tmp_path)
    quotas = dict(found.quotas)
    assert sum(quotas.values()) == 1000
    long = {name: n for name, n in quotas.items() if not name.startswith("short")}
    assert sum(long.values()) == pytest.approx(340, abs=2)
    assert {name.partition("_")[0] for name in long} == {"long", "joined", "task"}
    described = found.sequences(settings()).describe(1000)
    assert {f"{name}_epochs" for name in quotas} <= set(described)


def test_the_most_and_the_least_compressible_fifth_is_left_out(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found = stage_documents(documents, tokenizer, settings(), MIX, tmp_path)
    kept = np.flatnonzero(found.documents.groups["long_en"])
    assert found.counts["long_en_documents"] == 10
    assert found.counts["long_en_left_out"] == 4
    assert not {8, 9} & set(kept.tolist())  # one sentence repeated, one without a repetition


def test_where_too_few_documents_are_long_short_ones_about_the_same_thing_are_joined(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found = stage_documents(documents, tokenizer, settings(), MIX, tmp_path)
    joined = np.flatnonzero(found.documents.groups["joined_zh-Hans"])
    assert len(joined)
    tokens = found.documents.tokens[joined]
    assert tokens.max() <= 1024
    assert tokens.max() > 300
    texts = (np.asarray(Shard.open(tmp_path / "joined.shard").tokens) == EOS_ID).sum()
    assert len(joined) < texts <= 90  # several each, and no short document twice


def test_what_is_made_is_made_once_and_is_the_same_again(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    first = stage_documents(documents, tokenizer, settings(), MIX, tmp_path / "a")
    before = (tmp_path / "a/task.shard").stat().st_mtime_ns
    said: list[str] = []
    stage_documents(documents, tokenizer, settings(batch_tokens=2048), MIX, tmp_path / "a",
                    said.append)  # fmt: skip
    assert not said
    assert (tmp_path / "a/task.shard").stat().st_mtime_ns == before
    again = stage_documents(documents, tokenizer, settings(), MIX, tmp_path / "b")
    assert (tmp_path / "b/task.shard").read_bytes() == (tmp_path / "a/task.shard").read_bytes()
    assert again.sequences(settings()).fingerprint == first.sequences(settings()).fingerprint
    other = stage_documents(documents, tokenizer, settings(seed=1), MIX, tmp_path / "a")
    assert other.sequences(settings()).fingerprint != first.sequences(settings()).fingerprint


def test_a_copy_document_says_every_stretch_twice_and_no_special_piece(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    mix = LongMix(long_tokens=300, long_share=0.8, copy_share=0.5)
    found = stage_documents(documents, tokenizer, settings(), mix, tmp_path)
    quotas = {name: n for name, n in found.quotas.items() if name.startswith("copy")}
    assert sum(quotas.values()) == pytest.approx(400, abs=2)
    shard = Shard.open(tmp_path / "copy.shard")
    assert shard.documents > 10
    special = {*tokenizer.special_ids.values()} - {EOS_ID}
    for number in range(shard.documents):
        ids = shard.document(number).tolist()
        assert len(ids) == 1024
        assert ids[-1] == EOS_ID
        pairs = [tuple(ids[place : place + 2]) for place in range(1022)]
        again = sum(pairs.count(pair) > 1 for pair in pairs)
        assert again > 0.8 * len(pairs)  # but where two stretches meet
        assert not special & {*ids}


def test_positions_that_jump_reach_far_and_never_go_back(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    jumping = settings(position_reach=200_000)
    sequences = stage_documents(documents, tokenizer, jumping, MIX, tmp_path).sequences(jumping)
    batch = sequences.batch(0, 40)
    positions = batch.positions_BT.numpy()
    assert (positions[:, 0] == 0).all()
    assert (np.diff(positions, axis=1) >= 1).all()
    assert 20_000 < positions.max() < 200_000
    assert (np.diff(positions, axis=1) > 1).any(axis=1).mean() > 0.8
    later = sequences.batch(7, 2)  # a run that continues sees the same
    assert torch.equal(later.positions_BT, batch.positions_BT[7:9])
    plain = stage_documents(documents, tokenizer, settings(), MIX, tmp_path).sequences(settings())
    assert torch.equal(plain.batch(7, 2).token_ids_BT, later.token_ids_BT)
    assert plain.fingerprint != sequences.fingerprint


def test_positions_must_reach_beyond_their_sequence() -> None:
    with pytest.raises(RecipeError, match="no more than the 1,024 tokens of a sequence"):
        settings(position_reach=1_024)


def test_copies_and_exercises_are_no_more_than_all() -> None:
    with pytest.raises(RecipeError, match="more than all long sequences"):
        LongMix(task_share=0.6, copy_share=0.6)


def test_a_language_without_text_is_refused(
    documents: Documents, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    mix = LongMix(languages={"en": 1.0, "zh-Hant": 1.0})
    with pytest.raises(RecipeError, match=r"mix\.languages has a weight for zh-Hant"):
        stage_documents(documents, tokenizer, settings(), mix, tmp_path)


@pytest.mark.parametrize("script", ["en", "zh"])
def test_every_answer_of_an_exercise_is_in_its_text(script: str) -> None:
    text = prose(script, 80, 5)
    made = exercise(text, script, random.Random(1), questions=3)
    assert made is not None
    body, _, questions = made.partition("Questions about" if script == "en" else "关于上文")
    patterns = {
        "en": (r"margin note on (\w+)\? (\d+)", r"“(\w+)”\? (\d+)", "[Margin note on {}: {}]"),
        "zh": (r"“(\w+)”的批注是什么？(\d+)", r"“(\w+)”出现了几次？(\d+)", "【“{}”的批注：{}】"),
    }
    ask_note, count, note = patterns[script]
    notes = re.findall(ask_note, questions)
    assert len(notes) == 3
    assert all(note.format(key, value) in body for key, value in notes)
    counted = re.findall(count, questions)
    assert len(counted) == 3
    found = [body.count(word) if script == "zh" else len(re.findall(rf"\b{word}\b", body))
             for word, _ in counted]  # fmt: skip
    assert found == [int(number) for _, number in counted]
    assert exercise(text, script, random.Random(1), questions=3) == made
