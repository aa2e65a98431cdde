"""Layers that are computed again on the way back are compiled like others."""

from typing import Literal

import pytest
import torch
from torch._dynamo.utils import counters

from tongwen.model.config import ModelConfig
from tongwen.model.llama import DecoderLayer, Llama
from tongwen.train.parallel.recompute import recompute_activations


@pytest.mark.filterwarnings("ignore")  # torch warns while it traces
@pytest.mark.parametrize("what", ["none", "cheap", "layer"])
def test_a_compiled_layer_is_one_graph_and_gives_the_same_gradients(
    what: Literal["none", "cheap", "layer"],
) -> None:
    config = ModelConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocabulary_size=50,
        max_position_embeddings=64,
    )
    ids = torch.arange(48).view(2, 24)
    found = []
    for is_compiled in (False, True):
        model = Llama(config)
        model.initialize(0)
        recompute_activations(model, what)
        torch._dynamo.reset()
        counters.clear()
        for layer in model.model.layers:
            if is_compiled and isinstance(layer, DecoderLayer):
                layer.compile(backend="aot_eager")
        model(ids).square().sum().backward()
        assert (counters["stats"]["unique_graphs"] > 0) == is_compiled
        assert not counters["graph_break"]
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*found)
