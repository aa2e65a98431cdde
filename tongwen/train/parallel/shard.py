"""Data parallelism with shared weights: FSDP2 (Zhao et al. 2023, arXiv:2304.11277).

Each process keeps a part of every weight, gradient and optimizer state, and gathers a layer's
weights while it works on it. With `replicate` the sharing processes form groups that reduce
their gradients with one another (HSDP).
"""

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tongwen.model.llama import DecoderLayer, Llama


def share_weights(model: Llama, mesh: DeviceMesh, dtype: torch.dtype) -> None:
    """Shard the weights over `mesh` (replicate, shard), in place.

    Weights travel in `dtype`, gradients in float32. Gradients are summed, not averaged: each loss
    is divided by the number of targets of the whole batch already.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype,
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    for layer in model.model.layers:
        if isinstance(layer, DecoderLayer):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
