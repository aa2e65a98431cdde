"""The loss with a gradient from samples: exact itself, its gradient right in the mean."""

from pathlib import Path

import pytest
import torch
from layout_worker import CONFIG, SETTINGS
from processes import curves
from torch import Tensor

from tongwen.errors import RecipeError
from tongwen.model.flops import flops_per_token
from tongwen.train.loss import cross_entropy as loss_module
from tongwen.train.loss import softmax
from tongwen.train.loss.cross_entropy import Sampling, cross_entropy_sum
from tongwen.train.loss.softmax import IGNORED, draw_
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.settings import TrainSettings

PIECES = 75  # no multiple of softmax.PART
TOKENS = 40
WIDTH = 6


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, head and targets of a model that is sure of some tokens and not of others."""
    generator = torch.Generator().manual_seed(0)
    hidden_NM = torch.randn(TOKENS, WIDTH, generator=generator)
    hidden_NM *= torch.linspace(0.1, 4, TOKENS)[:, None]
    head_VM = torch.randn(PIECES, WIDTH, generator=generator)
    targets_N = torch.randint(0, PIECES, (TOKENS,), generator=generator)
    targets_N[::7] = IGNORED
    return hidden_NM, head_VM, targets_N


def gradients(
    inputs: tuple[Tensor, Tensor, Tensor],
    sampling: Sampling | None,
    *,
    z_loss: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and the gradients of hidden states and head."""
    hidden_NM = inputs[0].to(dtype, copy=True).requires_grad_()
    head_VM = inputs[1].clone().requires_grad_()
    loss = cross_entropy_sum(hidden_NM, head_VM, inputs[2], z_loss, sampling=sampling)
    return loss.detach(), *torch.autograd.grad(loss, (hidden_NM, head_VM))


