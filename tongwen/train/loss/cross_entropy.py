"""Cross-entropy of the output head without the (tokens x vocabulary) tensor.

Shape suffixes in this file: N tokens that have a target, C tokens of one chunk, M hidden_size,
V vocabulary_size, S samples, K pieces of one token.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from tongwen.train.loss.softmax import (
    IGNORED,
    PART,
    VocabularyShare,
    draw_,
    fused_slope,
    losses_sum,
    share_of_softmax_less_target_,
    softmax_less_target_,
)

GPU_CHUNK_BYTES = 1 << 30
CHUNK_BYTES = 32 << 20
"""Logits held at once, where that is `CHUNK_TOKENS` or more of float32. 4,096 tokens over 8,000
pieces take 190 ms in one piece and 133 ms in chunks of this size, of which 105 ms are matrix
products (2 cores, 2026-11)."""

CHUNK_TOKENS = 512
"""Fewest tokens of a chunk in float32, in bfloat16 twice as many: each chunk reads and writes the
whole gradient of the head once."""

HEAD_ROWS = 4_096
"""Rows of the head whose bfloat16 gradient is held before it is added to the float32 one. 4,096
tokens over 64,000 pieces, both gradients, width 256 / 640: 0.80 / 2.48 s with all rows at once,
0.60 / 1.86 with these, 0.53 / 1.5 with chunks of 1,024 tokens too (2 cores with AMX, 2026-11)."""

_GPU_TOKENS = 128  # tiles of the matrix units: products of odd sizes are slow


@dataclass(frozen=True)
class Sampling:
    """Samples of the softmax take its place in the gradient, so that two of the head's three
    products become look-ups.

    The gradient of a token's loss is the mean of the head's rows under the model's distribution,
    less the target's row. Here the mean is over samples of that distribution, as Bengio & Senécal
    (2003, AISTATS, "Quick training of probabilistic neural nets by importance sampling") have it,
    but drawn from the distribution itself, which the loss computes anyway. So it is right in the
    mean, and its variance is that of the target, which is a sample of the text's own distribution,
    over `samples`; systematic samples keep it lower still. The loss stays exact.

    Attributes:
        samples: of each token.
        generator: on the CPU; gives one number a token.
    """

    samples: int
    generator: torch.Generator


def cross_entropy_sum(
    hidden: Tensor,
    head_VM: Tensor,
    targets: Tensor,
    z_loss: float = 0.0,
    share: VocabularyShare | None = None,
    sampling: Sampling | None = None,
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
        sampling: how the gradient is estimated; None computes it. Not with `share`.
    """
    chosen = (targets.flatten() != IGNORED).nonzero().squeeze(1)
    hidden_NM = hidden.flatten(0, -2).index_select(0, chosen)
    targets_N = targets.flatten().index_select(0, chosen)
    needs_gradient = torch.is_grad_enabled() and (hidden.requires_grad or head_VM.requires_grad)
    if sampling is not None and needs_gradient and head_VM.requires_grad:
        assert share is None
        estimated: Tensor = _SampledCrossEntropySum.apply(  # type: ignore[no-untyped-call]
            hidden_NM, head_VM, targets_N, z_loss, sampling
        )
        return estimated
    if hidden.device.type == "cuda":  # whose products are fast for even sizes only
        padding = -len(chosen) % _GPU_TOKENS
        hidden_NM = F.pad(hidden_NM, (0, 0, 0, padding))
        targets_N = F.pad(targets_N, (0, padding), value=IGNORED)
    loss: Tensor = _CrossEntropySum.apply(  # type: ignore[no-untyped-call]
        hidden_NM, head_VM, targets_N, needs_gradient, z_loss, share
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
            torch.zeros_like(head_VM, dtype=torch.float32)
            if needs_gradient and head_VM.requires_grad
            else None
        )
        on_gpu = device.type == "cuda"
        chunk_tokens = (
            min(tokens, most_chunk_tokens(vocabulary_size, dtype.itemsize, on_gpu=on_gpu)) or 1
        )
        # One buffer for all chunks: fresh memory costs a page fault every 4 KiB.
        logits = torch.empty((chunk_tokens, vocabulary_size), dtype=dtype, device=device)
        is_fused = on_gpu and share is None
        for start in range(0, tokens, chunk_tokens):
            hidden_CM = hidden_NM[start : start + chunk_tokens]
            target_C1 = targets_N[start : start + chunk_tokens, None]
            slope_CV = logits[: len(hidden_CM)]
            torch.mm(hidden_CM, weight_VM.t(), out=slope_CV)
            if is_fused:
                slope_CV, part = fused_slope()(slope_CV, target_C1, z_loss)
            else:
                part = _slope_(slope_CV, target_C1, z_loss, share, needs_gradient)
            loss += part
            if hidden_gradient_NM is None:
                continue
            torch.mm(slope_CV, weight_VM, out=hidden_gradient_NM[start : start + chunk_tokens])
            if head_gradient_VM is not None:  # a frozen head has none
                _add_product_(head_gradient_VM, slope_CV, hidden_CM)
        ctx.save_for_backward(hidden_gradient_NM, head_gradient_VM)
        ctx.head_dtype = head_VM.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled_(ctx, upstream), None, None, None, None


