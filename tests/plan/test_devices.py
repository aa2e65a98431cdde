"""The table of devices: data sheets, measured rows, and what users add."""

import math
from pathlib import Path

import pytest

from tongwen.errors import InputError, UsageError
from tongwen.plan.devices import Devices, efficiency
from tongwen.train.hardware import _PEAKS

TABLE = Devices.load()


def test_the_table_and_the_trainers_share_of_peak_agree() -> None:
    for name, peak in _PEAKS.items():
        found = [device for key, device in TABLE.devices.items() if name.lower() in key]
        assert found
        assert {device.peak_flops for device in found} == {peak}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("H800", "h800"),
        ("NVIDIA H200 141GB", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA L40S", "l40s"),
        ("nvidia_l4", "l4"),
    ],
)
def test_a_device_is_found_by_the_name_its_driver_has_for_it(said: str, meant: str) -> None:
    assert TABLE.named(said).name == meant


def test_an_unknown_device_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="'h80'") as caught:
        TABLE.named("h80")
    assert "h800" in str(caught.value.hint)
    with pytest.raises(UsageError, match="may be any of a100-40gb, a100-80gb"):
        TABLE.named("a100")
    with pytest.raises(UsageError) as caught:
        TABLE.named("abacus")
    assert "--devices FILE" in str(caught.value.hint)


def test_measured_rows_come_before_assumptions_and_a_size_between_them_is_interpolated() -> None:
    def share(name: str, parameters: float) -> float:
        return efficiency(TABLE.devices[name], parameters, TABLE.measured).mfu

    small, large = (0.39 + 0.381) / 2, 0.318
    place = math.log(34.4e9 / 8.03e9) / math.log(70.6e9 / 8.03e9)
    assert share("h800", 34.4e9) == pytest.approx(small + place * (large - small))
    assert share("h800", 1e12) == large
    assert share("a800", 34.4e9) == 0.52
    assert share("rtx-4090", 1e9) == 0.35
    assert efficiency(TABLE.devices["l4"], 1e9, TABLE.measured).basis.startswith("assumed")


def test_a_users_file_adds_devices_and_rows_and_replaces_prices(tmp_path: Path) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(
        """
        [device.h800]
        price_per_hour = 1.1
        [device.dojo]
        peak_tflops = 400
        memory_gib = 60
        memory_gbs = 1000
        link_gbs = 100
        network_gbs = 20
        power_watts = 500
        [[measured]]
        device = "dojo"
        by = "us"
        parameters = 1e9
        sequence_tokens = 4096
        cards = 8
        mfu = 0.44
        source = "last week"
        """
    )
    table = Devices.load(path)
    assert table.named("h800").price_per_hour == 1.1
    assert table.named("h800").peak_tflops == 989
    dojo = table.named("dojo")
    assert dojo.price_per_hour is None
    assert efficiency(dojo, 1e9, table.measured).mfu == 0.44


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[device.x]\npeak_tflops = 4", "lacks"),
        ("[device.h800]\npeak_tflop = 4", "did you mean|'peak_tflop'"),
        ("[device.h800]\npeak_tflops = -4", "peak_tflops of h800 is -4"),
        ("[device.h800]\nprice_per_hour = 'dear'", "price_per_hour of h800"),
        ("[devices.h800]\npeak_tflops = 4", "table"),
        ("[device", "not TOML"),
        (
            "[[measured]]\ndevice='y'\nby='us'\nparameters=1\nsequence_tokens=1\ncards=1\nmfu=0.5\nsource=''",
            "no device",
        ),
        (
            "[[measured]]\ndevice='h800'\nby='us'\nparameters=1\nsequence_tokens=1\ncards=1\nmfu=45\nsource=''",
            "mfu is 45",
        ),
    ],
)
def test_a_row_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ours.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Devices.load(path)
    with pytest.raises(InputError, match="cannot read"):
        Devices.load(tmp_path / "none.toml")
