"""Hyperball, the lever of `bench/levers/hyperball.py`, against hand calculation."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.train.optim.build import build_optimizer
from tongwen.train.settings import TrainSettings

LEVER = Path(__file__).parents[2] / "bench" / "levers" / "hyperball.py"
CONFIG = ModelConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, vocabulary_size=60,
)  # fmt: skip


@pytest.fixture(scope="module")
def hyperball() -> Any:
    spec = importlib.util.spec_from_file_location("hyperball", LEVER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_turns_the_weights_by_the_angle_of_its_rate(hyperball: Any) -> None:
    """Weights (3, 0; 0, 4) on a sphere of 5, a direction at right angles to them, a rate of 0.5:
    the step is 2.5 long, so the tangent of the angle is a half.
    """
    weights = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    direction = torch.tensor([[0.0, 7.0], [0.0, 0.0]])
    found = hyperball.moved(weights, direction, 5.0, 0.5)
    shrunk = 5 / math.hypot(5, 2.5)
    expected = shrunk * torch.tensor([[3.0, -2.5], [0.0, 4.0]])
    torch.testing.assert_close(found, expected)
    assert float(found.norm()) == pytest.approx(5.0)


@pytest.mark.parametrize("kind", ["MuonHyperball", "AdamHyperball"])
def test_matrices_of_the_layers_keep_their_norm_and_all_else_moves_freely(
    hyperball: Any, kind: str
) -> None:
    settings = TrainSettings(
        max_tokens=1_024, sequence_tokens=32, batch_tokens=64, optimizer="muon", device="cpu"
    )
    model = Llama(CONFIG)
    model.initialize(0)
    before = {name: float(item.detach().norm()) for name, item in model.named_parameters()}
    first = {name: item.detach().clone() for name, item in model.named_parameters()}
    with hyperball.applied(getattr(hyperball, kind), ratio=2.0):
        optimizer = build_optimizer(model, CONFIG, settings)
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step(0.02)
    for name, item in model.named_parameters():
        assert not torch.equal(item, first[name]), name
        if item.dim() == 2 and name.startswith("model.layers."):
            assert float(item.detach().norm()) == pytest.approx(before[name], rel=1e-5)
            turned = float((item.detach() * first[name]).sum()) / before[name] ** 2
            assert math.acos(turned) < 3 * math.atan(0.04) + 1e-3  # three steps of 2 x 0.02
        else:
            assert float(item.detach().norm()) != pytest.approx(before[name], rel=1e-5)
