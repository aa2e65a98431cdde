"""What the process that others are forked from has imported, and measured, when they start."""

import torch

import tongwen.cli.main
import tongwen.cli.pretrain
import tongwen.train.loop
import tongwen.train.stage  # noqa: F401 - what the forks need
from tongwen.train.hardware import Arithmetic, cpu_multiplies_bf16, peak_flops_per_second

# Half a second each, and kept for as long as a process lives.
for dtype in (torch.float32, torch.bfloat16)[: 1 + cpu_multiplies_bf16()]:
    peak_flops_per_second(Arithmetic(torch.device("cpu"), dtype))
