"""What keeps a run from harm: spikes, hangs, and the time that is lost."""

import subprocess
import sys

import pytest

from tongwen.train.guard import WINDOW_STEPS, checkpoint_steps, is_spike, remember
from tongwen.train.metrics import Ledger

NAN = float("nan")


def test_a_spike_lies_six_deviations_above_the_recent_values() -> None:
    recent = [2.0, 4.0] * 40  # mean 3, deviation 1
    assert not is_spike(8.9, recent, 6.0)
    assert is_spike(9.1, recent, 6.0)
    assert not is_spike(-50.0, recent, 6.0)


def test_what_is_not_finite_is_always_a_spike_and_nothing_else_before_the_spread_is_known() -> None:
    for value in (NAN, float("inf")):
        assert is_spike(value, [], None)
    assert not is_spike(1e9, [1.0] * 63, 6.0)
    assert not is_spike(1e9, [1.0] * 64, None)
    assert is_spike(1e9, [1.0] * 64, 6.0)


def test_an_even_stretch_does_not_make_a_small_step_a_spike() -> None:
    assert not is_spike(1.05, [1.0] * 128, 6.0)
    assert is_spike(1.07, [1.0] * 128, 6.0)


def test_the_window_forgets() -> None:
    recent: list[float] = []
    for value in range(300):
        remember(recent, float(value))
    assert recent == [float(value) for value in range(300 - WINDOW_STEPS, 300)]


def test_the_time_between_checkpoints_is_youngs() -> None:
    # 20 s to save, a failure every 10 h: sqrt(2 x 20 x 36000) = 1200 s; at 3 s a step 400 steps.
    assert checkpoint_steps(20, 3, 36_000) == 400
    assert checkpoint_steps(1e-9, 100, 1) == 1


def test_the_ledger_adds_up_to_the_wall_clock() -> None:
    ledger = Ledger({"steps": 60.0, "data": 10.0})
    ledger.move(15.0, "repeated")
    shares = ledger.shares(100.0)
    assert shares["steps"] == pytest.approx(0.45)
    assert shares["repeated"] == pytest.approx(0.15)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_step_that_hangs_ends_the_process_with_its_traceback() -> None:
    code = (
        "import time\n"
        "from tongwen.train.guard import hang_watch\n"
        "with hang_watch(10):\n"
        "    pass\n"
        "with hang_watch(0.2 / 60):\n"
        "    time.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert "line 6 in <module>" in ended.stderr
