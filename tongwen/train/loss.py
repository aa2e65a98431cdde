"""Cross-entropy of the output head without the (tokens x vocabulary) tensor.

Shape suffixes in this file: N tokens that have a target, C tokens of one chunk, M hidden_size,
V vocabulary_size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

IGNORED = -100
"""Target of a position that is not in the loss."""

GPU_CHUNK_BYTES = 1 << 30
CHUNK_BYTES = 32 << 20
"""Float32 probabilities held at once, where that is `CHUNK_TOKENS` or more. 4,096 tokens over 8,000
pieces take 190 ms in one piece and 133 ms in chunks of this size, of which 105 ms are matrix
products (2 cores, 2026-11)."""

CHUNK_TOKENS = 512
"""Fewest tokens of a chunk: each chunk reads and writes the whole gradient of the head once."""

SOFTMAX_BYTES = 8 << 20
"""Logits that a CPU turns into their gradient in one go, so that they stay in its cache."""

_GPU_TOKENS = 128


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
    targets_N = targets.flatten().index_select(0, chosen)
    if hidden.device.type == "cuda":  # whose products are fast for even sizes only
        padding = -len(chosen) % _GPU_TOKENS
        hidden_NM = F.pad(hidden_NM, (0, 0, 0, padding))
        targets_N = F.pad(targets_N, (0, padding), value=IGNORED)
    loss: Tensor = _CrossEntropySum.apply(  # type: ignore[no-untyped-call]
        hidden_NM,
        head_VM,
        targets_N,
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
        head_gradient_VM = (
            torch.zeros_like(head_VM, dtype=torch.float32) if needs_gradient else None
        )
        on_gpu = device.type == "cuda"
        chunk_tokens = min(tokens, most_chunk_tokens(vocabulary_size, on_gpu=on_gpu)) or 1
        # One buffer for all chunks: fresh memory costs a page fault every 4 KiB.
        logits = torch.empty((chunk_tokens, vocabulary_size), dtype=dtype, device=device)
        is_fused = on_gpu and share is None
        wide = logits
        if dtype != torch.float32 and not is_fused:
            wide = torch.empty_like(logits, dtype=torch.float32)
        for start in range(0, tokens, chunk_tokens):
            hidden_CM = hidden_NM[start : start + chunk_tokens]
            target_C1 = targets_N[start : start + chunk_tokens, None]
            slope_CV, wide_CV = logits[: len(hidden_CM)], wide[: len(hidden_CM)]
            torch.mm(hidden_CM, weight_VM.t(), out=slope_CV)
            if is_fused:
                slope_CV, part = _fused_slope()(slope_CV, target_C1, z_loss)
            else:
                if wide_CV.dtype != dtype:
                    wide_CV.copy_(slope_CV)
                part = _slope_(wide_CV, target_C1, z_loss, share, needs_gradient)
                if wide_CV.dtype != dtype:
                    slope_CV.copy_(wide_CV)
            loss += part
            if hidden_gradient_NM is None or head_gradient_VM is None:
                continue
            torch.mm(slope_CV, weight_VM, out=hidden_gradient_NM[start : start + chunk_tokens])
            if dtype == torch.float32:
                head_gradient_VM.addmm_(slope_CV.t(), hidden_CM)
            else:
                head_gradient_VM += slope_CV.t() @ hidden_CM
        ctx.save_for_backward(hidden_gradient_NM, head_gradient_VM)
        ctx.head_dtype = head_VM.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_gradient_NM, head_gradient_VM = ctx.saved_tensors
        hidden_gradient_NM.mul_(upstream.to(hidden_gradient_NM.dtype))
        head_gradient_VM.mul_(upstream)
        return hidden_gradient_NM, head_gradient_VM.to(ctx.head_dtype), None, None, None, None


def most_chunk_tokens(vocabulary_size: int, *, on_gpu: bool = False) -> int:
    """Tokens whose probabilities are held at once, when there are so many."""
    if on_gpu:
        return max(1, GPU_CHUNK_BYTES // (4 * vocabulary_size * _GPU_TOKENS)) * _GPU_TOKENS
    return max(CHUNK_TOKENS, CHUNK_BYTES // (4 * vocabulary_size))


def _slope_(
    logits_CV: Tensor,
    target_C1: Tensor,
    z_loss: float,
    share: VocabularyShare | None,
    needs_gradient: bool,
) -> Tensor:
    """The sum of the losses; float32 logits become their gradient, if it is needed, in place."""
    if share is not None:
        return _share_of_softmax_(logits_CV, target_C1, z_loss, share)
    if not needs_gradient:
        return (logits_CV.logsumexp(-1) - logits_CV.gather(1, target_C1).squeeze(1)).sum()
    rows = len(logits_CV)
    if logits_CV.device.type == "cpu":
        rows = max(1, SOFTMAX_BYTES // (4 * logits_CV.shape[1]))
    losses = [
        _softmax_less_target_(few_CV, targets_C1, z_loss)
        for few_CV, targets_C1 in zip(
            torch.split(logits_CV, rows), torch.split(target_C1, rows), strict=True
        )
    ]
    return torch.stack(losses).sum()


def _softmax_less_target_(logits_CV: Tensor, target_C1: Tensor, z_loss: float) -> Tensor:
    """Turn float32 logits in place into their gradient; give the sum of the losses."""
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


@cache
def _fused_slope() -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """`_slope` compiled: it reads the logits twice and writes their gradient once."""
    compiled: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]] = torch.compile(_slope)
    return compiled


def _slope(logits_CV: Tensor, target_C1: Tensor, z_loss: float) -> tuple[Tensor, Tensor]:
    """The gradient of logits, in their dtype, and the sum of the losses; a token whose target is
    `IGNORED` has neither.
    """
    wide_CV = logits_CV.float()
    is_wanted_C1 = target_C1 != IGNORED
    log_sum_C1 = wide_CV.logsumexp(-1, keepdim=True)
    target_logit_C1 = wide_CV.gather(1, target_C1.clamp(min=0))
    loss = torch.where(is_wanted_C1, log_sum_C1 - target_logit_C1, 0.0).sum()
    slope_CV = (wide_CV - log_sum_C1).exp() * (1 + 2 * z_loss * log_sum_C1)
    pieces_V = torch.arange(wide_CV.shape[1], device=wide_CV.device)
    slope_CV = torch.where(pieces_V == target_C1, slope_CV - 1, slope_CV)
    slope_CV = torch.where(is_wanted_C1, slope_CV, 0.0)
    return slope_CV.to(logits_CV.dtype), loss


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
