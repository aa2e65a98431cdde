"""Hyperball (Wen et al. 2026, arXiv:2606.16899): a matrix keeps the norm it began with, and every
update has the same share of it; there is no weight decay.

    W <- |W0| unit(W - rate |W0| unit(u))

u is Muon's orthogonal direction or Adam's. The rate is then an angle, the same in a wide layer as
in a narrow one, which is why it should carry over width and depth. Everything but the matrices of
the layers is AdamW's, at the run's own rate; the matrices have `ratio` times it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from tongwen.train.optim import build
from tongwen.train.optim.muon import Muon, orthogonalized

_SMALLEST_NORM = 1e-12
_BETAS = (0.9, 0.95)
_EPSILON = 1e-12
"""Far below any root mean square: the size of a direction does not count, only where it points."""


def moved(weights: Tensor, direction: Tensor, radius: float, rate: float) -> Tensor:
    """The weights after one update, on the sphere of that radius."""
    step = rate * radius / direction.norm().clamp(min=_SMALLEST_NORM)
    found = weights - step * direction
    return found * (radius / found.norm().clamp(min=_SMALLEST_NORM))


class MuonHyperball(Muon):
    """Muon's directions."""

    ratio = 1.0

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter, direction in zip(
            parameters, self._directions(parameters, group), strict=True
        ):
            state = self.state[parameter]
            if "radius" not in state:
                state["radius"] = parameter.norm()
            rate = self.ratio * group["lr"]
            parameter.copy_(moved(parameter, direction, float(state["radius"]), rate))

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> Sequence[Tensor]:
        found = []
        for parameter in parameters:
            gradient, momentum = parameter.grad, self.state[parameter]["momentum_buffer"]
            assert gradient is not None
            momentum.lerp_(gradient, 1 - group["momentum"])
            found.append(gradient.lerp(momentum, group["momentum"]))
        return orthogonalized(torch.stack(found)).unbind()


class AdamHyperball(MuonHyperball):
    """Adam's directions."""

    def _directions(self, parameters: list[Tensor], group: dict[str, Any]) -> Sequence[Tensor]:
        found = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if "squares" not in state:
                state["squares"], state["steps"] = torch.zeros_like(parameter), 0
            state["steps"] += 1
            mean = state["momentum_buffer"].lerp_(gradient, 1 - _BETAS[0])
            squares = state["squares"].lerp_(gradient.square(), 1 - _BETAS[1])
            corrected = squares / (1 - _BETAS[1] ** state["steps"])
            found.append(mean / (corrected.sqrt() + _EPSILON))
        return found


@contextmanager
def applied(kind: type[Muon] = MuonHyperball, ratio: float = 1.0) -> Iterator[None]:
    """Within it a run that asks for Muon gets this one, at `ratio` times the rate."""
    with patch.object(kind, "ratio", ratio, create=True), patch.object(build, "Muon", kind):
        yield
