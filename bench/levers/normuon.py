"""NorMuon (Li et al. 2025, arXiv:2510.05491): Muon's update divided by the running mean square of
each of its rows, then scaled to the root mean square that Muon's has.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from tongwen.train.optim import build
from tongwen.train.optim.muon import Muon, orthogonalized

_SHARE_KEPT = 0.95
_EPSILON = 1e-8


class NorMuon(Muon):
    """Muon with rows of equal size."""

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        directions = []
        for parameter in parameters:
            gradient, momentum, state = parameter.grad, group["momentum"], self.state[parameter]
            assert gradient is not None
            if "row_squares" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
                state["row_squares"] = torch.zeros(len(parameter), 1)
            state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            directions.append(gradient.lerp(state["momentum_buffer"], momentum))
        for parameter, update in zip(
            parameters, orthogonalized(torch.stack(directions)), strict=True
        ):
            squares = self.state[parameter]["row_squares"]
            squares.lerp_(update.square().mean(dim=1, keepdim=True), 1 - _SHARE_KEPT)
            change = update / (squares.sqrt() + _EPSILON)
            size = group["lr"] * 0.2 * parameter.numel() ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(change, alpha=-size / float(change.norm().clamp(min=_EPSILON)))


@contextmanager
def applied() -> Iterator[None]:
    """Within it a run that asks for Muon gets this one."""
    with patch.object(build, "Muon", NorMuon):
        yield
