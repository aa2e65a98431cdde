"""The machine that the planner runs on, as a device."""

import psutil
import torch

from tongwen.model.device import Arithmetic
from tongwen.model.flops import flops_per_token
from tongwen.plan.calibrate import timed_steps
from tongwen.plan.devices import THIS, Device, Devices, Measured
from tongwen.plan.shapes import shape
from tongwen.train.hardware import peak_flops_per_second
from tongwen.train.settings import TrainSettings

_POWER_WATTS = 65.0
"""Of a laptop or desktop CPU at work; assumed."""

_TOKENS = 1_024
"""Of the steps that are timed."""


def this_machine(table: Devices) -> tuple[Device, Measured | None]:
    """Its GPU's row of the table, or its CPU, with the speed of a few real steps of a small model.

    Raises:
        UsageError: the GPU is not in the table.
    """
    arithmetic = Arithmetic.for_training("auto", "auto")
    if arithmetic.device.type == "cuda":
        return table.named(torch.cuda.get_device_name(arithmetic.device)), None
    peak = peak_flops_per_second(arithmetic)
    assert peak is not None
    device = Device(
        name=THIS,
        peak_tflops=peak / 1e12,
        memory_gib=psutil.virtual_memory().available / 2**30,
        memory_gbs=20.0,
        link_gbs=1.0,
        network_gbs=0.1,
        power_watts=_POWER_WATTS,
        price_source="none",
        cards_per_node=1,
        is_cpu=True,
        uses_bf16=arithmetic.dtype == torch.bfloat16,
    )
    return device, _measured(peak)


def _measured(peak: float) -> Measured | None:
    config = shape(256, 8_000, 256)
    settings = TrainSettings(max_tokens=_TOKENS, sequence_tokens=256, batch_tokens=_TOKENS)
    found = timed_steps(config, settings, steps=2, target_share=1.0)
    if found is None:
        return None
    work = _TOKENS * flops_per_token(config, 256).full
    return Measured(
        device=THIS,
        by="tongwen",
        parameters=config.parameters,
        sequence_tokens=256,
        cards=1,
        mfu=min(1.0, work / found.step_seconds / peak),
        source="two steps, just now",
    )
