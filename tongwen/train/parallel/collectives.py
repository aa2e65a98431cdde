"""Collectives along one dimension of a tensor that gradients flow through.

Each is the other's adjoint: what is gathered on the way forward is summed and scattered on the way
back.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# torch 2.13 gave both a new name and warns of the old one; 2.11 has the old one alone.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def gather(x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    """All parts of the group, laid end to end along `dim`, in the order of the ranks."""
    gathered: Tensor = _Gather.apply(x, group, dim)  # type: ignore[no-untyped-call]
    return gathered


def sum_and_scatter(x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    """The sum over the group, cut along `dim`; this process's part. The group divides `dim`."""
    part: Tensor = _SumAndScatter.apply(x, group, dim)  # type: ignore[no-untyped-call]
    return part


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return _gathered(x, group, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _scattered(gradient, ctx.group, ctx.dim), None, None


class _SumAndScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
        ctx.group, ctx.dim = group, dim
        return _scattered(x, group, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _gathered(gradient, ctx.group, ctx.dim), None, None


def _gathered(x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    parts = x.new_empty((group.size(), *x.shape))
    _all_gather(parts.flatten(0, 1), x.contiguous(), group=group)
    return torch.cat(parts.unbind(0), dim=dim)


def _scattered(x: Tensor, group: dist.ProcessGroup, dim: int) -> Tensor:
    parts = torch.cat(x.chunk(group.size(), dim=dim))
    part = x.new_empty((x.shape[0], *parts.shape[1:]))
    _reduce_scatter(part, parts, group=group)
    return part
