"""Muon: momentum whose update is made orthogonal.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the update is scaled
to the root mean square of AdamW's, 0.2 sqrt(max(rows, columns)), as in Moonlight (Liu et al. 2025,
arXiv:2502.16982, section 2.2), so that one learning rate serves both.

torch.optim.Muon takes one matrix at a time and multiplies in bfloat16. Here matrices of one
shape go through the products together, and a CPU without bfloat16 instructions multiplies in
float32: figures in docs/experiments/training.md.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tongwen.model.device import cpu_multiplies_bf16

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_STEPS = 5  # Jordan's, for these coefficients
_SMALLEST_NORM = 1e-7  # a gradient of zeros stays zeros
_STACK_NUMBERS = 32 << 20
"""Numbers of a stack, at most: large matrices gain nothing by it."""


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices.

    Args:
        groups: parameters, or groups with `lr` and `weight_decay` of their own.
        lr: as AdamW's.
        weight_decay: a step takes lr x weight_decay of a weight.
        momentum: share of the old momentum in the new.
    """

    def __init__(
        self, groups: Iterable[Any], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            stacks: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                waiting = stacks.setdefault(tuple(parameter.shape), [])
                waiting.append(parameter)
                if len(waiting) * parameter.numel() >= _STACK_NUMBERS:
                    self._update(stacks.pop(tuple(parameter.shape)), group)
            for waiting in stacks.values():
                self._update(waiting, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Parameters of one shape."""
        directions = []
        for parameter in parameters:
            gradient, momentum = parameter.grad, group["momentum"]
            assert gradient is not None
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            direction = gradient.lerp(state["momentum_buffer"], momentum)
            directions.append(_whole(direction))
        orthogonal = orthogonalized(torch.stack(directions))
        rate = group["lr"] * 0.2 * max(parameters[0].shape) ** 0.5
        for parameter, update in zip(parameters, orthogonal, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(_as_shared(update, parameter), alpha=-rate)


def orthogonalized(matrices: Tensor) -> Tensor:
    """The nearest matrices with orthonormal rows or columns, roughly, (N, rows, columns), float32.

    Five Newton-Schulz steps; singular values end between about 0.7 and 1.2.
    """
    has_bf16 = matrices.device.type == "cuda" or cpu_multiplies_bf16()
    x = matrices.to(torch.bfloat16 if has_bf16 else torch.float32)
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_SMALLEST_NORM)
    a, b, c = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).float()


def _whole(direction: Tensor) -> Tensor:
    return direction.full_tensor() if isinstance(direction, DTensor) else direction


def _as_shared(update: Tensor, parameter: Tensor) -> Tensor:
    """The update cut as the parameter is."""
    if not isinstance(parameter, DTensor):
        return update.to(parameter.dtype)
    return distribute_tensor(
        update.to(parameter.dtype), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
