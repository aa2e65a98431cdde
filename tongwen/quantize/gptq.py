"""Rounds weights so that a projection's outputs on calibration text change little.

GPTQ, Frantar et al. 2022, arXiv:2210.17323: the inputs of a projection are rounded one by one, and
those not rounded yet make up for the error in the outputs. The scale of a group is chosen when its
first input is reached, with each input weighted by its mean square. Each layer is calibrated on the
outputs of the rounded layers before it.

Shape suffixes in this file: B batch, T tokens, O outputs, N inputs, G groups, n inputs of a group.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tongwen.model.llama import Llama
from tongwen.model.quantized import grid
from tongwen.model.quantized.folder import replace
from tongwen.model.quantized.grid import GROUP, Bits
from tongwen.model.quantized.linear import QuantizedLinear

_DAMPING = 0.01
"""Share of the mean square that is added to every input's, as in the paper's code."""

_LAZY_INPUTS = 128
"""Inputs after which the rest of the matrix is updated at once, section 3.3."""


class _Captured(Exception):
    """Ends a forward pass whose first layer has been reached."""


@torch.inference_mode()
def calibrated(
    model: Llama,
    documents: Sequence[list[int]],
    bits: Bits,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, QuantizedLinear]:
    """The projections of all layers by name, rounded after the documents.

    The model's own layers are replaced on the way.

    Args:
        model: with plain float32 weights.
        documents: token ids, each no longer than the window.
        bits: of the rounded weights.
        report: called with the layers done and all layers.
    """
    calls = [_first_call(model, ids) for ids in documents]
    rounded: dict[str, QuantizedLinear] = {}
    layers = model.model.layers
    for number, layer in enumerate(layers):
        report(number, len(layers))
        squares = _input_squares(layer, calls)
        for name, square_NN in squares.items():
            linear = layer.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            full_name = f"model.layers.{number}.{name}"
            rounded[full_name] = round_with_errors(linear, square_NN, bits)
            replace(model, full_name, rounded[full_name])
        calls = [(layer(x, *rest), *rest) for x, *rest in calls]
    return rounded


def _first_call(model: Llama, ids: list[int]) -> tuple[Any, ...]:
    """What the first layer is called with."""
    found: list[tuple[Any, ...]] = []

    def capture(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        found.append(arguments)
        raise _Captured

    handle = model.model.layers[0].register_forward_pre_hook(capture)
    try:
        model(torch.tensor([ids], device=model.device))
    except _Captured:
        pass
    finally:
        handle.remove()
    return found[0]


def _input_squares(layer: nn.Module, calls: Sequence[tuple[Any, ...]]) -> dict[str, Tensor]:
    """For each projection of a layer the mean of x x', (N, N); shared by those that share x."""
    inputs: dict[str, Tensor] = {}
    owners: dict[str, str] = {}
    squares: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[..., None]:
        def see(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            x = arguments[0]
            same = (other for other, seen in inputs.items() if seen is x)
            owner = owners.setdefault(name, next(same, name))
            inputs[name] = x
            if owner == name:
                flat = x.reshape(-1, x.shape[-1]).float()
                square = flat.t() @ flat
                squares[name] = squares[name].add_(square) if name in squares else square

        return see

    linears = [(name, item) for name, item in layer.named_modules() if isinstance(item, nn.Linear)]
    handles = [linear.register_forward_pre_hook(hook(name)) for name, linear in linears]
    try:
        for arguments in calls:
            inputs.clear()
            layer(*arguments)
    finally:
        for handle in handles:
            handle.remove()
    return {name: squares[owner] for name, owner in owners.items()}


def round_with_errors(linear: nn.Linear, square_NN: Tensor, bits: Bits) -> QuantizedLinear:
    """A projection rounded after the sum of x x' over the calibration tokens."""
    weight_OGn = grid.group_inputs(linear.weight)
    outputs, groups, _ = weight_OGn.shape
    inputs = groups * GROUP
    weight_ON = weight_OGn.reshape(outputs, inputs).clone()
    hessian_NN = torch.zeros(inputs, inputs, device=weight_ON.device)
    hessian_NN[: linear.in_features, : linear.in_features] = square_NN
    importance_Gn = hessian_NN.diagonal().clone().view(groups, GROUP)
    importance_Gn += _DAMPING * importance_Gn.mean() + torch.finfo(torch.float32).tiny
    inverse_NN = _inverse_factor(hessian_NN)
    steps_ON = torch.empty_like(weight_ON)
    scale_OG = torch.empty(outputs, groups, dtype=torch.float16, device=weight_ON.device)
    for start in range(0, inputs, _LAZY_INPUTS):
        end = min(inputs, start + _LAZY_INPUTS)
        errors_ON = torch.empty(outputs, end - start, device=weight_ON.device)
        for place in range(start, end):
            group = place // GROUP
            if place % GROUP == 0:
                current = weight_ON[:, None, place : place + GROUP]
                chosen = grid.choose_scales(current, bits, importance_Gn[group : group + 1])
                scale_OG[:, group] = chosen[:, 0]
            scale_O = scale_OG[:, group].float()
            steps_O = grid.to_grid(weight_ON[:, place, None], scale_O, bits)[:, 0]
            steps_ON[:, place] = steps_O
            error_O = (weight_ON[:, place] - steps_O * scale_O) / inverse_NN[place, place]
            weight_ON[:, place:end] -= error_O[:, None] * inverse_NN[place, place:end]
            errors_ON[:, place - start] = error_O
        weight_ON[:, end:] -= errors_ON @ inverse_NN[start:end, end:]
    steps_OGn = steps_ON.view(outputs, groups, GROUP)
    bias = None if linear.bias is None else linear.bias.detach()
    return QuantizedLinear(grid.to_bytes(steps_OGn, bits), scale_OG, linear.in_features, bias)


def _inverse_factor(hessian_NN: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse; inputs that are always zero get ones."""
    diagonal = hessian_NN.diagonal()
    diagonal += _DAMPING * diagonal.mean()
    diagonal[diagonal == 0] = 1
    lower = torch.linalg.cholesky(hessian_NN.double())
    inverse = torch.cholesky_inverse(lower)
    upper: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return upper.float()
