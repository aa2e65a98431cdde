"""Questions of a team, each answered by `tongwen plan` and checked by hand calculation."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.cli.plan import command
from tongwen.errors import DoesNotFitError, InputError, UsageError
from tongwen.plan.devices import Devices, efficiency
from tongwen.plan.laws import CHINCHILLA

TABLE = Devices.load()
H100_FLOPS = 989e12
GIB = 2**30
YI_34B_FLOPS_PER_TOKEN = 6 * (60 * (7168 * 128 * (2 * 56 + 2 * 8) + 3 * 7168 * 20480)) + (
    6 * 64_000 * 7168 + 12 * 60 * 56 * 128 * 4096
)


def plan(*words: object) -> Any:
    """The answer's values; errors are raised."""
    result = CliRunner().invoke(command, [*map(str, words), "--json"], catch_exceptions=False)
    return json.loads(result.stdout)


def refused(kind: type[Exception], *words: object) -> tuple[str, str]:
    """Message and hint of the error."""
    result = CliRunner().invoke(command, [*map(str, words)])
    assert isinstance(result.exception, kind), result.exception or result.output
    return result.exception.message, str(result.exception.hint)  # type: ignore[attr-defined]


def share(device: str, parameters: float) -> float:
    return efficiency(TABLE.devices[device], parameters, TABLE.measured).mfu


def seconds_by_hand(answer: dict[str, Any]) -> float:
    """FLOPs by speed, the layout's cost and the goodput that the answer states."""
    device, speed = answer["device"], answer["efficiency"]
    peak = answer["gpus"] * device["peak_tflops"] * 1e12
    mfu = share(device["name"], answer["model"]["parameters"])
    return float(answer["flops"] / (peak * mfu / speed["layout_slowdown"]) / speed["goodput"])


