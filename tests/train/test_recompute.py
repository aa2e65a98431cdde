"""Layers that are computed again on the way back are compiled like others."""

from typing import Literal

import pytest
import torch
from layout_worker import CONFIG
from torch._dynamo.utils import counters

from tongwen.model.llama import DecoderLayer, Llama
from tongwen.train.parallel.recompute import recompute_activations


@pytest.mark.filterwarnings("ignore")  # torch warns while it traces
@pytest.mark.parametrize("what", ["none", "cheap", "layer"])
def test_a_compiled_layer_is_one_graph_and_gives_the_same_gradients(
    what: Literal["none", "cheap", "layer"],
) -> None:
    ids = torch.arange(48).view(2, 24)
    found = []
    for is_compiled in (False, True):
        model = Llama(CONFIG)
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
