"""Gradients that lie in parts on several processes."""

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tongwen.train.parallel.mesh import Processes


def reduce_partial_gradients(model: nn.Module) -> None:
    """Sum gradients that each process has a part of; those under FSDP are summed already."""
    for parameter in model.parameters():
        gradient = parameter.grad
        if not (isinstance(gradient, DTensor) and isinstance(parameter, DTensor)):
            continue
        if gradient.placements != parameter.placements:
            with torch.no_grad():
                parameter.grad = gradient.redistribute(placements=parameter.placements)


@torch.no_grad()
def clip_gradients(model: nn.Module, largest_norm: float, processes: Processes) -> Tensor:
    """Scale all gradients so that their common norm is at most `largest_norm`; gives the norm
    before, float32 without dimensions, equal in all processes.
    """
    if processes.count == 1:
        return nn.utils.clip_grad_norm_(model.parameters(), largest_norm)
    gradients = [item.grad for item in model.parameters() if item.grad is not None]
    squares = torch.zeros((), device=processes.device)
    per_stage = processes.count // processes.size("pipeline")
    for gradient in gradients:
        holders = per_stage // _parts(gradient)
        squares += _here(gradient).float().square().sum() / holders
    dist.all_reduce(squares)
    norm = squares.sqrt()
    factor = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        _here(gradient).mul_(factor)
    return norm


def _here(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def _parts(gradient: Tensor) -> int:
    """Into how many parts a gradient is cut."""
    if not isinstance(gradient, DTensor):
        return 1
    mesh = gradient.device_mesh
    return math.prod(
        mesh.size(dim)
        for dim, placement in enumerate(gradient.placements)
        if not placement.is_replicate()
    )