def check_arithmetic(answer: dict[str, Any]) -> None:
    """What any answer must add up to."""
    settings = answer["settings"]
    assert math.prod(n for n in settings["parallel"].values()) == answer["gpus"]
    data_parts = settings["parallel"]["shard"] * settings["parallel"]["replicate"]
    assert settings["batch_tokens"] % (settings["micro_batch_tokens"] * data_parts) == 0
    assert answer["steps"] == -(-answer["tokens"] // settings["batch_tokens"])
    assert answer["memory_bytes"] * 1.08 <= answer["device"]["memory_gib"] * GIB
    days = answer["days"]["expected"]
    assert days * 86_400 == pytest.approx(seconds_by_hand(answer), rel=0.01)
    assert answer["gpu_hours"]["expected"] == pytest.approx(days * 24 * answer["gpus"])
    kilowatts = answer["gpus"] * answer["device"]["power_watts"] * 1.3 / 1_000
    assert answer["energy_kwh"]["expected"] == pytest.approx(days * 24 * kilowatts)
    if answer["price"]:
        hourly = answer["gpus"] * answer["device"]["price_per_hour"]
        assert answer["price"]["expected"] == pytest.approx(days * 24 * hourly)


def test_1_a_budget_in_gpus_and_days_buys_the_best_size_for_its_flops() -> None:
    answer = plan("--gpu", "h800", "--gpus", 64, "--days", 30)
    check_arithmetic(answer)
    assert 29.9 < answer["days"]["expected"] <= 30.0
    # Besiroglu's optimum for C = 6 N D: N = G (C / 6)^(b / (a + b)), here with attention in C.
    a, b = CHINCHILLA.parameter_exponent, CHINCHILLA.token_exponent
    ratio = a * CHINCHILLA.parameter_factor / (b * CHINCHILLA.token_factor)
    optimum = ratio ** (1 / (a + b)) * (answer["flops"] / 6) ** (b / (a + b))
    assert answer["model"]["parameters"] == pytest.approx(optimum, rel=0.3)
    bits = answer["bits_per_byte"]["en"]
    by_law = CHINCHILLA.bits_per_byte(answer["model"]["parameters"], answer["tokens"])
    assert bits["expected"] == pytest.approx(by_law)
    assert bits["low"] < bits["expected"] < bits["high"]
    assert bits["extrapolation"] == pytest.approx(answer["flops"] / 3e21)
    assert answer["bits_per_byte"]["zh"]["expected"] is None


def test_2_a_budget_in_money_is_spent_and_not_more() -> None:
    answer = plan("--gpu", "h100", "--gpus", 16, "--money", 100_000)
    check_arithmetic(answer)
    assert 99_000 < answer["price"]["expected"] <= 100_000
    assert answer["gpu_hours"]["expected"] == pytest.approx(100_000 / 3, rel=0.01)


def test_3_money_and_days_say_how_many_gpus() -> None:
    answer = plan("--gpu", "h100", "--money", 100_000, "--days", 14)
    # 100,000 / 3 / 24 / 14 = 99.2 cards: twelve nodes of eight
    assert answer["gpus"] == 96
    assert answer["price"]["expected"] <= 100_000
    message, hint = refused(UsageError, "--gpu", "h100", "--money", 100, "--days", 14)
    assert "1.4 days of one h100" in message
    assert hint.startswith("--days 1.4")


def test_4_a_budget_in_days_on_eight_cards_of_a_fixed_size() -> None:
    answer = plan("--parameters", "1B", "--gpu", "a100-80gb", "--gpus", 8, "--days", 7)
    check_arithmetic(answer)
    assert answer["model"]["parameters"] == pytest.approx(1e9, rel=0.1)
    assert 6.95 < answer["days"]["expected"] <= 7.0


def test_5_continuing_a_6b_on_8_cards() -> None:
    answer = plan(
        "yi-6b", "--gpu", "a800", "--gpus", 8, "--tokens", "20B", "--continued"
    )  # fmt: skip
    check_arithmetic(answer)
    # 41.2e9 FLOPs a token by 20e9 tokens on 8 x 312e12 x 52 % is 7.3 days before any loss.
    assert answer["days"]["expected"] == pytest.approx(7.35, rel=0.08)
    assert answer["settings"]["peak_learning_rate"] == 3e-4
    assert "weights that the law does not know" in answer["bits_per_byte"]["en"]["why"]
    assert answer["rate_laws"] == []


@pytest.mark.parametrize(("gpus", "days"), [(64, 374.28), (1_200, 19.96), (2_000, 11.98)])
def test_6_to_8_a_34b_on_64_1200_and_2000_h800(gpus: int, days: float) -> None:
    """Days: 6.966e23 FLOPs on so many cards at 34.03 % of 989e12, before layout and failures."""
    answer = plan("yi-34b", "--gpu", "h800", "--gpus", gpus)
    check_arithmetic(answer)
    assert answer["flops"] == pytest.approx(3.1e12 * YI_34B_FLOPS_PER_TOKEN, rel=1e-5)
    mfu = share("h800", 34.39e9)
    assert answer["flops"] / (gpus * H100_FLOPS * mfu) / 86_400 == pytest.approx(days, rel=2e-3)
    lost = answer["efficiency"]["layout_slowdown"] / answer["efficiency"]["goodput"]
    assert 1 <= lost < 1.15
    assert answer["days"]["expected"] == pytest.approx(days * lost, rel=3e-3)
    # Young: sqrt(2 x saving x 50,700 h / cards), saving 2 s and 12 bytes a parameter at 10 GB/s
    failure = 50_700 * 3_600 / gpus
    saving = 2 + 12 * 34.389e9 / gpus / 10e9
    interval = max(math.sqrt(2 * saving * failure), 2 * 12 * 34.389e9 / 10e9)
    step = answer["step_seconds"]
    assert answer["checkpoint_minutes"] * 60 == pytest.approx(interval, abs=step)
    # 232 times the largest run behind the law
    bits = answer["bits_per_byte"]["en"]
    assert bits["expected"] is None
    assert "232 times the largest run" in bits["why"]


def test_9_an_extension_to_200k_cuts_sequences_over_cards() -> None:
    answer = plan("yi-34b-200k", "--stage", "extend", "--gpu", "h800", "--gpus", 64)
    check_arithmetic(answer)
    assert answer["settings"]["sequence_tokens"] == 200_000
    assert answer["tokens"] == 5_000_000_000
    context = answer["settings"]["parallel"]["context"]
    assert context > 1
    assert 200_000 % (2 * context * answer["settings"]["parallel"]["tensor"]) == 0
    # 1,230e9 FLOPs a token at 200,000 by 5e9 tokens
    assert answer["flops"] == pytest.approx(5e9 * 1_237e9, rel=0.01)
    message, hint = refused(
        DoesNotFitError, "yi-34b-200k", "--stage", "extend", "--gpu", "h800", "--gpus", 8
    )
    assert "on each of 8 h800, which have 79.6" in message
    assert plan("yi-34b-200k", "--stage", "extend", "--gpu", "h800", *hint.split(",")[0].split())


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        # 2 bytes of each of 6.84e9 (the family's member nearest 7B)
        (("--parameters", "7B", "--gpu", "rtx-4090", "--method", "lora"), 2.0),
        (("--parameters", "7B", "--gpu", "rtx-4090", "--method", "qlora"), None),
        (("yi-34b", "--gpu", "a100-80gb", "--method", "lora"), 2.0),
        (("yi-34b", "--gpu", "a100-80gb", "--method", "qlora"), None),
    ],
)
def test_10_and_11_adapters_of_7b_on_24_gib_and_of_34b_on_80_gib(
    words: tuple[str, ...], weights: float | None
) -> None:
    answer = plan(*words, "--tokens", "10M")
    model, memory = answer["model"], answer["memory"]
    hidden, wide, layers = (
        model[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    query = model["num_attention_heads"] * model["head_dim"]
    key_value = model["num_key_value_heads"] * model["head_dim"]
    ends = (hidden + query) * 2 + (hidden + key_value) * 2 + (hidden + wide) * 3
    assert answer["adapter_parameters"] == 16 * layers * ends
    adapters = answer["adapter_parameters"]
    assert memory["gradients"] + memory["optimizer"] == 12 * adapters
    frozen = memory["weights"] - 4 * adapters
    if weights is None:
        in_layer = hidden * (2 * query + 2 * key_value) + 3 * hidden * wide
        outside = 2 * (model["parameters"] - layers * in_layer)
        # 4 bits, an 8-bit scale for 64 of them, a 32-bit scale for 256 of these
        four_bits = layers * in_layer * (4 + 8 / 64 + 32 / 16_384) / 8
        assert frozen == pytest.approx(outside + four_bits + 2 * in_layer)
    else:
        assert frozen == weights * model["parameters"]
    assert answer["memory_bytes"] * 1.08 <= answer["device"]["memory_gib"] * GIB
    assert answer["seconds"] == pytest.approx(1e7 / answer["tokens_per_second"])


def test_what_does_not_fit_as_an_adapter_is_refused_with_what_does() -> None:
    words = ("yi-9b", "--gpu", "rtx-4090", "--sequence-tokens", 4_096)
    message, hint = refused(DoesNotFitError, *words, "--method", "lora")
    assert "lora of 8.83B needs" in message
    assert hint == "--method qlora"
    assert plan(*words, "--method", "qlora")["method"] == "qlora"
    _, hint = refused(DoesNotFitError, "yi-34b", "--gpu", "rtx-4090", "--method", "qlora")
    assert hint == "a smaller model or a larger card"


def test_12_what_fits_on_a_card_and_on_this_machine() -> None:
    rows = {row["shape"]: row for row in plan("--gpu", "rtx-4090", "--fits")}
    six, large = rows["yi-6b"], rows["yi-34b"]
    assert six["fits"] == {
        "full": False, "lora": True, "qlora": True, "answer": True, "answer_int8": True,
    }  # fmt: skip
    # 2 bytes a parameter, 64 KiB a token of the window, 1.5 GiB of CUDA
    expected = 2 * 6_061_035_520 + 2_048 * 65_536 + 1.5 * GIB
    assert six["memory_bytes"]["answer"] == pytest.approx(expected)
    assert not any(large["fits"].values())
    table = CliRunner().invoke(command, ["--gpu", "this", "--fits"]).output
    assert "yi-34b" in table
    assert "(in brackets: does not fit)" in table


def test_13_cheapest_to_serve_is_smaller_and_trained_longer_at_the_same_loss() -> None:
    words = ("--gpu", "h100", "--gpus", 64, "--target-bits-per-byte", 0.75)
    best = plan(*words)
    serve = ("--objective", "cheapest-to-serve", "--serve-tokens")
    cheap = plan(*words, *serve, "2T")
    assert cheap["model"]["parameters"] < best["model"]["parameters"]
    assert cheap["tokens"] > best["tokens"]
    for answer in (best, cheap):
        check_arithmetic(answer)
        assert answer["bits_per_byte"]["en"]["expected"] == pytest.approx(0.75, abs=1e-3)

    def whole(answer: dict[str, Any]) -> float:
        """Training and 2 N FLOPs for each of 2e12 tokens at 10 % of peak, in GPU hours."""
        model = answer["model"]
        products = model["parameters"] - 64_000 * model["hidden_size"]
        serving = 2 * products * 2e12 / (H100_FLOPS * 0.10) / 3_600
        return float(answer["gpu_hours"]["expected"] + serving)

    assert whole(cheap) < whole(best)
    assert cheap["serving_gpu_hours"] == pytest.approx(
        whole(cheap) - cheap["gpu_hours"]["expected"]
    )
    # And under one budget for both: a smaller model than the budget could train.
    budget = ("--gpu", "h100", "--gpus", 64, "--days", 10)
    served = plan(*budget, *serve, "1T")
    assert served["model"]["parameters"] < plan(*budget)["model"]["parameters"]


def test_14_a_target_is_reached_at_the_least_cost_and_one_that_cannot_be_is_refused() -> None:
    answer = plan("--gpu", "h100", "--gpus", 8, "--target-bits-per-byte", 0.8)
    check_arithmetic(answer)
    for factor in (0.5, 2.0):  # other sizes at the same loss cost more
        size = answer["model"]["parameters"] * factor
        other = plan(
            "--gpu", "h100", "--gpus", 8, "--target-bits-per-byte", 0.8, "--parameters", size
        )
        assert other["gpu_hours"]["expected"] > answer["gpu_hours"]["expected"]
    # 1.8172 nats a token of 4.2 bytes is 0.624 bits a byte.
    message, _ = refused(UsageError, "--gpu", "h100", "--target-bits-per-byte", 0.6)
    assert "no model goes below 0.624" in message
    message, _ = refused(UsageError, "--gpu", "h100", "--target-bits-per-byte", 0.66)
    assert "times the largest run it was fitted on" in message
    message, hint = refused(
        UsageError, "--gpu", "h100", "--target-bits-per-byte", 0.8, "--target-language", "zh"
    )
    assert "the loss law is of en" in message
    assert "--law FILE" in hint


def test_flops_and_tokens_are_budgets_too() -> None:
    by_flops = plan("--gpu", "h100", "--flops", "1e21")
    assert by_flops["flops"] == pytest.approx(1e21, rel=1e-3)
    assert by_flops["model"]["parameters"] == pytest.approx(2.8e9, rel=0.25)
    by_tokens = plan("--gpu", "h100", "--tokens", "60B")
    assert by_tokens["tokens"] == pytest.approx(60e9, rel=1e-3)
    assert by_tokens["model"]["parameters"] == pytest.approx(2.8e9, rel=0.25)
    assert "8 cards are assumed" in by_tokens["notes"][0]


def test_tokens_within_days_take_the_largest_size_that_sees_them_in_time() -> None:
    words = ("--gpu", "h100", "--gpus", 8, "--tokens", "20B")
    answer = plan(*words, "--days", 2)
    check_arithmetic(answer)
    assert answer["tokens"] == pytest.approx(20e9, rel=1e-3)
    assert 1.5 < answer["days"]["expected"] <= 2
    message, _ = refused(DoesNotFitError, *words, "--days", 0.0001)
    assert "no size of model" in message


def test_a_stage_after_pretraining_reads_as_its_own_section() -> None:
    words = ["yi-34b-200k", "--stage", "extend", "--gpu", "h800", "--gpus", "64"]
    output = CliRunner().invoke(command, words, catch_exceptions=False).output
    assert "[extend]" in output
    assert "[pretrain]" not in output
    assert "[model]" not in output


def test_a_law_of_ones_own_forecasts_both_languages(tmp_path: Path) -> None:
    law = {
        "name": "ours", "references": "ours", "largest_flops": 1e21, "smallest_flops": 1e18,
        "irreducible": 0.4, "parameter_factor": 100.0, "parameter_exponent": 0.34,
        "token_factor": 400.0, "token_exponent": 0.36,
    }  # fmt: skip
    path = tmp_path / "law.json"
    path.write_text(json.dumps({"law": {"zh": law, "en": law | {"irreducible": 0.3}}}))
    answer = plan("--gpu", "h100", "--flops", "1e20", "--law", path)
    bits = answer["bits_per_byte"]
    assert bits["zh"]["expected"] == pytest.approx(bits["en"]["expected"] + 0.1)
    assert bits["zh"]["extrapolation"] == 1


def test_a_share_of_peak_that_the_user_measured_counts_as_it_is() -> None:
    answer = plan("yi-34b", "--gpu", "h800", "--gpus", 1_200, "--mfu", 0.4)
    seconds = answer["flops"] / (1_200 * H100_FLOPS * 0.4) / answer["efficiency"]["goodput"]
    assert answer["days"]["expected"] * 86_400 == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", 8, "--days", 3), "for which machine"),
        (("--gpu", "h100"), "no budget"),
        (("--gpu", "h80", "--days", 3), "no device is named 'h80'"),
        (("--gpu", "h100", "--days", -3), "is not a number"),
        (("--gpu", "h100", "--days", 0), "--days is 0"),
        (("--gpu", "h100", "--tokens", "3 apples"), "is not a number"),
        (("--gpu", "h100", "--days", 3, "--set", "pretrain.seed=1"), "--set is of a recipe"),
        (("--gpu", "h100", "--days", 3, "--stage", "extend"), "--stage is of a recipe"),
        (("yi-6b", "--gpu", "h100", "--stage", "extend"), "no stage 'extend'"),
        (("yi-6b", "--gpu", "h100", "--parameters", "7B"), "the recipe fixes the size"),
        (("yi-6b", "--gpu", "h100", "--days", 3, "--mfu", 40), "--mfu is 40"),
        (("--gpu", "h100", "--days", 3, "--serve-tokens", "1T"), "changes nothing"),
        (("--gpu", "h100", "--days", 3, "--shards", "x"), "changes nothing"),
        (("--gpu", "h100", "--days", 3, "--objective", "cheapest-to-serve"), "serve how much"),
        (("--gpu", "h100", "--days", 3, "--target-bits-per-byte", 0.8), "limits it"),
        (("--gpu", "h100", "--method", "lora"), "none is named"),
        (("--fits",), "fits on what"),
        (("--fits", "--gpu", "h100", "--days", 3), "--days changes nothing with --fits"),
        (("--gpu", "h100", "--days", 3, "--rank", 8), "--rank changes nothing"),
        (("yi-6b", "--gpu", "h100", "--gpus", 8, "--method", "lora"), "--gpus changes nothing"),
        (("yi-6b", "--gpu", "h100", "--vocabulary-size", 99), "the recipe fixes the vocabulary"),
        (("--gpu", "h100", "--days", 3, "--target-language", "zh"), "changes nothing"),
        ((), "plan what"),
    ],
)
def test_a_question_that_cannot_be_answered_says_what_is_missing(
    words: tuple[object, ...], message: str
) -> None:
    result = CliRunner().invoke(command, [*map(str, words)])
    text = str(result.exception) + result.output
    assert result.exit_code != 0
    assert any(part in text for part in message.split("|"))


