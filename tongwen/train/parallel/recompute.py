"""Activation checkpointing: computing again on the way back what was not kept on the way forward.

Chen et al. 2016, arXiv:1604.06174.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from tongwen.model.llama import DecoderLayer, Llama

Recompute = Literal["none", "cheap", "layer"]

_KEPT = {
    torch.ops.aten.mm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._flash_attention_forward.default,
}
"""What is dear to compute: products of matrices and attention."""


def recompute_activations(model: Llama, what: Recompute) -> None:
    """Let every layer keep less: only its input (`layer`), or what is dear to compute (`cheap`)."""
    if what == "none":
        return
    for layer in model.model.layers:
        if isinstance(layer, DecoderLayer):
            layer.forward = _recomputed(layer.forward, what)  # type: ignore[method-assign]


def _recomputed(forward: Callable[..., Any], what: Recompute) -> Callable[..., Any]:
    options: dict[str, Any] = {"context_fn": _keep_dear} if what == "cheap" else {}

    # A function of ours: torch.compile leaves out what begins inside torch, as a partial would.
    def run(*arguments: Any) -> Any:
        return checkpoint(forward, *arguments, use_reentrant=False, **options)

    return run


def _keep_dear() -> Any:
    return create_selective_checkpoint_contexts(  # type: ignore[no-untyped-call]
        lambda _context, operator, *_arguments, **_options: (
            CheckpointPolicy.MUST_SAVE if operator in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE
        )
    )
