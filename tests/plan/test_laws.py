"""The laws against values calculated by hand from the papers' formulas."""

import json
import math
from pathlib import Path

import pytest

from tongwen.errors import InputError
from tongwen.plan.law_file import read_laws
from tongwen.plan.laws import (
    CHINCHILLA,
    DeepSeekLaw,
    DelphiReference,
    LossLaw,
    PorianLaw,
    StepLaw,
    recommended_rate,
)


@pytest.mark.parametrize(
    ("law", "rate", "batch"),
    [
        # e^(0.5822 - 0.713 ln 6.06e9 + 0.307 ln 3.1e12) and so on
        (StepLaw(), 1.30e-3, 7.87e6),
        (DeepSeekLaw(), 4.1e-4, 10.1e6),
        (PorianLaw(), 1.23e-3, 4.8e6),
    ],
)
def test_what_the_laws_say_of_a_6b_on_3_1t_tokens(
    law: StepLaw | DeepSeekLaw | PorianLaw, rate: float, batch: float
) -> None:
    said = law.at(6.06e9, 3.1e12, 1.13e23)
    assert said.rate == pytest.approx(rate, rel=0.02)
    assert said.batch_tokens == pytest.approx(batch, rel=0.02)


def test_the_recommended_rate_stays_between_half_of_porians_and_deepseeks() -> None:
    for parameters in (1e6, 1e8, 6e9, 4e11):
        for tokens in (20 * parameters, 1_000 * parameters):
            flops = 6 * parameters * tokens
            bounds = sorted(
                (
                    PorianLaw().at(parameters, tokens, flops).rate / 2,
                    DeepSeekLaw().at(parameters, tokens, flops).rate,
                )
            )
            said = recommended_rate(parameters, tokens, flops).rate
            assert said <= 0.01
            assert said == 0.01 or bounds[0] <= said <= bounds[1]


def test_delphi_gives_its_reference_run_back_and_follows_batch_and_tokens() -> None:
    law = DelphiReference()
    assert law.rate(262_144, 2.5e9) == pytest.approx(0.0063)
    assert law.adam_rate(262_144, 2.5e9) == pytest.approx(6.56e-4)
    assert law.epsilon(262_144, 2.5e9) == pytest.approx(1.85e-8)
    assert law.second_beta(262_144) == pytest.approx(0.9999)
    # Four times the batch on sixteen times the tokens: sqrt(4) * 16^-0.3, and noise a quarter.
    assert law.rate(4 * 262_144, 16 * 2.5e9) == pytest.approx(0.0063 * 2 * 16**-0.3)
    assert law.adam_rate(4 * 262_144, 16 * 2.5e9) == pytest.approx(6.56e-4 / 2)
    assert law.epsilon(4 * 262_144, 16 * 2.5e9) == pytest.approx(1.85e-8 * 2)
    assert law.rate(1e9, 2.5e9) == 0.01


def test_the_loss_law_says_what_its_formula_says() -> None:
    # 1.8172 + 482.01 / 34.39e9^0.3478 + 2085.43 / 3.1e12^0.3658 nats a token, 4.2 bytes a token
    nats = 1.8172 + 482.01 / 34.39e9**0.3478 + 2085.43 / 3.1e12**0.3658
    assert nats == pytest.approx(1.978, abs=1e-3)
    assert CHINCHILLA.bits_per_byte(34.39e9, 3.1e12) == pytest.approx(nats / math.log(2) / 4.2)


def test_an_interval_widens_with_the_distance_and_with_the_bootstrap() -> None:
    def width(law: LossLaw, far: float) -> float:
        low, high = law.interval(1e9, 2e10, far)
        assert low < law.bits_per_byte(1e9, 2e10) < high
        return high - low

    assert width(CHINCHILLA, 1) < width(CHINCHILLA, 10) < width(CHINCHILLA, 100)
    values = {
        **vars(CHINCHILLA),
        "samples": ((1.7, 482, 0.35, 2085, 0.37), (2.0, 482, 0.34, 2085, 0.36)),
    }
    assert width(LossLaw(**values), 1) > width(CHINCHILLA, 1)


LAW = {
    "name": "our ladder",
    "references": "0.3M to 4M parameters",
    "largest_flops": 1e15,
    "smallest_flops": 1e12,
    "irreducible": 0.9,
    "parameter_factor": 40.0,
    "parameter_exponent": 0.3,
    "token_factor": 90.0,
    "token_exponent": 0.3,
}


def test_a_law_file_gives_laws_by_language_and_refuses_what_is_no_law(tmp_path: Path) -> None:
    path = tmp_path / "laws.json"
    path.write_text(json.dumps({"law": {"zh": LAW, "en": LAW | {"irreducible": 0.8}}}))
    laws = read_laws(path)
    assert laws["zh"].floor == 0.9
    assert laws["en"].floor == 0.8
    for wrong, message in (
        ({"alpha": 1}, "alpha"),
        ({"largest_flops": -1}, "largest_flops"),
        ({"samples": [[1, 2]]}, "five constants"),
    ):
        path.write_text(json.dumps({"law": {"zh": LAW | wrong}}))
        with pytest.raises(InputError, match=message):
            read_laws(path)
    for text in ("", "[]", "{", '{"law": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match="no loss laws"):
            read_laws(path)
    path.write_text(json.dumps({"law": {"zh": {"name": "half"}}}))
    with pytest.raises(InputError, match="references"):
        read_laws(path)