@pytest.mark.parametrize("gpus", [2, 100_000])
def test_a_number_of_cards_that_does_not_work_comes_with_one_that_does(gpus: int) -> None:
    words = ("yi-34b", "--gpu", "h800", "--tokens", "1T")
    _, hint = refused(DoesNotFitError, *words, "--gpus", gpus)
    answer = plan(*words, *hint.split(",")[0].split())
    check_arithmetic(answer)


def test_a_time_that_is_too_short_is_refused_with_what_would_do() -> None:
    words = ("yi-6b", "--gpu", "h100", "--tokens", "1T", "--days", 10)
    message, hint = refused(DoesNotFitError, *words, "--gpus", 8)
    assert "days on 8 h100, 10.0 are allowed" in message
    gpus = hint.split(",")[0].split()
    assert plan(*words, *gpus)["days"]["expected"] < 10


def test_an_answer_reads_as_lines_and_its_recipe_loads(tmp_path: Path) -> None:
    words = ["--gpu", "h800", "--gpus", "64", "--days", "30"]
    output = CliRunner().invoke(command, words, catch_exceptions=False).output
    assert "EXTRAPOLATED" in output
    assert "64 x h800" in output
    recipe = tmp_path / "planned.toml"
    sections = output[output.index("[model]") :]
    recipe.write_text(f'[run]\nname = "planned"\n[tokenizer]\nvocabulary_size = 64_000\n{sections}')
    again = plan(recipe, "--gpu", "h800", "--gpus", 64)
    answer = plan(*words)
    for name in ("tokens", "settings", "flops"):
        assert again[name] == answer[name]


