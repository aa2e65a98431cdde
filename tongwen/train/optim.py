"""The optimizers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tongwen.model.llama import Llama
from tongwen.train.settings import TrainSettings


class Optimizer:
    """One or two of torch's optimizers over disjoint parameters, stepped as one.

    The learning rate is the same for all and is set before every step.
    """

    def __init__(self, parts: Iterable[torch.optim.Optimizer]) -> None:
        self._parts = tuple(parts)

    def step(self, learning_rate: float) -> None:
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def build_optimizer(model: Llama, settings: TrainSettings) -> Optimizer:
    """AdamW for all parameters, or Muon for the layers' matrices and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. Muon: Jordan et al. 2024; its update is
    scaled to AdamW's root mean square as in Moonlight (Liu et al. 2025, arXiv:2502.16982,
    section 2.2), so that one learning rate serves both. Matrices decay, norms do not.
    """
    inner, outer, vectors = _by_role(model)
    if settings.optimizer == "adamw":
        return Optimizer([_adamw(inner + outer, vectors, settings)])
    muon = torch.optim.Muon(
        inner,
        lr=0.0,
        weight_decay=settings.weight_decay,
        momentum=settings.muon_momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    return Optimizer([muon, _adamw(outer, vectors, settings)])


def _by_role(
    model: Llama,
) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Matrices of the layers; embedding and output head; vectors."""
    layers = {id(parameter) for parameter in model.model.layers.parameters()}
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    return (
        [parameter for parameter in matrices if id(parameter) in layers],
        [parameter for parameter in matrices if id(parameter) not in layers],
        [parameter for parameter in model.parameters() if parameter.dim() < 2],
    )


def _adamw(
    matrices: list[nn.Parameter], vectors: list[nn.Parameter], settings: TrainSettings
) -> torch.optim.AdamW:
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.adam_betas, fused=True)
