"""Memory of tuning by low-rank adapters, on one card.

LoRA: Hu et al. 2021, arXiv:2106.09685. The weights stay as they are, in bfloat16; QLoRA (Dettmers
et al. 2023, arXiv:2305.14314) keeps the layers' matrices in 4 bits with a scale for each 64 numbers
and a scale of scales for each 256 of these.
"""

from typing import Literal

from tongwen.model.config import ModelConfig
from tongwen.plan.devices import Device
from tongwen.plan.formulas import Memory, training_memory
from tongwen.plan.layout import PROCESS_BYTES
from tongwen.train.settings import TrainSettings

Method = Literal["full", "lora", "qlora"]

QUANTIZED_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Of one weight: 4 bits, its share of an 8-bit scale and of that scale's 32-bit scale."""

_STATE_BYTES = 16
"""Of one adapter weight: itself, its gradient and both Adam moments, float32."""


def adapter_parameters(config: ModelConfig, rank: int) -> int:
    """Weights of adapters on all seven matrices of each layer: rank * (inputs + outputs) each."""
    query = config.num_attention_heads * config.head_dim
    key_value = config.num_key_value_heads * config.head_dim
    hidden, wide = config.hidden_size, config.intermediate_size
    ends = 2 * (hidden + query) + 2 * (hidden + key_value) + 3 * (hidden + wide)
    return config.num_hidden_layers * rank * ends


def adapter_memory(
    config: ModelConfig, settings: TrainSettings, method: Method, rank: int, device: Device
) -> Memory:
    """What tuning with adapters needs on one card: activations and logits are those of full
    training, weights are frozen, and only adapters have gradients and moments.

    With `qlora` the matrices of the layer at work are held in bfloat16 besides.
    """
    full = training_memory(
        config, settings, bf16=device.uses_bf16, on_cpu=device.is_cpu, process_bytes=PROCESS_BYTES
    )
    norms = 2 * config.hidden_size
    in_layer = config.parameters_per_layer - norms
    in_layers = config.num_hidden_layers * in_layer
    others = config.parameters - in_layers
    weights = 2 * config.parameters
    if method == "qlora":
        weights = round(QUANTIZED_BITS / 8 * in_layers) + 2 * others + 2 * in_layer
    adapters = adapter_parameters(config, rank)
    return Memory(
        weights=weights + 4 * adapters,
        gradients=4 * adapters,
        optimizer=(_STATE_BYTES - 8) * adapters,
        activations=full.activations,
        logits=full.logits,
        process=PROCESS_BYTES,
    )
