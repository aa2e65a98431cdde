"""Settings found on a small model hold for a wide and deep one: CompleteP's coordinate check."""

import pytest
import torch
from torch import Tensor

from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.train.optim.build import build_optimizer
from tongwen.train.optim.parametrization import scale_of
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.settings import CompletePSettings, TrainSettings
from tongwen.train.weights import InitialWeights, fill

BASE = CompletePSettings(base_hidden_size=64, base_layers=2)


def config_of(width: int, layers: int) -> ModelConfig:
    return ModelConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 16,
        num_key_value_heads=width // 16,
        head_dim=16,
        max_position_embeddings=32,
        rope_theta=1e4,
        vocabulary_size=128,
        initializer_range=0.1,
    )


def settings_of(complete_p: CompletePSettings | None) -> TrainSettings:
    return TrainSettings(
        max_tokens=1,
        sequence_tokens=32,
        batch_tokens=32,
        complete_p=complete_p,
        parallel=ParallelSettings(),
        weight_decay=0.0,
    )


def moved(width: int, layers: int, complete_p: CompletePSettings | None) -> float:
    """How far five steps of one rate move the logits: root mean square over tokens and pieces."""
    config, settings = config_of(width, layers), settings_of(complete_p)
    model = Llama(config)
    fill(model, InitialWeights(config, settings))
    optimizer = build_optimizer(model, config, settings)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 128, (8, 32), generator=generator)

    def logits() -> Tensor:
        with torch.no_grad():
            return model.logits(model(ids[:, :-1]))

    before = logits()
    for _ in range(5):
        found = model.logits(model(ids[:, :-1]))
        torch.nn.functional.cross_entropy(found.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step(4e-3)
        optimizer.zero_grad()
    return float((logits() - before).square().mean().sqrt())


def test_logits_of_a_wide_and_deep_model_move_no_further_than_those_of_the_base() -> None:
    base = moved(64, 2, BASE)
    assert moved(64, 8, BASE) == pytest.approx(base, rel=0.15)
    # What random weights add at the start falls with the root of the width, and with it the whole:
    # 0.97, 0.76, 0.61, 0.52 at widths of 64 to 512, and 0.97, 1.57, 2.28, 3.34 without scaling.
    assert 0.5 * base < moved(256, 8, BASE) < 1.1 * base
    assert moved(256, 8, None) > 2 * base


def test_without_a_base_model_nothing_is_scaled_and_the_base_itself_is_left_as_it_is() -> None:
    small = config_of(64, 2)
    for name, _ in Llama(small).named_parameters():
        plain = scale_of(name, small, settings_of(None))
        assert plain == scale_of(name, small, settings_of(BASE))
        assert (plain.initial, plain.rate, plain.epsilon) == (1.0, 1.0, 1.0)


def test_a_step_decays_all_matrices_alike_whatever_their_rate() -> None:
    config = config_of(256, 8)
    settings = settings_of(BASE)
    model = Llama(config)
    fill(model, InitialWeights(config, settings))
    decaying = TrainSettings(
        max_tokens=1, sequence_tokens=32, batch_tokens=32, complete_p=BASE, weight_decay=0.5
    )
    optimizer = build_optimizer(model, config, decaying)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step(0.1)
    for name, weight in model.named_parameters():
        expected = before[name] * (1 - 0.1 * 0.5 if weight.dim() == 2 else 1.0)
        torch.testing.assert_close(weight.detach(), expected)
