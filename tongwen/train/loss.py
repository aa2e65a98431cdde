"""Cross-entropy of the output head without the (tokens x vocabulary) tensor.

Shape suffixes in this file: N tokens that have a target, C tokens of one chunk, M hidden_size,
V vocabulary_size.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

IGNORED = -100
"""Target of a position that is not in the loss."""

CHUNK_BYTES = 32 << 20
"""Float32 probabilities held at once, where that is `CHUNK_TOKENS` or more. 4,096 tokens over 8,000
pieces take 190 ms in one piece and 133 ms in chunks of this size, of which 105 ms are matrix
products (2 cores, 2026-11)."""

CHUNK_TOKENS = 512
"""Fewest tokens of a chunk: each chunk reads and writes the whole gradient of the head once."""

SOFTMAX_BYTES = 8 << 20
"""Logits that a CPU turns into their gradient in one go, so that they stay in its cache."""


@dataclass(frozen=True)
class VocabularyShare:
    """The rows of the output head that this process holds, of a head cut over a group.

    Every process of the group computes the logits of its own pieces; what the softmax needs of
    all is reduced, three numbers a token (Narayanan et al. 2021, arXiv:2104.04473, section 3.2).

    Attributes:
        group: processes that hold the other rows, in the order of their ranks.
        first: id of the first piece here.
    """

    group: dist.ProcessGroup
    first: int


def cross_entropy_sum(
    hidden: Tensor,
    head_VM: Tensor,
    targets: Tensor,
    z_loss: float = 0.0,
    share: VocabularyShare | None = None,
) -> Tensor:
    """Sum over all targets of -log p(target), in nats, float32 without dimensions.

    Positions whose target is `IGNORED` cost nothing. The gradients are computed on the way
    forward, chunk by chunk, as in Liger (Hsu et al. 2024, arXiv:2410.10989).

    Args:
        hidden: (..., M), bfloat16 or float32; the arithmetic follows it.
        head_VM: weights of the output head, float32 or as `hidden`.
        targets: int64, the shape of `hidden` without M.
        z_loss: weight of (log of the softmax's normaliser) squared. It is in the gradients and
            not in the sum, which stays comparable.
        share: of `head_VM`, when it is cut over processes. `hidden` and `targets` are then equal in
            all of them, and so is the sum; the gradient of `hidden` is each process's part of it.
    """
    chosen = (targets.flatten() != IGNORED).nonzero().squeeze(1)
    hidden_NM = hidden.flatten(0, -2).index_select(0, chosen)
    loss: Tensor = _CrossEntropySum.apply(  # type: ignore[no-untyped-call]
        hidden_NM,
        head_VM,
        targets.flatten().index_select(0, chosen),
        torch.is_grad_enabled() and (hidden.requires_grad or head_VM.requires_grad),
        z_loss,
        share,
    )
    return loss


class _CrossEntropySum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NM: Tensor,
        head_VM: Tensor,
        targets_N: Tensor,
        needs_gradient: bool,
        z_loss: float,
        share: VocabularyShare | None,
    ) -> Tensor:
        tokens, vocabulary_size = hidden_NM.shape[0], head_VM.shape[0]
        dtype, device = hidden_NM.dtype, hidden_NM.device
        weight_VM = head_VM.to(dtype)
        loss = torch.zeros((), dtype=torch.float32, device=device)
        hidden_gradient_NM = torch.empty_like(hidden_NM) if needs_gradient else None
        head_gradient_VM = torch.zeros_like(head_VM) if needs_gradient else None
        chunk_tokens = min(tokens, most_chunk_tokens(vocabulary_size)) or 1
        shape = (chunk_tokens, vocabulary_size)
        # One buffer for all chunks: fresh memory costs a page fault every 4 KiB.
        logits = torch.empty(shape, dtype=dtype, device=device)
        wide = logits if dtype == torch.float32 else torch.empty_like(logits, dtype=torch.float32)
        for start in range(0, tokens, chunk_tokens):
            hidden_CM = hidden_NM[start : start + chunk_tokens]
            target_C1 = targets_N[start : start + chunk_tokens, None]
            logits_CV, wide_CV = logits[: len(hidden_CM)], wide[: len(hidden_CM)]
            torch.mm(hidden_CM, weight_VM.t(), out=logits_CV)
            if wide_CV.dtype != dtype:
                wide_CV.copy_(logits_CV)
            if share is not None:
                loss += _share_of_softmax_(wide_CV, target_C1, z_loss, share)
            elif needs_gradient:
                loss += _softmax_less_target_(wide_CV, target_C1, z_loss)
            else:
                loss += (wide_CV.logsumexp(-1) - wide_CV.gather(1, target_C1).squeeze(1)).sum()
            if hidden_gradient_NM is None or head_gradient_VM is None:
                continue
            if wide_CV.dtype != dtype:
                logits_CV.copy_(wide_CV)
            torch.mm(logits_CV, weight_VM, out=hidden_gradient_NM[start : start + chunk_tokens])
            if head_gradient_VM.dtype == dtype:
                head_gradient_VM.addmm_(logits_CV.t(), hidden_CM)
            else:
                head_gradient_VM += logits_CV.t() @ hidden_CM
        ctx.save_for_backward(hidden_gradient_NM, head_gradient_VM)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient_NM, head_gradient_VM = ctx.saved_tensors
        hidden_gradient_NM.mul_(upstream.to(hidden_gradient_NM.dtype))
        return hidden_gradient_NM, head_gradient_VM.mul_(upstream), None, None, None, None


def most_chunk_tokens(vocabulary_size: int) -> int:
    """Tokens whose probabilities are held at once, when there are so many."""
    return max(CHUNK_TOKENS, CHUNK_BYTES // (4 * vocabulary_size))


def _softmax_less_target_(logits_CV: Tensor, target_C1: Tensor, z_loss: float) -> Tensor:
    """Turn float32 logits in place into their gradient; give the sum of the losses."""
    rows = len(logits_CV)
    if logits_CV.device.type == "cpu":
        rows = max(1, SOFTMAX_BYTES // (4 * logits_CV.shape[1]))
    losses = [
        _softmax_less_target_in_one_(few_CV, targets_C1, z_loss)
        for few_CV, targets_C1 in zip(
            torch.split(logits_CV, rows), torch.split(target_C1, rows), strict=True
        )
    ]
    return torch.stack(losses).sum()


def _softmax_less_target_in_one_(logits_CV: Tensor, target_C1: Tensor, z_loss: float) -> Tensor:
    target_logit_C1 = logits_CV.gather(1, target_C1)
    top_C1 = logits_CV.amax(-1, keepdim=True)
    torch.softmax(logits_CV, dim=-1, out=logits_CV)
    # log p(target) = target logit - top logit + log p(top): no log of a vanished number.
    log_top_C1 = logits_CV.amax(-1, keepdim=True).log_()
    if z_loss:  # d(log Z)^2 = 2 log Z x softmax
        logits_CV *= 1 + 2 * z_loss * (top_C1 - log_top_C1)
    minus_one_C1 = torch.full_like(target_C1, -1, dtype=torch.float32)
    logits_CV.scatter_add_(1, target_C1, minus_one_C1)
    return -(target_logit_C1 - top_C1 + log_top_C1).sum()


def _share_of_softmax_(
    logits_CV: Tensor, target_C1: Tensor, z_loss: float, share: VocabularyShare
) -> Tensor:
    """As `_softmax_less_target_`, for this process's pieces of a vocabulary cut over a group."""
    here_C1 = target_C1 - share.first
    is_here_C1 = (here_C1 >= 0) & (here_C1 < logits_CV.shape[1])
    here_C1 = here_C1.clamp_(0, logits_CV.shape[1] - 1)
    top_C1 = logits_CV.amax(-1, keepdim=True)
    dist.all_reduce(top_C1, dist.ReduceOp.MAX, share.group)
    logits_CV -= top_C1
    target_logit_C1 = logits_CV.gather(1, here_C1).masked_fill_(~is_here_C1, 0.0)
    logits_CV.exp_()
    sums_2C1 = torch.stack([logits_CV.sum(-1, keepdim=True), target_logit_C1])
    dist.all_reduce(sums_2C1, dist.ReduceOp.SUM, share.group)
    log_sum_C1 = sums_2C1[0].log()
    logits_CV /= sums_2C1[0]
    if z_loss:
        logits_CV *= 1 + 2 * z_loss * (top_C1 + log_sum_C1)
    logits_CV.scatter_add_(1, here_C1, is_here_C1.float().neg_())
    return (log_sum_C1 - sums_2C1[1]).sum()
