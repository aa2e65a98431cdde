"""Laws are fitted to small runs; the largest of them are forecast before they are run."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tongwen.cli.main import cli
from tongwen.errors import InputError, TongwenError, UsageError
from tongwen.files import read_json, write_json
from tongwen.formats.shards import shard_writer
from tongwen.model.settings import ModelSettings
from tongwen.plan import climb as climbing
from tongwen.plan import fit
from tongwen.plan.climb import Ascent, Ground, laws_of
from tongwen.plan.fit import fit_law
from tongwen.plan.ladder import Climb, best_of_sweep, default_widths, own_flops
from tongwen.plan.law_file import read_laws, write_laws
from tongwen.progress import Progress
from tongwen.tokenizer.special import EOS_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train import loop
from tongwen.train.forecast import read_forecast
from tongwen.train.optim.schedule import learning_rate
from tongwen.train.settings import PretrainSettings

TRUE = (0.9, 40.0, 0.34, 90.0, 0.30)
SIZES = np.repeat([3e5, 6e5, 1.2e6, 2.4e6, 4.8e6], 5)
TOKENS = SIZES * np.tile([5, 10, 20, 40, 80], 5)


def losses(constants: tuple[float, ...] = TRUE) -> Any:
    e, a, alpha, b, beta = constants
    return e + a / SIZES**alpha + b / TOKENS**beta


def at(constants: tuple[float, ...], parameters: float, tokens: float) -> float:
    e, a, alpha, b, beta = constants
    return float(e + a / parameters**alpha + b / tokens**beta)


def test_the_fit_recovers_the_constants_of_runs_without_noise() -> None:
    found = fit_law(SIZES, TOKENS, losses(), samples=20)
    assert found.constants == pytest.approx(TRUE, rel=0.02)
    assert found.deviation < 1e-5
    assert not found.unknown


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_foretells_through_noise_and_outliers_and_its_samples_say_how_surely(
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    noisy = losses() * np.exp(random.normal(0, 0.003, len(SIZES)))
    noisy[random.choice(len(SIZES), 3, replace=False)] *= 1.15  # runs that went wrong
    found = fit_law(SIZES, TOKENS, noisy, samples=100)
    truth = at(TRUE, 2e7, 1e9)
    assert at(found.constants, 2e7, 1e9) == pytest.approx(truth, rel=0.012)
    beyond = [at(tuple(sample), 2e7, 1e9) for sample in found.samples]
    assert np.quantile(beyond, 0.02) < truth < np.quantile(beyond, 0.98)
    assert 0.001 < found.deviation < 0.006  # the outliers are not in it


def test_the_derivatives_of_the_law_are_those_of_its_values() -> None:
    theta = np.array([[0.3, math.log(0.4), -0.2, math.log(0.3), 0.1]])
    sizes, tokens = np.log(SIZES) - 14, np.log(TOKENS) - 17
    value, slopes = fit._predicted(theta, sizes, tokens)
    for place in range(5):
        moved = theta.copy()
        moved[0, place] += 1e-6
        numeric = (fit._predicted(moved, sizes, tokens)[0] - value)[0] / 1e-6
        np.testing.assert_allclose(slopes[0, :, place], numeric, atol=1e-5)


def test_runs_that_say_nothing_of_the_floor_leave_it_named_as_unknown() -> None:
    random = np.random.default_rng(3)
    found = fit_law(
        SIZES, TOKENS, losses((0.02, *TRUE[1:])) * np.exp(random.normal(0, 0.02, len(SIZES)))
    )
    assert any(text.startswith("E, ") for text in found.unknown)


def test_runs_whose_loss_does_not_follow_their_size_are_named() -> None:
    found = fit_law(SIZES, TOKENS, 0.9 + 90 / TOKENS**0.3, samples=10)
    assert any(text.startswith("what more parameters would bring") for text in found.unknown)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"losses": [1.0] * 5}, "5 runs of 5 sizes"),
        ({"parameters": [1e6] * 25}, "25 runs of 1 sizes"),
        ({"losses": [float("nan"), *losses()[1:]]}, "run 1 has .* a loss of nan"),
        ({"tokens": [*TOKENS[:-1], 0.0]}, "run 25 has 4.8e"),
    ],
)
def test_runs_from_which_no_law_follows_are_refused(changed: dict[str, Any], message: str) -> None:
    values = {"parameters": SIZES, "tokens": TOKENS, "losses": losses(), **changed}
    count = min(map(len, values.values()))
    if count == 5:
        values = {"parameters": SIZES[::5], "tokens": TOKENS[::6], "losses": losses()[::5]}
    with pytest.raises(InputError, match=message):
        fit_law(**values)


def test_a_law_of_each_language_is_written_as_the_planner_reads_it(tmp_path: Path) -> None:
    rows = [
        {
            "parameters": size * 1.3 + 2e5,
            "non_embedding_parameters": size,
            "tokens": tokens,
            "flops": 6 * size * tokens,
            "bits_per_byte": {"en": loss, "zh": 1.1 * loss},
        }
        for size, tokens, loss in zip(SIZES, TOKENS, losses(), strict=True)
    ]
    laws, unknown = laws_of(rows)
    write_laws(tmp_path / "law.json", laws, unknown)
    assert read_laws(tmp_path / "law.json") == laws
    assert not laws["zh"].counts_embeddings  # the count that the losses follow
    expected = 1.1 * at(TRUE, 1e7, 1e9)
    assert laws["zh"].bits_per_byte(1e7, 1e9) == pytest.approx(expected, rel=0.005)
    low, high = laws["zh"].interval(1e7, 1e9, 1.0)
    assert low < expected < high


MODEL = ModelSettings(
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=8,
    max_position_embeddings=64,
    tie_word_embeddings=True,
)
SETTINGS = PretrainSettings(
    max_tokens=10_000, sequence_tokens=32, batch_tokens=256, checkpoint_every_steps=4
)
CLIMB = Climb(
    model=MODEL,
    settings=SETTINGS,
    vocabulary_size=400,
    widths=(16, 24, 32),
    tokens_per_parameter=(0.1, 0.2, 0.3),
    rates=(5e-3, 2e-2),
    batches=(128,),
    held_out=2,
)


def test_the_grid_shares_trunks_and_its_smaller_models_keep_the_family() -> None:
    rungs = CLIMB.rungs(5e-3, 128)
    assert [rung.part for rung in rungs] == ["fitted"] * 7 + ["held out"] * 2
    flops = [rung.flops for rung in rungs]
    assert flops == sorted(flops)
    assert len({rung.trunk_name for rung in rungs}) == 3
    assert sum(own_flops(rungs)) < 0.8 * sum(flops)
    for config in CLIMB.configs:
        assert config.num_attention_heads * 8 == config.hidden_size
        assert config.num_attention_heads % config.num_key_value_heads == 0
    assert [config.num_hidden_layers for config in CLIMB.configs] == [1, 2, 2]
    base = rungs[-1].settings.complete_p
    assert base is not None
    assert (base.base_hidden_size, base.base_layers) == (16, 1)
    same = [rung for rung in rungs if rung.config.hidden_size == 32]
    assert len({learning_rate(rung.settings, 600) for rung in same}) == 1  # one warm-up
    assert default_widths(ModelSettings()) == (256, 384, 512, 768, 1024)


def test_budgets_in_tokens_are_the_same_for_every_size() -> None:
    climb = replace(CLIMB, tokens=(1_024, 2_048, 4_096))
    rungs = climb.rungs(5e-3, 128)
    budgets: dict[int, list[int]] = {width: [] for width in climb.widths}
    for rung in rungs:
        budgets[rung.config.hidden_size].append(rung.tokens)
    assert budgets == {width: [1_024, 2_048, 4_096] for width in climb.widths}
    assert {rung.tokens for rung in climb.sweep()} == {2_048}
    warmups = {rung.settings.warmup_tokens for rung in rungs}
    assert warmups == {102.0}  # a tenth of the shortest
    with pytest.raises(UsageError, match="--tokens is 1024, 2048"):
        replace(CLIMB, tokens=(1_024, 2_048))


@pytest.mark.parametrize(
    ("changed", "message", "hint"),
    [
        ({"widths": (16, 24)}, "needs 3", "name more"),
        ({"widths": (16, 20, 32)}, "--widths has 20", "use 16"),
        ({"widths": (32, 16, 24)}, "--widths is 32, 16, 24", "smallest up"),
        ({"tokens_per_parameter": (1.0, -2.0, 3.0)}, "-2", "greater than 0"),
        ({"held_out": 4}, "--hold-out is 4 of 9", "--hold-out 3"),
        ({"batches": (100,)}, "--batches has 100", "128"),
        ({"rates": (0.0,)}, "--rates is 0", "greater than 0"),
    ],
)
def test_a_ladder_that_determines_no_law_is_refused(
    changed: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        replace(CLIMB, **changed)
    assert hint in str(caught.value.hint)


def test_the_best_of_the_sweep_counts_all_languages() -> None:
    rows = [
        {"rate": 1.0, "batch_tokens": 8, "bits_per_byte": {"en": 1.0, "zh": 3.0}},
        {"rate": 2.0, "batch_tokens": 16, "bits_per_byte": {"en": 1.5, "zh": 2.0}},
    ]
    assert best_of_sweep(rows) == (2.0, 16)


@pytest.fixture(scope="module")
def shards(small_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.load(small_tokenizer_folder)
    folder = tmp_path_factory.mktemp("shards")
    texts = {
        "en": [f"Road {n} is long, said the old man, and he walked on." for n in range(60)],
        "zh-Hans": [f"第{n}条路很长，老人说，他继续往前走。" for n in range(60)],
    }
    parts = {
        "train-00000": ("en", slice(8, None)),
        "train-00001": ("zh-Hans", slice(8, None)),
        "valid-en-00000": ("en", slice(8)),
        "valid-zh-00000": ("zh-Hans", slice(8)),
    }
    for name, (language, part) in parts.items():
        with shard_writer(
            folder / f"{name}.shard",
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
        ) as writer:
            for text in texts[language][part]:
                writer.append(
                    [*tokenizer.encode(text), EOS_ID],
                    language=language,
                    utf8_bytes=len(text.encode()),
                )
    return folder


RECIPE = """
[run]
name = "ladder"
[model]
hidden_size = 64
intermediate_size = 160
num_hidden_layers = 4
num_attention_heads = 8
num_key_value_heads = 4
head_dim = 8
max_position_embeddings = 64
tie_word_embeddings = true
[pretrain]
max_tokens = 10_000
sequence_tokens = 32
batch_tokens = 256
"""
OPTIONS = (
    "--widths", "16,24,32", "--tokens-per-parameter", "0.1,0.2,0.3", "--rates", "5e-3,2e-2",
    "--batches", "128", "--hold-out", "2",
)  # fmt: skip


def test_a_ladder_stopped_half_way_goes_on_and_forecasts_its_largest_runs(
    shards: Path,
    small_tokenizer_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    out = tmp_path / "ladder"
    words = ["plan", "ladder", str(recipe), "--shards", str(shards), "--out", str(out)]
    words += ["--tokenizer", str(small_tokenizer_folder), *OPTIONS]

    def called(*more: str) -> str:
        result = CliRunner().invoke(cli, [*words, *more], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    listed = called("--dry-run")
    assert "11 runs" in listed
    assert listed.count("sweep  ") == 2
    assert not (out / "ladder.json").exists()

    true_train = loop.train
    runs: list[Any] = []

    def train(job: Any) -> Any:
        if len(runs) == 9:  # of 10: a run of the sweep is a rung too
            raise KeyboardInterrupt
        runs.append(job)
        return true_train(job)

    monkeypatch.setattr(climbing, "train", train)
    assert CliRunner().invoke(cli, words).exit_code == 1
    sealed = {path: path.read_bytes() for path in (out / "forecasts").iterdir()}
    assert len(sealed) == 2
    done = read_json(out / "ladder.json")["runs"]
    assert [row["part"] for row in done.values()].count("held out") == 1

    monkeypatch.setattr(climbing, "train", true_train)
    said = called()
    assert {path: path.read_bytes() for path in (out / "forecasts").iterdir()} == sealed
    assert len(read_json(out / "ladder.json")["runs"]) == 10
    assert len([line for line in said.splitlines() if line.startswith("| fitted")]) == 6
    assert "of 4 within the interval" in said
    assert "What these runs cannot know:" in said
    assert "another seed" in said
    laws = read_laws(out / "law.json")
    assert set(laws) == {"en", "zh"}
    forecast = read_forecast(next(iter(sealed)), "pretrain")
    assert forecast is not None
    assert {row.language for row in forecast.milestones} == {"en", "zh"}
    planned = ["plan", "--gpu", "h800", "--gpus", "1", "--flops", "1e10", "--sequence-tokens", "64"]
    result = CliRunner().invoke(cli, [*planned, "--law", str(out / "law.json")])
    assert result.exit_code == 0, result.exception
    assert "a ladder of 9 runs" in result.stdout


def test_a_ladder_stops_when_its_minutes_are_over(
    shards: Path, small_tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    def slow(job: Any) -> Any:
        time.sleep(20)  # cut short

    monkeypatch.setattr(climbing, "train", slow)
    ascent = Ascent(CLIMB, Ground(shards, small_tokenizer_folder, tmp_path, Progress()))
    assert ascent.run(minutes=0.005) is False
    assert len(ascent.left()) == 2


def test_a_damaged_record_or_shards_without_validation_are_refused(
    shards: Path, small_tokenizer_folder: Path, tmp_path: Path
) -> None:
    write_json(tmp_path / "ladder.json", {"runs": {"a": {"part": "fitted"}}})
    with pytest.raises(InputError, match="is damaged"):
        Ascent(CLIMB, Ground(shards, small_tokenizer_folder, tmp_path, Progress()))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "train-00000.shard").write_bytes((shards / "train-00000.shard").read_bytes())
    with pytest.raises(TongwenError, match="no validation shard"):
        Ascent(CLIMB, Ground(alone, small_tokenizer_folder, tmp_path / "new", Progress()))
