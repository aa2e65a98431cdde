"""Causal attention in bfloat16 on a CPU whose backward pass is made of matrix products.

Shape suffixes in this file: B batch, T tokens, H query heads, K key-value heads, G query heads for
each of them, D head_dim, E head_dim and the columns added to it, P pairs of row and key-value head,
N = G T queries of a pair, n and w queries and keys of a block.

torch's kernel multiplies bfloat16 here no faster than float32 and goes through memory for each step
in between. Backward pass of a row, 10 heads on 5, one thread with AMX: 4,096 tokens 710 -> 544 ms,
2,048 205 -> 161, 1,024 62 -> 52 (2026-11). Blocks are too small to be cut over threads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion

FEWEST_TOKENS = 2_048  # 1,024 gain a sixth only; see above
_KEYS = 256
_QUERIES = 2_048
"""Keys and queries of a block: two of bfloat16 stay in a core's cache."""

_ADDED = 32
"""Columns added to queries and keys, as many as a matrix instruction takes at once."""


def is_known() -> bool:
    """Whether torch's forward kernel is one whose output the backward pass here was tested with."""
    return TorchVersion(torch.__version__) >= "2.13"


def takes(q_BTHD: Tensor, k_BTKD: Tensor, threads: int) -> bool:
    """Whether `causal_attention` is worth it for these."""
    return (
        is_known()
        and threads == 1
        and q_BTHD.requires_grad
        and q_BTHD.device.type == "cpu"
        and q_BTHD.dtype == torch.bfloat16
        and q_BTHD.shape[1] == k_BTKD.shape[1]
        and q_BTHD.shape[1] >= FEWEST_TOKENS
    )