def test_a_device_file_of_ones_own_is_planned_for(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text("[device.h800]\nprice_per_hour = 1.0\n")
    words = ("yi-6b", "--gpu", "h800", "--gpus", 64)
    cheap, listed = plan(*words, "--devices", path), plan(*words)
    assert cheap["price"]["expected"] == pytest.approx(listed["price"]["expected"] / 2)
    refused(InputError, *words, "--devices", tmp_path / "none.toml")
    free = "\n".join(
        f"{name} = 10" for name in
        ("peak_tflops", "memory_gib", "memory_gbs", "link_gbs", "network_gbs", "power_watts")
    )  # fmt: skip
    path.write_text(f"[device.ours]\n{free}\n")
    message, hint = refused(UsageError, "--gpu", "ours", "--money", 30, "--devices", path)
    assert "nobody says what a ours costs" in message
    assert hint == "add --price-per-hour"


@pytest.mark.parametrize("size", ["1e30", "5T", "1M", "5"])
def test_a_size_that_no_shape_comes_near_is_refused_and_not_replaced(size: str) -> None:
    budget = ("--gpu", "h800", "--gpus", 8, "--days", 7)
    message, hint = refused(UsageError, *budget, "--parameters", size)
    assert message.startswith(
        f"--parameters is {float(size.replace('M', 'e6').replace('T', 'e12')):g}"
    )
    assert "[model]" in hint
