"""Muon against torch's own, and against what it promises."""

import pytest
import torch

from tongwen.train.optim.muon import Muon, orthogonalized


def test_singular_values_come_near_one_and_directions_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 24, 40), (2, 40, 24), (1, 16, 16)):
        matrices = torch.randn(shape, generator=generator)
        found = orthogonalized(matrices)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.3
        assert values.max() < 1.3
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        exact = left @ right
        similarity = (found * exact).sum((1, 2)) / found.norm(dim=(1, 2)) / exact.norm(dim=(1, 2))
        assert similarity.min() > 0.97


@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_its_steps_are_those_of_torch_up_to_rounding(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    first = [torch.randn(shape, generator=generator) for _ in range(3)]
    ours = [torch.nn.Parameter(weight.clone()) for weight in first]
    theirs = [torch.nn.Parameter(weight.clone()) for weight in first]
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    optimizers = (
        Muon(ours, **settings),
        torch.optim.Muon(theirs, **settings, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(shape, generator=generator)
            other.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, other, weight in zip(ours, theirs, first, strict=True):
        apart = (mine - other).norm() / (mine - weight).norm()
        assert apart < 0.02  # theirs multiplies in bfloat16
