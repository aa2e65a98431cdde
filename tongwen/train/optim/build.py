"""The optimizers."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tongwen.model.config import ModelConfig
from tongwen.train.optim.muon import Muon
from tongwen.train.optim.parametrization import Scale, scale_of
from tongwen.train.settings import TrainSettings

_ADAM_EPSILON = 1e-8  # Kingma and Ba's (2014, arXiv:1412.6980)


class Optimizer:
    """One or two of torch's optimizers over disjoint parameters, stepped as one.

    All follow one learning rate, set before every step, times the scale of each group. Their state
    exists from the start, so that a checkpoint can be read into it.
    """

    def __init__(self, parts: Iterable[torch.optim.Optimizer], names: dict[nn.Parameter, str]):
        self._parts = tuple(parts)
        self._names = names
        for part in self._parts:
            for parameter in _parameters(part):
                part.state[parameter] = _first_state(part, parameter)

    def step(self, learning_rate: float) -> None:
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group["rate_scale"]
            part.step()

    def zero_grad(self) -> None:
        for part in self._parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Parameter name -> its moments, the tensors themselves: reading into them restores all."""
        return {
            self._names[parameter]: part.state[parameter]
            for part in self._parts
            for parameter in _parameters(part)
        }


def build_optimizer(model: nn.Module, config: ModelConfig, settings: TrainSettings) -> Optimizer:
    """AdamW for all that is trained, or Muon for the layers' matrices and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv:1711.05101. Muon: see `muon`; its update has AdamW's
    root mean square, so one learning rate serves both. Matrices decay, norms do not.
    """
    names = {
        parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    inner = [item for item, name in names.items() if is_inner_matrix(name, item)]
    outer = [item for item in names if item.dim() >= 2 and not is_inner_matrix(names[item], item)]
    vectors = [item for item in names if item.dim() < 2]
    scales = {item: scale_of(name, config, settings) for item, name in names.items()}
    parts: list[torch.optim.Optimizer] = []
    if settings.optimizer == "muon" and inner:
        parts.append(_muon(inner, scales, settings))
    adam = outer + vectors if settings.optimizer == "muon" else inner + outer + vectors
    if adam:  # adapters are matrices of the layers alone
        parts.append(_adamw(adam, scales, settings))
    return Optimizer(parts, names)


def is_inner_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix of the layers, Muon's kind."""
    return parameter.dim() >= 2 and name.startswith("model.layers.")


def _groups(
    parameters: list[nn.Parameter], scales: dict[nn.Parameter, Scale], settings: TrainSettings
) -> list[dict[str, Any]]:
    """Parameters with equal scale and decay together."""
    by_role: dict[tuple[Scale, bool], list[nn.Parameter]] = {}
    for parameter in parameters:
        by_role.setdefault((scales[parameter], parameter.dim() >= 2), []).append(parameter)
    return [
        {
            "params": members,
            "rate_scale": scale.rate,
            # torch decays by rate x decay: a step's decay does not follow the scale.
            "weight_decay": settings.weight_decay / scale.rate if is_matrix else 0.0,
            "eps": _ADAM_EPSILON * scale.epsilon,
        }
        for (scale, is_matrix), members in by_role.items()
    ]


def _adamw(
    parameters: list[nn.Parameter], scales: dict[nn.Parameter, Scale], settings: TrainSettings
) -> torch.optim.AdamW:
    groups = _groups(parameters, scales, settings)
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.adam_betas, fused=True)


def _muon(
    matrices: list[nn.Parameter], scales: dict[nn.Parameter, Scale], settings: TrainSettings
) -> Muon:
    groups = _groups(matrices, scales, settings)
    for group in groups:
        del group["eps"]  # Muon's is another thing, of its orthogonalisation
    return Muon(groups, lr=0.0, weight_decay=settings.weight_decay, momentum=settings.muon_momentum)


def _parameters(part: torch.optim.Optimizer) -> Iterator[nn.Parameter]:
    for group in part.param_groups:
        yield from group["params"]


def _first_state(part: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """What the optimizers would make in their first step."""
    zeros = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    if isinstance(part, Muon):
        return {"momentum_buffer": zeros}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {"step": step, "exp_avg": zeros, "exp_avg_sq": torch.zeros_like(zeros)}
