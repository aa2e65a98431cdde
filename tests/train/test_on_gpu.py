"""What only a GPU runs: its kernels give what the processor's give. Skipped where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tongwen.model.attention import KeyStretches, Segments, Visibility, attend
from tongwen.train.loss.cross_entropy import Sampling, cross_entropy_sum
from tongwen.train.loss.softmax import IGNORED

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu().float() - expected).norm() / expected.norm())


def compare(exact: list[Tensor], sees: Visibility, sees_on_gpu: Visibility) -> None:
    """Attention in float32 on the processor and in bfloat16 on the GPU, and its gradients."""
    expected = attend(*exact, sees)
    here = [x.detach().cuda().bfloat16().requires_grad_() for x in exact]
    found = attend(*here, sees_on_gpu)
    assert error(found, expected) < 0.01
    expected.square().sum().backward()
    found.float().square().sum().backward()
    for ours, theirs in zip(here, exact, strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert error(ours.grad, theirs.grad) < 0.02


@pytest.mark.parametrize("is_packed", [True, False])
def test_attention_and_its_gradients_equal_those_of_the_processor(is_packed: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 256, 8, 64), (2, 256, 2, 64), (2, 256, 2, 64))
    exact = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    documents = torch.tensor([[0] * 100 + [1] * 156, [0] * 3 + [5] * 200 + [7] * 53])
    seen = documents if is_packed else None
    on_gpu = Visibility.among_themselves(documents.cuda() if is_packed else None)
    compare(exact, Visibility.among_themselves(seen), on_gpu)


def test_stretches_with_keys_of_their_own_equal_those_of_the_processor() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 128, 8, 64), (2, 256, 2, 64), (2, 256, 2, 64))
    exact = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    ends, key_ends = torch.tensor([[0, 100, 256], [0, 180, 436]], dtype=torch.int32)
    places = torch.cat([torch.arange(180), torch.randperm(512, generator=generator)[:256]])
    compare(
        exact,
        Visibility(segments=Segments(ends, 256, KeyStretches(places, key_ends, 512))),
        Visibility(
            segments=Segments(ends.cuda(), 256, KeyStretches(places.cuda(), key_ends.cuda(), 512))
        ),
    )


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("samples", [None, 4096])
def test_the_loss_and_its_gradients_equal_those_of_the_processor(
    z_loss: float, samples: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 50, 64, generator=generator).requires_grad_()
    head = (torch.randn(1_000, 64, generator=generator) / 8).requires_grad_()
    targets = torch.randint(0, 1_000, (3, 50), generator=generator)
    targets[0, :30] = IGNORED
    expected = cross_entropy_sum(hidden, head, targets, z_loss)
    expected.backward()
    here = hidden.detach().cuda().requires_grad_(), head.detach().cuda().requires_grad_()
    sampling = None if samples is None else Sampling(samples, torch.Generator().manual_seed(0))
    wide, narrow = here[1], here[0].bfloat16()
    found = cross_entropy_sum(narrow, wide, targets.cuda(), z_loss, sampling=sampling)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)
    for ours, theirs in zip(here, (hidden, head), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert error(ours.grad, theirs.grad) < 0.02


def test_a_run_on_the_gpu_follows_the_one_on_the_processor(tmp_path: Path) -> None:
    from layout_worker import SETTINGS, run_with

    on_cpu = run_with(SETTINGS, tmp_path / "cpu")
    settings = replace(SETTINGS, device="cuda", precision="bf16")
    on_gpu = run_with(settings, tmp_path / "gpu")
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.02)
        assert ours.get("batch_digest") == theirs.get("batch_digest")
