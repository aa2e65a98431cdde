"""The decoder against transformers' own Llama, and against itself with and without a cache."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tongwen.model import attention
from tongwen.model.attention import Visibility, apply_rope, attend, rope_tables
from tongwen.model.config import ModelConfig
from tongwen.model.llama import KeyValueCache, Llama, RMSNorm

TINY = ModelConfig(
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=128,
    rope_theta=50_000.0,
    vocabulary_size=97,
)


def tiny_model(seed: int = 0) -> Llama:
    model = Llama(TINY)
    model.initialize(seed)
    return model


def random_ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, 97, shape, generator=torch.Generator().manual_seed(seed))


# Families of shapes: query heads, key-value heads, head_dim, tied, RoPE base, norms on Q and K.
FAMILIES = {
    "every head its own keys, as Yi-Coder-1.5B": (4, 4, 16, False, 1e7, False),
    "grouped, as Yi-6B": (4, 2, 12, False, 5e6, False),
    "one key-value head, base of Yi-9B": (4, 1, 16, False, 1e4, False),
    "six heads a group": (6, 1, 8, False, 5e6, False),
    "heads wider than the model, tied": (2, 1, 32, True, 1e4, False),
    "norms on queries and keys": (4, 2, 16, True, 5e6, True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(family: str, dtype: torch.dtype) -> None:
    heads, key_value_heads, head_dim, is_tied, theta, has_norms = FAMILIES[family]
    settings = (Qwen3Config if has_norms else LlamaConfig)(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        head_dim=head_dim,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        rms_norm_eps=1e-5,
        initializer_range=0.1,
        tie_word_embeddings=is_tied,
    )
    torch.manual_seed(0)
    theirs = (Qwen3ForCausalLM if has_norms else LlamaForCausalLM)(settings).eval()
    for name, parameter in theirs.named_parameters():
        if "norm" in name:  # all ones would hide a norm in the wrong place
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    ours = Llama(ModelConfig.from_huggingface(settings.to_dict(), "transformers"))
    ours.load_state_dict(theirs.state_dict())
    ids = random_ids(2, 100)
    with torch.no_grad():
        exact = theirs(ids).logits
        expected = theirs.to(dtype)(ids).logits.float()
        found = ours.to(dtype).logits(ours(ids, dtype=dtype)).float()
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    else:  # as far from the exact ones as theirs are, by rounding alone
        assert (found - exact).abs().mean() < 1.2 * (expected - exact).abs().mean()


def test_generation_with_the_cache_equals_generation_without() -> None:
    model = tiny_model()
    ids = random_ids(1, 5)
    cache = KeyValueCache(TINY, 1, 40, torch.float32)
    new_ids, positions = ids, torch.arange(5)[None]
    with torch.no_grad():
        for _ in range(20):
            whole = model.logits(model(ids)[:, -1])
            hidden = model(new_ids, positions_BT=positions, keys=cache)
            torch.testing.assert_close(model.logits(hidden[:, -1]), whole, rtol=1e-5, atol=1e-5)
            new_ids = whole.argmax(-1, keepdim=True)
            positions = torch.tensor([[ids.shape[1]]])
            ids = torch.cat([ids, new_ids], dim=1)


def test_rows_of_different_lengths_share_a_cache() -> None:
    model = tiny_model()
    short, long = random_ids(1, 3, seed=2), random_ids(1, 7, seed=3)
    padded = torch.cat([torch.nn.functional.pad(short, (0, 4)), long])
    cache = KeyValueCache(TINY, 2, 16, torch.float32)
    next_ids = random_ids(2, 1, seed=4)
    with torch.no_grad():
        model(padded, positions_BT=torch.arange(7).expand(2, 7), keys=cache)
        hidden = model(next_ids, positions_BT=torch.tensor([[3], [7]]), keys=cache)
        for row, prompt in enumerate((short, long)):
            alone = model(torch.cat([prompt, next_ids[row : row + 1]], dim=1))
            torch.testing.assert_close(hidden[row, 0], alone[0, -1], rtol=1e-5, atol=1e-5)


def test_packed_documents_do_not_see_each_other() -> None:
    model = tiny_model()
    first, second = random_ids(1, 9, seed=5), random_ids(1, 14, seed=6)
    documents = torch.tensor([[0] * 9 + [1] * 14])
    positions = torch.cat([torch.arange(9), torch.arange(14)])[None]
    with torch.no_grad():
        packed = model(
            torch.cat([first, second], dim=1), positions_BT=positions, documents_BT=documents
        )
        torch.testing.assert_close(packed[:, :9], model(first), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(packed[:, 9:], model(second), rtol=1e-5, atol=1e-5)


def test_matrix_attention_in_training_equals_fused_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 24, 6, 16), (2, 24, 2, 16), (2, 24, 2, 16))
    exact = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    mask = torch.ones(24, 24, dtype=torch.bool).tril()[None, None].expand(2, 1, 24, 24)
    expected = attend(*exact, Visibility(mask))
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    out = attend(*rounded, Visibility(mask))
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.04)
    expected.square().sum().backward()
    out.float().square().sum().backward()
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        error = (ours.grad.float() - theirs.grad).norm() / theirs.grad.norm()
        assert error < 0.03


@pytest.mark.parametrize("shift", [1, 4_096, 199_000])
def test_attention_score_depends_only_on_the_distance(shift: int) -> None:
    q, k = torch.randn(2, 1, 1, 1, 64, generator=torch.Generator().manual_seed(0))

    def score(position_q: int, position_k: int) -> float:
        turned_q = apply_rope(q[None], *rope_tables(torch.tensor([[position_q]]), 64, 5e6))
        turned_k = apply_rope(k[None], *rope_tables(torch.tensor([[position_k]]), 64, 5e6))
        return float((turned_q * turned_k).sum())

    assert score(7 + shift, 3 + shift) == pytest.approx(score(7, 3), rel=2e-3)


def test_gradient_of_rope_is_the_opposite_rotation() -> None:
    x = torch.randn(2, 5, 3, 8, requires_grad=True)
    cosine, sine = rope_tables(torch.arange(5).expand(2, 5), 8, 1e4)
    turned = apply_rope(x, cosine, sine)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    turned.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * x)  # |Rx|^2 = |x|^2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_its_gradients_equal_those_of_torch(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 32, generator=generator).to(dtype).requires_grad_()
    norm = RMSNorm(32, 1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(32, generator=generator) + 0.5)
    upstream = torch.randn(3, 7, 32, generator=generator)
    norm(x).backward(upstream.to(dtype))
    exact_x = x.detach().float().requires_grad_()
    exact_weight = norm.weight.detach().clone().requires_grad_()
    torch.nn.functional.rms_norm(exact_x, (32,), exact_weight, 1e-5).backward(upstream)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(x.grad.float(), exact_x.grad, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(norm.weight.grad, exact_weight.grad, rtol=tolerance, atol=tolerance)


def test_initial_weights_depend_on_the_seed_alone_and_residual_projections_are_small() -> None:
    first, again, other = tiny_model(1), tiny_model(1), tiny_model(2)
    for (name, one), two in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    attention = first.model.layers[0].self_attn
    assert attention.o_proj.weight.std().item() == pytest.approx(0.02 / 6**0.5, rel=0.1)
    assert attention.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_stretches_equals_attention_under_a_mask(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 600, 4, 16), (2, 600, 2, 16), (2, 600, 2, 16))
    documents = torch.tensor([[0] * 200 + [1] * 400, [3] * 301 + [4] * 290 + [-1] * 9])
    stretches = Visibility.among_themselves(documents)
    assert stretches.segments is not None
    monkeypatch.setattr(attention, "SEGMENT_TOKENS", 1_000)
    masked = Visibility.among_themselves(documents)
    assert masked.mask is not None
    drawn = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    results = []
    for visibility in (stretches, masked):
        inputs = [x.clone().requires_grad_() for x in drawn]
        out = attend(*inputs, visibility)
        out.square().sum().backward()
        results.append([out.detach(), *(x.grad for x in inputs)])
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_rows_of_one_document_each_need_no_mask() -> None:
    whole = Visibility.among_themselves(torch.tensor([[4] * 9, [0] * 9]))
    assert whole.is_causal
    assert whole.mask is None
    assert whole.segments is None