def causal_attention(q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor) -> Tensor:
    """Softmax attention scaled by 1/sqrt(D) to a token itself and those before, (B, T, H, D)."""
    out_BTHD: Tensor = _CausalAttention.apply(q_BTHD, k_BTKD, v_BTKD)  # type: ignore[no-untyped-call]
    return out_BTHD


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor) -> Tensor:
        out_BHTD, log_sum_BHT = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q_BTHD.transpose(1, 2), k_BTKD.transpose(1, 2), v_BTKD.transpose(1, 2), 0.0, True
        )
        out_BTHD: Tensor = out_BHTD.transpose(1, 2)
        ctx.save_for_backward(q_BTHD, k_BTKD, v_BTKD, out_BTHD, log_sum_BHT)
        return out_BTHD

    @staticmethod
    def backward(ctx: Any, gradient_BTHD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gradients: tuple[Tensor, Tensor, Tensor] = _backward(gradient_BTHD, *ctx.saved_tensors)
        return gradients


@torch.library.custom_op("tongwen::causal_attention_backward", mutates_args=())  # opaque to compile
def _backward(
    gradient_BTHD: Tensor,
    q_BTHD: Tensor,
    k_BTKD: Tensor,
    v_BTKD: Tensor,
    out_BTHD: Tensor,
    log_sum_BHT: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values by blocks of keys and queries, as in FlashAttention
    (Dao et al. 2022, arXiv:2205.14135, section 3).

    Softmax and its gradient subtract a number from each row of scores before they are rounded. Here
    the product does, by columns of ones added to the keys: three bfloat16 add up to the number.
    """
    batch, tokens, heads, head_dim = q_BTHD.shape
    key_heads = k_BTKD.shape[2]
    group = heads // key_heads
    scale = head_dim**-0.5
    along_BHT = (gradient_BTHD * out_BTHD).sum(-1, dtype=torch.float32).transpose(1, 2)
    q_PNE = _with_columns(q_BTHD * scale, -log_sum_BHT, key_heads)
    gradient_PNE = _with_columns(gradient_BTHD, -along_BHT, key_heads)
    k_PTE, v_PTE = _with_ones(k_BTKD), _with_ones(v_BTKD)
    dq_PND = torch.zeros(*q_PNE.shape[:2], head_dim)
    dk_PTD, dv_PTD = torch.zeros(2, *k_PTE.shape[:2], head_dim)
    future_nw = torch.full((_KEYS, _KEYS), -torch.inf).triu_(1).repeat_interleave(group, 0)
    future_nw = future_nw.to(q_PNE.dtype)
    room, more_room = q_PNE.new_empty(2, _QUERIES * _KEYS)  # for all blocks: they stay in the cache
    for pair in range(len(q_PNE)):
        for first in range(0, tokens, _KEYS):
            keys = slice(first, min(tokens, first + _KEYS))
            k_wE, v_wE = k_PTE[pair, keys], v_PTE[pair, keys]
            width = len(k_wE)
            for start in range(first * group, tokens * group, _QUERIES):
                rows = slice(start, min(tokens * group, start + _QUERIES))
                q_nE, gradient_nE = q_PNE[pair, rows], gradient_PNE[pair, rows]
                size = len(q_nE) * width
                weights_nw = torch.mm(q_nE, k_wE.t(), out=room[:size].view(-1, width))
                diagonal_nw = future_nw[start - first * group :][: len(q_nE), :width]
                weights_nw[: len(diagonal_nw)] += diagonal_nw
                weights_nw.exp_()
                dv_PTD[pair, keys] += weights_nw.t() @ gradient_nE[:, :head_dim]
                slope_nw = torch.mm(gradient_nE, v_wE.t(), out=more_room[:size].view(-1, width))
                slope_nw *= weights_nw
                dk_PTD[pair, keys] += slope_nw.t() @ q_nE[:, :head_dim]
                dq_PND[pair, rows] += slope_nw @ k_wE[:, :head_dim]
    dq_BKTGD = dq_PND.mul_(scale).view(batch, key_heads, tokens, group, head_dim)
    dq_BTHD = dq_BKTGD.transpose(1, 2).to(q_BTHD.dtype).reshape(q_BTHD.shape)
    dk_BTKD, dv_BTKD = (
        x_PTD.view(batch, key_heads, tokens, head_dim).transpose(1, 2).to(q_BTHD.dtype).contiguous()
        for x_PTD in (dk_PTD, dv_PTD)
    )
    return dq_BTHD.contiguous(), dk_BTKD, dv_BTKD


@_backward.register_fake
def _(_: Tensor, q_BTHD: Tensor, k_BTKD: Tensor, v_BTKD: Tensor, *_others: Tensor) -> Any:
    """What torch.compile needs to know of the gradients: their shapes."""
    return tuple(x.new_empty(x.shape) for x in (q_BTHD, k_BTKD, v_BTKD))


def _with_columns(x_BTHD: Tensor, added_BHT: Tensor, key_heads: int) -> Tensor:
    """Rows of one key-value head together, token by token, (P, N, E): those of `x` and, in three
    columns, float32 `added`.
    """
    batch, tokens, heads, head_dim = x_BTHD.shape
    wide_BKTGE = x_BTHD.new_zeros(batch, key_heads, tokens, heads // key_heads, head_dim + _ADDED)
    wide_BKTGE[..., :head_dim] = x_BTHD.view(batch, tokens, key_heads, -1, head_dim).transpose(1, 2)
    rest_BKTG = added_BHT.view(batch, key_heads, -1, tokens).transpose(2, 3)
    for column in range(head_dim, head_dim + 3):
        rounded_BKTG = rest_BKTG.to(x_BTHD.dtype)
        wide_BKTGE[..., column] = rounded_BKTG
        rest_BKTG = rest_BKTG - rounded_BKTG
    return wide_BKTGE.view(batch * key_heads, -1, head_dim + _ADDED)


def _with_ones(x_BTKD: Tensor) -> Tensor:
    """(P, T, E): ones where `_with_columns` has what is added."""
    batch, tokens, key_heads, head_dim = x_BTKD.shape
    wide_BKTE = x_BTKD.new_zeros(batch, key_heads, tokens, head_dim + _ADDED)
    wide_BKTE[..., :head_dim] = x_BTKD.transpose(1, 2)
    wide_BKTE[..., head_dim : head_dim + 3] = 1
    return wide_BKTE.flatten(0, 1)
