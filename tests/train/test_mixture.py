"""Mixtures of languages: exact shares, every sequence once an epoch, a function of the number."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import RecipeError
from tongwen.formats.languages import LANGUAGES
from tongwen.recipe.loader import load_table
from tongwen.road.recipe import load_recipe, recipe_text
from tongwen.train.data.mixture import Mixture, Stage
from tongwen.train.data.mixture_settings import BLOCK_SAMPLES, MixtureStage, quotas_of
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.data.sources import ShardData
from tongwen.train.settings import TextSettings

NAMES = ("en", "zh-Hans", "code")
weights = st.dictionaries(
    st.sampled_from(LANGUAGES), st.integers(1, 60).map(float), min_size=1, max_size=5
)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """One to three stages; borders lie anywhere in a block, and close together or far apart."""
    lengths = draw(st.lists(st.integers(1, 2 * BLOCK_SAMPLES + 7), max_size=2))
    firsts = itertools.accumulate(lengths, initial=0)
    stages = [Stage(first, quotas_of(draw(weights))) for first in firsts]
    return Mixture(stages, draw(st.integers(0, 2**31)))


def documents_of(languages: list[str], lengths: list[int]) -> Documents:
    """Documents whose tokens count up from 100 over all of them."""
    tokens = np.array(lengths, dtype=np.int64)
    return Documents(
        parts=(np.arange(100, 100 + tokens.sum(), dtype=np.uint16),),
        starts=np.cumsum(tokens) - tokens,
        tokens=tokens,
        is_target=None,
        digest="x",
        languages=np.array([LANGUAGES.index(name) for name in languages], dtype=np.uint8),
    )


def mixed(shares: dict[str, float], *, documents: int = 90, seed: int = 3) -> PackedSequences:
    """Full sequences of eight tokens, as many of each of `NAMES`.

    Sequence n begins with token 100 + 8 n; its language is number n modulo three.
    """
    languages = [NAMES[number % 3] for number in range(documents)]
    mixture = Mixture([Stage(0, quotas_of(shares))], seed)
    return PackedSequences(documents_of(languages, [8] * documents), 8, seed=seed, mixture=mixture)


@given(weights)
def test_quotas_are_the_weights_to_less_than_one_sample_and_add_up(table: dict[str, float]) -> None:
    quotas = quotas_of(table)
    assert sum(quotas.values()) == BLOCK_SAMPLES
    for name, weight in table.items():
        assert abs(quotas[name] - BLOCK_SAMPLES * weight / sum(table.values())) < 1


@given(mixtures())
def test_every_whole_block_of_a_stage_has_the_exact_quotas(mixture: Mixture) -> None:
    ends = [stage.first_sample for stage in mixture.stages[1:]]
    for stage, end in itertools.zip_longest(mixture.stages, ends):
        last = stage.first_sample + 2 * BLOCK_SAMPLES if end is None else end
        for first in range(stage.first_sample, last - BLOCK_SAMPLES + 1, BLOCK_SAMPLES):
            languages, _ = mixture.places(np.arange(first, first + BLOCK_SAMPLES))
            counts = np.bincount(languages, minlength=len(mixture.languages))
            expected = [stage.quotas.get(name, 0) for name in mixture.languages]
            assert counts.tolist() == expected


@given(mixtures())
def test_samples_of_a_language_are_numbered_without_gaps_over_blocks_and_stages(
    mixture: Mixture,
) -> None:
    samples = mixture.stages[-1].first_sample + BLOCK_SAMPLES + 13
    languages, numbers = mixture.places(np.arange(samples))
    for language in range(len(mixture.languages)):
        own = numbers[languages == language]
        assert own.tolist() == list(range(len(own)))
    for count in (0, 1, samples // 2, samples, *(stage.first_sample for stage in mixture.stages)):
        expected = np.bincount(languages[:count], minlength=len(mixture.languages))
        assert mixture.taken(count).tolist() == expected.tolist()


@given(mixtures(), st.lists(st.integers(0, 5_000), min_size=1, max_size=20))
def test_the_place_of_a_sample_depends_on_its_number_alone(
    mixture: Mixture, samples: list[int]
) -> None:
    together = np.stack(mixture.places(np.array(samples, dtype=np.int64)))
    alone = [np.stack(mixture.places(np.array([n], dtype=np.int64))) for n in samples]
    assert (together == np.concatenate(alone, axis=1)).all()


def test_languages_are_spread_over_a_block_and_differently_over_the_next() -> None:
    mixture = Mixture([Stage(0, {"en": 500, "code": 500})], seed=1)
    blocks = mixture.places(np.arange(2 * BLOCK_SAMPLES))[0].reshape(2, -1)
    assert (blocks.reshape(20, -1).sum(axis=1) > 25).all()
    assert 0.4 < (blocks[0] != blocks[1]).mean() < 0.6


def test_every_sequence_of_a_language_comes_once_in_its_epoch_each_time_in_another_order() -> None:
    data = mixed({"en": 6.0, "zh-Hans": 3.0, "code": 1.0})
    sequences = (data.batch(0, 1_000).token_ids_BT[:, 0].numpy() - 100) // 8
    for language, epochs in enumerate((20, 10, 3)):
        own = sequences[sequences % 3 == language][: 30 * epochs].reshape(epochs, 30)
        assert (np.sort(own, axis=1) == np.arange(language, 90, 3)).all()
        assert len(np.unique(own, axis=0)) == epochs
    assert data.describe(1_000) == {
        "epochs": round(1_000 / 90, 4),
        "padding_share": 0.0,
        "en_epochs": 20.0,
        "zh-Hans_epochs": 10.0,
        "code_epochs": round(100 / 30, 4),
    }


@given(st.integers(0, 3_000), st.integers(1, 40), st.integers(1, 5))
def test_processes_that_share_a_batch_read_together_what_one_reads_alone(
    first: int, samples: int, processes: int
) -> None:
    data = mixed({"en": 0.5, "zh-Hans": 0.3, "code": 0.2})
    whole = data.batch(first, samples * processes)
    slices = [data.batch(first + rank * samples, samples) for rank in range(processes)]
    assert (
        np.concatenate([part.token_ids_BT for part in slices]) == whole.token_ids_BT.numpy()
    ).all()
    assert (np.concatenate([part.targets_BT for part in slices]) == whole.targets_BT.numpy()).all()
    assert sum(part.targets for part in slices) == whole.targets


def test_languages_share_no_sequence_and_one_without_a_weight_is_left_out() -> None:
    documents = documents_of(["en", "code", "zh-Hans", "en", "zh-Hans"], [3, 4, 5, 2, 3])
    mixture = Mixture([Stage(0, quotas_of({"zh-Hans": 1.0, "en": 1.0}))], seed=0)
    data = PackedSequences(documents, 8, seed=0, mixture=mixture)
    assert data.sequences == 2
    assert data.padding_share == 3 / 16
    rows = {tuple(row) for row in data.batch(0, 50).token_ids_BT.tolist()}
    assert rows == {
        (107, 108, 109, 110, 111, 114, 115, 116),
        (100, 101, 102, 112, 113, 0, 0, 0),
    }


def test_a_stage_begins_at_its_share_of_the_tokens() -> None:
    settings = TextSettings(
        max_tokens=16_000,
        sequence_tokens=8,
        batch_tokens=8,
        mixture={"en": 1.0, "zh-Hans": 0.0},
        mixture_stages=(
            MixtureStage(from_share=0.25, weights={"zh-Hans": 2.0}),
            MixtureStage(from_share=0.75, weights={"en": 1.0, "code": 1.0}),
        ),
    )
    mixture = Mixture.of(settings)
    assert mixture is not None
    assert [stage.first_sample for stage in mixture.stages] == [0, 500, 1_500]
    languages, numbers = mixture.places(np.array([0, 499, 500, 1_499]))
    assert [mixture.languages[language] for language in languages] == ["en", "en", *["zh-Hans"] * 2]
    assert numbers.tolist() == [0, 499, 0, 999]
    in_last = mixture.places(np.arange(1_500, 2_000))[0]
    assert {mixture.languages[language] for language in in_last} == {"en", "code"}


def test_without_a_mixture_order_and_fingerprint_are_those_of_earlier_releases() -> None:
    data = PackedSequences(documents_of(["en"] * 40, [5, 9, 3, 20] * 10), 8, seed=7)
    assert data.fingerprint == "e5f4e00f184d5104793406005b5cb1a8"
    first_tokens = [364, 113, 207, 133, 253, 174, 211, 384, 327, 100, 137, 105]
    assert data.batch(50, 12).token_ids_BT[:, 0].tolist() == first_tokens


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"seed": 4}, "seed"),
        ({"sequence_tokens": 4}, "sequence_tokens"),
        ({"separate_documents": False}, "separate_documents"),
        ({"mixture": Mixture([Stage(0, {"en": 1_000})], seed=3)}, "mixture"),
        (
            {"mixture": Mixture([Stage(0, {"en": 999, "code": 1}), Stage(9, {"en": 1_000})], 3)},
            "mixture_stages",
        ),
    ],
)
def test_the_fingerprint_tells_which_part_changed(changed: dict[str, object], part: str) -> None:
    documents = documents_of(["en", "code"], [8, 8])
    usual = {
        "sequence_tokens": 8,
        "seed": 3,
        "mixture": Mixture([Stage(0, {"en": 999, "code": 1})], seed=3),
    }
    before = PackedSequences(documents, **usual)  # type: ignore[arg-type]
    after = PackedSequences(documents, **{**usual, **changed})  # type: ignore[arg-type]
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint_parts.keys() == after.fingerprint_parts.keys()
    assert [
        name
        for name, value in before.fingerprint_parts.items()
        if after.fingerprint_parts[name] != value
    ] == [part]


RECIPE = """
max_tokens = 8_192
mixture = { en = 0.5, zh-Hans = 0.4, code = 0.1 }
[[mixture_stages]]
from_share = 0.8
weights = { en = 1, zh-Hans = 1 }
"""


def test_a_recipe_names_the_mixture_and_its_stages_and_prints_them_again() -> None:
    settings = load_table(TextSettings, RECIPE, "recipe.toml")
    assert settings.mixture == {"en": 0.5, "zh-Hans": 0.4, "code": 0.1}
    assert settings.mixture_stages == (
        MixtureStage(from_share=0.8, weights={"en": 1.0, "zh-Hans": 1.0}),
    )
    recipe = load_recipe("smallest", ["pretrain.mixture={en = 1.0}"])
    assert "[pretrain.mixture]\nen = 1.0" in recipe_text(recipe)


@pytest.mark.parametrize(
    ("written", "message", "hint"),
    [
        ("en = 0.5", "zh = 0.5", "did you mean zh-Hant or zh-Hans?"),
        ("en = 0.5", "en = -0.5", "0 or more"),
        ("en = 0.5", "en = inf", "0 or more"),
        ("en = 0.5", "en = 0.0001", "0.001"),
        ("en = 0.5, zh-Hans = 0.4, code = 0.1", "en = 0.0", "en = 0.5"),
        ("en = 1, zh-Hans = 1", "klingon = 1", "zh-Hans"),
        ("from_share = 0.8", "from_share = 1.2", "0.8"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(written: str, message: str, hint: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.toml") as caught:
        load_table(TextSettings, RECIPE.replace(written, message), "recipe.toml")
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_stages_out_of_order_or_without_a_beginning_are_refused() -> None:
    stage = MixtureStage(from_share=0.5, weights={"en": 1.0})
    with pytest.raises(RecipeError, match=r"from_share of mixture_stages is 0\.5, 0\.5"):
        TextSettings(max_tokens=8_192, mixture={"en": 1.0}, mixture_stages=(stage, stage))
    with pytest.raises(RecipeError, match="without a mixture to begin with"):
        TextSettings(max_tokens=8_192, mixture_stages=(stage,))


def test_a_weight_for_a_language_without_a_document_is_refused_before_any_work(
    shards_folder: Path, small_tokenizer_folder: Path
) -> None:
    shards = ShardData.open(shards_folder, small_tokenizer_folder)
    settings = TextSettings(
        max_tokens=640, sequence_tokens=64, batch_tokens=64, mixture={"en": 0.9, "code": 0.1}
    )
    with pytest.raises(RecipeError, match="no training document is code") as caught:
        shards.training_sequences(settings)
    assert caught.value.hint == "leave it out; there are documents in en, zh-Hans"


def test_tuning_has_no_mixture() -> None:
    with pytest.raises(RecipeError, match=r"unknown key `tune\.mixture`") as caught:
        load_recipe("sample", ["tune.mixture={en = 1.0}"])
    assert caught.value.hint == "`mixture` is a key of [train], [pretrain], [extend]"