class _SampledCrossEntropySum(torch.autograd.Function):
    """The loss in full; its gradient a weighted sum of the rows that `Sampling` names."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NM: Tensor,
        head_VM: Tensor,
        targets_N: Tensor,
        z_loss: float,
        sampling: Sampling,
    ) -> Tensor:
        tokens, vocabulary_size = hidden_NM.shape[0], head_VM.shape[0]
        dtype, device = hidden_NM.dtype, hidden_NM.device
        weight_VM = head_VM.to(dtype)
        loss = torch.zeros((), dtype=torch.float32, device=device)
        offsets_N1 = torch.rand((tokens, 1), generator=sampling.generator, dtype=torch.float64)
        offsets_N1 = offsets_N1.to(device)
        # The pieces that the gradient is made of, each token's samples and its target, and shares.
        pieces_NK = torch.empty((tokens, sampling.samples + 1), dtype=torch.int64, device=device)
        pieces_NK[:, -1] = targets_N
        shares_NK = torch.empty_like(pieces_NK, dtype=dtype)
        shares_NK[:, -1] = -1
        chunk_tokens = most_chunk_tokens(
            vocabulary_size, dtype.itemsize, on_gpu=device.type == "cuda"
        )
        columns = -(-vocabulary_size // PART) * PART
        logits = torch.empty((min(tokens, chunk_tokens), columns), dtype=dtype, device=device)
        logits[:, vocabulary_size:] = -torch.inf
        for start in range(0, tokens, chunk_tokens):
            here = slice(start, start + chunk_tokens)
            hidden_CM = hidden_NM[here]
            logits_CV = logits[: len(hidden_CM)]
            torch.mm(hidden_CM, weight_VM.t(), out=logits_CV[:, :vocabulary_size])
            loss_C1, log_sum_C1 = draw_(
                logits_CV, targets_N[here, None], offsets_N1[here], pieces_NK[here, :-1]
            )
            loss += loss_C1.sum()
            shares_NK[here, :-1] = (1 + 2 * z_loss * log_sum_C1) / sampling.samples
        pieces_NK.clamp_(max=vocabulary_size - 1)  # also where logits are no numbers
        hidden_gradient_NM = F.embedding_bag(
            pieces_NK, weight_VM, mode="sum", per_sample_weights=shares_NK
        )
        sorted_pieces, places = pieces_NK.flatten().sort(stable=True)
        head_gradient_VM = F.embedding_bag(
            places // pieces_NK.shape[1],
            hidden_NM,
            torch.searchsorted(sorted_pieces, torch.arange(vocabulary_size, device=device)),
            mode="sum",
            per_sample_weights=shares_NK.flatten()[places],
        ).float()
        ctx.save_for_backward(hidden_gradient_NM, head_gradient_VM)
        ctx.head_dtype = head_VM.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        return *_scaled_(ctx, upstream), None, None, None


def _scaled_(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None]:
    """The gradients that the forward pass kept of hidden states and head, times `upstream`."""
    hidden_gradient_NM, head_gradient_VM = ctx.saved_tensors
    hidden_gradient_NM.mul_(upstream.to(hidden_gradient_NM.dtype))
    if head_gradient_VM is None:
        return hidden_gradient_NM, None
    head_gradient_VM.mul_(upstream)
    return hidden_gradient_NM, head_gradient_VM.to(ctx.head_dtype)


def _add_product_(total_VM: Tensor, slope_CV: Tensor, hidden_CM: Tensor) -> None:
    """Add slope^T hidden to a float32 total."""
    if hidden_CM.dtype == torch.float32:
        total_VM.addmm_(slope_CV.t(), hidden_CM)
        return
    rows = len(total_VM) if total_VM.is_cuda else HEAD_ROWS
    parts = torch.split(total_VM, rows), torch.split(slope_CV, rows, dim=1)
    for part_VM, few_CV in zip(*parts, strict=True):
        part_VM += few_CV.t() @ hidden_CM


def most_chunk_tokens(vocabulary_size: int, item_bytes: int, *, on_gpu: bool = False) -> int:
    """Tokens whose logits, of `item_bytes` each, are held at once, when there are so many."""
    if on_gpu:
        return max(1, GPU_CHUNK_BYTES // (4 * vocabulary_size * _GPU_TOKENS)) * _GPU_TOKENS
    tokens = max(CHUNK_TOKENS, CHUNK_BYTES // (4 * vocabulary_size))
    return tokens * 4 // item_bytes


def _slope_(
    logits_CV: Tensor,
    target_C1: Tensor,
    z_loss: float,
    share: VocabularyShare | None,
    needs_gradient: bool,
) -> Tensor:
    """The sum of the losses; logits become their gradient, if it is needed, in place."""
    if share is not None:
        return share_of_softmax_less_target_(logits_CV, target_C1, z_loss, share)
    if not needs_gradient:
        return losses_sum(logits_CV, target_C1)
    return softmax_less_target_(logits_CV, target_C1, z_loss)
