"""The backward pass of causal attention against the exact one in float64."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from tongwen.model import causal_attention
from tongwen.model.attention import Visibility, attend

pytestmark = pytest.mark.skipif(not causal_attention.is_known(), reason="an older torch")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(batch: int, tokens: int, heads: int, key_heads: int, head_dim: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(batch, tokens, count, head_dim) for count in (heads, key_heads, key_heads, heads)]
    return [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]


@pytest.mark.parametrize(
    ("batch", "tokens", "heads", "key_heads", "head_dim"),
    [(2, 40, 4, 2, 64), (1, 256, 3, 1, 32), (1, 700, 4, 4, 128), (2, 1_300, 5, 1, 64)],
)  # fmt: skip
def test_gradients_are_those_of_exact_attention_within_bfloat16(
    batch: int, tokens: int, heads: int, key_heads: int, head_dim: int
) -> None:
    q, k, v, upstream = inputs(batch, tokens, heads, key_heads, head_dim)
    ours = [x.clone().requires_grad_() for x in (q, k, v)]
    out = causal_attention.causal_attention(*ours)
    found = torch.autograd.grad(out, ours, upstream)
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    q_exact, k_exact, v_exact = (x.transpose(1, 2) for x in exact)
    expected_out = F.scaled_dot_product_attention(
        q_exact, k_exact, v_exact, is_causal=True, enable_gqa=heads != key_heads
    ).transpose(1, 2)
    expected = torch.autograd.grad(expected_out, exact, upstream.double())
    for ours_x, exact_x in zip((out, *found), (expected_out, *expected), strict=True):
        error = (ours_x.double() - exact_x).norm()
        assert error <= 0.01 * exact_x.norm() + 1e-3, (error, exact_x.norm())


def test_long_rows_of_one_thread_take_it_and_nothing_else_does() -> None:
    q, k, v, _ = inputs(1, 2_048, 2, 1, 64)
    q.requires_grad_()
    assert "CausalAttention" in str(attend(q, k, v, Visibility(is_causal=True)).grad_fn)
    assert not causal_attention.takes(q[:, :2_000], k[:, :2_000], 1)
    assert not causal_attention.takes(q[:, -1:], k, 1)
    assert not causal_attention.takes(q.detach(), k, 1)
    assert not causal_attention.takes(q.float(), k.float(), 1)
    torch.set_num_threads(2)
    assert "CausalAttention" not in str(attend(q, k, v, Visibility(is_causal=True)).grad_fn)
