"""Log-probability of each target without the (tokens x vocabulary) tensor.

Shape suffixes in this file: N tokens, C tokens of one chunk, M hidden_size, V vocabulary_size.
"""

from typing import Any

import torch
from torch import Tensor

from tongwen.train.loss.cross_entropy import most_chunk_tokens


def token_log_probabilities(hidden_NM: Tensor, head_VM: Tensor, targets_N: Tensor) -> Tensor:
    """Logarithm of p(target) of each token in nats, float32 (N,).

    The backward pass computes the logits again, chunk by chunk, so that any function of the
    log-probabilities may follow.

    Args:
        hidden_NM: bfloat16 or float32; the products follow it, the softmax is float32.
        head_VM: weights of the output head; without a gradient none is computed.
        targets_N: int64.
    """
    found: Tensor = _TokenLogProbabilities.apply(  # type: ignore[no-untyped-call]
        hidden_NM, head_VM, targets_N
    )
    return found


class _TokenLogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_NM: Tensor, head_VM: Tensor, targets_N: Tensor) -> Tensor:
        ctx.save_for_backward(hidden_NM, head_VM, targets_N)
        weight_VM = head_VM.to(hidden_NM.dtype)
        found = torch.empty(len(hidden_NM), dtype=torch.float32, device=hidden_NM.device)
        for here in _chunks(hidden_NM, head_VM):
            logits_CV = (hidden_NM[here] @ weight_VM.t()).float()
            target_C1 = targets_N[here, None]
            found[here] = logits_CV.gather(1, target_C1)[:, 0] - logits_CV.logsumexp(1)
        return found

    @staticmethod
    def backward(ctx: Any, upstream_N: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden_NM, head_VM, targets_N = ctx.saved_tensors
        needs_hidden, needs_head, _ = ctx.needs_input_grad
        weight_VM = head_VM.to(hidden_NM.dtype)
        hidden_gradient_NM = torch.empty_like(hidden_NM) if needs_hidden else None
        head_gradient_VM = torch.zeros_like(head_VM, dtype=torch.float32) if needs_head else None
        for here in _chunks(hidden_NM, head_VM):
            hidden_CM = hidden_NM[here]
            logits_CV = (hidden_CM @ weight_VM.t()).float()
            slope_CV = logits_CV.softmax(1).neg_()
            target_C1 = targets_N[here, None]
            slope_CV.scatter_add_(1, target_C1, torch.ones_like(target_C1, dtype=slope_CV.dtype))
            slope_CV = (slope_CV * upstream_N[here, None]).to(hidden_NM.dtype)
            if hidden_gradient_NM is not None:
                hidden_gradient_NM[here] = slope_CV @ weight_VM
            if head_gradient_VM is not None:
                head_gradient_VM += slope_CV.t() @ hidden_CM
        if head_gradient_VM is not None:
            head_gradient_VM = head_gradient_VM.to(head_VM.dtype)
        return hidden_gradient_NM, head_gradient_VM, None


def _chunks(hidden_NM: Tensor, head_VM: Tensor) -> list[slice]:
    size = most_chunk_tokens(len(head_VM), 4, on_gpu=hidden_NM.is_cuda)
    return [slice(start, start + size) for start in range(0, len(hidden_NM), size)]