def sampling_of(samples: int, seed: int) -> Sampling:
    return Sampling(samples, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_a_piece_is_drawn_as_often_as_it_is_probable(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "SOFTMAX_BYTES", 3 * 4 * 96)
    generator = torch.Generator().manual_seed(0)
    logits_CV = torch.full((50, 96), -torch.inf)
    logits_CV[:, :PIECES] = scale * torch.randn(50, PIECES, generator=generator)
    target_C1 = torch.randint(0, PIECES, (50, 1), generator=generator)
    offset_C1 = torch.rand(50, 1, generator=generator, dtype=torch.float64)
    samples_CS = torch.empty(50, 200, dtype=torch.int64)
    probability_CV = logits_CV.double().softmax(-1)
    expected = torch.nn.functional.cross_entropy(logits_CV, target_C1[:, 0], reduction="none")
    log_sum = logits_CV.logsumexp(-1)
    loss_C1, log_sum_C1 = draw_(logits_CV, target_C1, offset_C1, samples_CS)
    torch.testing.assert_close(loss_C1[:, 0], expected)
    torch.testing.assert_close(log_sum_C1[:, 0], log_sum)
    counts_CV = torch.stack([row_S.bincount(minlength=96) for row_S in samples_CS])
    assert not counts_CV[:, PIECES:].any()
    assert ((counts_CV - 200 * probability_CV).abs() < 1 + 1e-3).all()


@pytest.mark.parametrize("chunk_tokens", [1, 7, 1000])
@pytest.mark.parametrize("z_loss", [0.0, 0.02])
def test_the_loss_is_exact_and_its_gradient_right_in_the_mean(
    inputs: tuple[Tensor, Tensor, Tensor],
    z_loss: float,
    chunk_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_module, "CHUNK_BYTES", 0)
    monkeypatch.setattr(loss_module, "CHUNK_TOKENS", chunk_tokens)
    expected = gradients(inputs, None, z_loss=z_loss)
    found = [gradients(inputs, sampling_of(8, seed), z_loss=z_loss) for seed in range(200)]
    for loss, *_ in found:
        torch.testing.assert_close(loss, expected[0])
    for mean, exact in zip(map(mean_of, zip(*found, strict=True)), expected, strict=True):
        assert (mean - exact).norm() < 0.02 * exact.norm()


def mean_of(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(tensors).mean(0)


@pytest.mark.parametrize("samples", [4, 16, 64])
def test_its_variance_is_less_than_that_of_the_targets_by_the_number_of_samples(
    inputs: tuple[Tensor, Tensor, Tensor], samples: int
) -> None:
    """As if each target, itself a sample, were drawn from the model so many times."""
    hidden_NM, head_VM, targets_N = inputs
    chosen = targets_N != IGNORED
    probability_NV = (hidden_NM @ head_VM.t()).softmax(-1)[chosen]
    mean_NM = probability_NV @ head_VM
    of_targets = (probability_NV @ head_VM.square().sum(-1) - mean_NM.square().sum(-1)).sum()
    exact = gradients(inputs, None)[1]
    errors = [
        (gradients(inputs, sampling_of(samples, seed))[1] - exact).square().sum()
        for seed in range(100)
    ]
    assert torch.stack(errors).mean() < of_targets / samples


def test_bfloat16_samples_give_the_gradient_to_its_rounding(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    narrow = inputs[0].bfloat16().float(), inputs[1].bfloat16().float(), inputs[2]
    exact = gradients(narrow, None)
    found = gradients(narrow, sampling_of(4096, 0), dtype=torch.bfloat16)
    assert found[2].dtype == torch.float32
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours.float() - theirs).norm() < 0.01 * theirs.norm()


def test_the_same_generator_gives_the_same_bits(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    one, two, other = (gradients(inputs, sampling_of(16, seed)) for seed in (3, 3, 4))
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one[2], other[2])


def test_no_target_costs_nothing_and_a_logit_that_is_no_number_shows_in_the_loss(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden_NM, head_VM, targets_N = inputs
    none = gradients((hidden_NM, head_VM, torch.full_like(targets_N, IGNORED)), sampling_of(4, 0))
    assert not any(tensor.any() for tensor in none)
    hidden_NM[1] = torch.nan
    assert gradients(inputs, sampling_of(4, 0))[0].isnan()


def test_a_validation_draws_nothing(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    sampling = sampling_of(4, 0)
    before = sampling.generator.get_state()
    with torch.no_grad():
        loss = cross_entropy_sum(*inputs, sampling=sampling)
    torch.testing.assert_close(loss, gradients(inputs, None)[0])
    assert torch.equal(sampling.generator.get_state(), before)


@pytest.mark.timeout(300)
def test_a_run_cut_over_processes_has_the_same_first_loss_and_learns_as_much(
    tmp_path: Path,
) -> None:
    sampled = {"head_gradient_samples": 64, "peak_learning_rate": 1e-3}
    layouts = [sampled | degree for degree in ({"shard": 2}, {"context": 2}, {"pipeline": 2})]
    alone = curves(1, tmp_path / "alone", [sampled, {"peak_learning_rate": 1e-3}])
    together = curves(2, tmp_path / "together", layouts)
    for rows in (alone[0], *together):
        losses = [row["loss"] for row in rows if "loss" in row]
        in_full = [row["loss"] for row in alone[1] if "loss" in row]
        assert losses[0] == pytest.approx(in_full[0], rel=1e-6)
        assert losses == pytest.approx(in_full, abs=0.02)
        assert losses != in_full


def test_it_is_refused_with_a_head_cut_over_processes_and_without_samples() -> None:
    with pytest.raises(RecipeError, match=r"head_gradient_samples is 64, but parallel\.tensor, 2"):
        TrainSettings(max_tokens=1, head_gradient_samples=64, parallel=ParallelSettings(tensor=2))
    with pytest.raises(RecipeError, match="head_gradient_samples is 0"):
        TrainSettings(max_tokens=1, head_gradient_samples=0)


def test_operations_that_are_not_done_are_not_counted() -> None:
    whole = flops_per_token(CONFIG, SETTINGS.sequence_tokens)
    less = flops_per_token(CONFIG, SETTINGS.sequence_tokens, has_head_gradient=False)
    head = CONFIG.vocabulary_size * CONFIG.hidden_size
    assert whole.full - less.full == whole.causal - less.causal == 4 * head
