"""What the loss needs of the softmax of rows of logits: losses, gradients, samples.

Shape suffixes in this file: C rows, V vocabulary_size, S samples, P pieces of a part of a row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

IGNORED = -100
"""Target of a position that is not in the loss."""

SOFTMAX_BYTES = 8 << 20
"""Logits that a CPU works through in one go, so that they stay in its cache."""

PART = 32
"""Pieces whose probabilities are added up first where samples are drawn: with 64 of them, finding
a sample in its part takes half as long again, with 16 finding its part does."""


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


def softmax_less_target_(logits_CV: Tensor, target_C1: Tensor, z_loss: float) -> Tensor:
    """Turn logits, bfloat16 or float32, in place into their gradient; give the sum of the losses,
    in nats, float32.
    """
    losses = []
    for room_CV, few_CV, few_target_C1 in _in_cache(logits_CV, target_C1):
        slope_CV, loss_C1, log_sum_C1 = _softmax(few_CV, few_target_C1, room_CV)
        losses.append(loss_C1.sum())
        if z_loss:  # d(log Z)^2 = 2 log Z x softmax
            slope_CV *= 1 + 2 * z_loss * log_sum_C1
        minus_one_C1 = torch.full_like(few_target_C1, -1, dtype=torch.float32)
        few_CV.copy_(slope_CV.scatter_add_(1, few_target_C1, minus_one_C1))
    return torch.stack(losses).sum()


def losses_sum(logits_CV: Tensor, target_C1: Tensor) -> Tensor:
    """The sum of the losses, in nats, float32, of logits that are not changed."""
    losses = []
    for room_CV, few_CV, few_target_C1 in _in_cache(logits_CV, target_C1):
        wide_CV = room_CV.copy_(few_CV)
        losses.append(
            (wide_CV.logsumexp(-1, keepdim=True) - wide_CV.gather(1, few_target_C1)).sum()
        )
    return torch.stack(losses).sum()


def _in_cache(*tensors_C: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of all tensors, few enough of the first one's for a CPU's cache; before them float32
    room for those, the same memory each time, as fresh memory costs a page fault every 4 KiB.
    """
    first_CV = tensors_C[0]
    rows = len(first_CV)
    if first_CV.device.type == "cpu":
        rows = max(1, SOFTMAX_BYTES // (4 * first_CV.shape[1]))
    room_CV = torch.empty_like(first_CV[:rows], dtype=torch.float32)
    for few in zip(*(torch.split(tensor_C, rows) for tensor_C in tensors_C), strict=True):
        yield room_CV[: len(few[0])], *few


def _softmax(
    logits_CV: Tensor, target_C1: Tensor, room_CV: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, in `room_CV`; losses and logs of the normaliser, (C, 1); all float32."""
    target_logit_C1 = logits_CV.gather(1, target_C1).float()
    is_wide = logits_CV.dtype == torch.float32
    torch.softmax(logits_CV if is_wide else room_CV.copy_(logits_CV), -1, out=room_CV)
    # The target's probability tells the normaliser, unless it all but vanishes.
    chance_C1 = room_CV.gather(1, target_C1)
    loss_C1 = -chance_C1.log()
    is_lost_C1 = chance_C1 < 1e-30
    if is_lost_C1.any():
        log_sum_C1 = logits_CV.float().logsumexp(-1, keepdim=True)
        loss_C1 = torch.where(is_lost_C1, log_sum_C1 - target_logit_C1, loss_C1)
    return room_CV, loss_C1, loss_C1 + target_logit_C1


def draw_(
    logits_CV: Tensor, target_C1: Tensor, offset_C1: Tensor, samples_CS: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill `samples_CS` with systematic samples of each row's softmax; give losses and logs of the
    normaliser, (C, 1).

    The rows' probabilities are laid end to end from 0 to 1; the samples are the pieces at (offset
    + 0) / S, (offset + 1) / S and so on. With offsets drawn evenly from [0, 1) a piece of
    probability p is among them p S times in the mean, and never off by one or more (Kitagawa
    1996, doi:10.2307/1390750).

    Args:
        logits_CV: their number a multiple of `PART`, -inf where there is no piece.
        target_C1: int64.
        offset_C1: float64.
        samples_CS: int64.
    """
    found = []
    for room_CV, few_CV, few_target_C1, few_offset_C1, few_samples_CS in _in_cache(
        logits_CV, target_C1, offset_C1, samples_CS
    ):
        probability_CV, *of_rows = _softmax(few_CV, few_target_C1, room_CV)
        found.append(of_rows)
        _systematic_samples(probability_CV, few_offset_C1, few_samples_CS)
    losses, log_sums = zip(*found, strict=True)
    return torch.cat(losses), torch.cat(log_sums)


def _systematic_samples(probability_CV: Tensor, offset_C1: Tensor, samples_CS: Tensor) -> None:
    samples = samples_CS.shape[1]
    parts_CNP = probability_CV.view(len(probability_CV), -1, PART)
    ends_CN = parts_CNP.sum(-1).cumsum(-1, dtype=torch.float64)
    steps_S = torch.arange(samples, dtype=torch.float64, device=offset_C1.device)
    points_CS = (offset_C1 + steps_S) / samples * ends_CN[:, -1:]
    part_CS = torch.searchsorted(ends_CN, points_CS, right=True).clamp_(max=ends_CN.shape[1] - 1)
    points_CS -= F.pad(ends_CN, (1, 0)).gather(1, part_CS)
    row_C1 = torch.arange(len(parts_CNP), device=part_CS.device)[:, None]
    ends_CSP = parts_CNP[row_C1, part_CS].cumsum(-1)
    inside_CS = (ends_CSP <= points_CS.float()[..., None]).sum(-1).clamp_(max=PART - 1)
    torch.add(part_CS * PART, inside_CS, out=samples_CS)


@cache
def fused_slope() -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """`softmax_less_target_` for a GPU, compiled: it reads the logits twice and writes their
    gradient once.
    """
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


def share_of_softmax_less_target_(
    logits_CV: Tensor, target_C1: Tensor, z_loss: float, share: VocabularyShare
) -> Tensor:
    """As `softmax_less_target_`, for this process's pieces of a vocabulary cut over a group."""
    here_C1 = target_C1 - share.first
    is_here_C1 = (here_C1 >= 0) & (here_C1 < logits_CV.shape[1])
    here_C1 = here_C1.clamp_(0, logits_CV.shape[1] - 1)
    narrow_CV, logits_CV = logits_CV, logits_CV.float()
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
    if narrow_CV is not logits_CV:
        narrow_CV.copy_(logits_CV)
    return (log_sum_C1 - sums_2C1[1]).sum()
