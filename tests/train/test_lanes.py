"""Passes side by side give the gradients of passes one after the other, whichever is slower."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch
from layout_worker import CONFIG as UNTIED
from torch import Tensor, nn

from tongwen.model.llama import Llama
from tongwen.train.data.sequences import Batch
from tongwen.train.lanes import Lanes, lanes_for
from tongwen.train.parallel.mesh import Processes
from tongwen.train.parallel.settings import ParallelSettings
from tongwen.train.passes import Passes, add_gradients
from tongwen.train.settings import TrainSettings

CPU = torch.device("cpu")
CONFIG = replace(UNTIED, tie_word_embeddings=True)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def a_batch(rows: int) -> Batch:
    ids = torch.randint(
        0, CONFIG.vocabulary_size, (rows, 33), generator=torch.Generator().manual_seed(7)
    )
    positions = torch.arange(32).expand(rows, 32)
    return Batch(ids[:, :-1], ids[:, 1:], positions, None, rows * 32)


def passes_of(model: Llama, wait: Callable[[int], float]) -> list[Callable[[], Tensor]]:
    def work(number: int, part: Batch) -> Tensor:
        time.sleep(wait(number))
        return add_gradients(model, part, torch.float32)

    return [partial(work, *item) for item in enumerate(a_batch(10).split(2))]


def gradients(model: nn.Module) -> list[Tensor]:
    found = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    return [gradient for gradient in found if gradient is not None]


@pytest.mark.parametrize("slow", [(), (0,), (1, 3), (2,), (0, 2, 4)])
def test_gradients_are_added_in_the_order_of_the_passes_whichever_is_slower(
    slow: tuple[int, ...],
) -> None:
    model = Llama(CONFIG)
    model.initialize(0)
    torch.set_num_threads(1)
    losses = [work() for work in passes_of(model, lambda _: 0.0)]
    expected = gradients(model)
    torch.set_num_threads(2)
    lanes = Lanes(model, 2)
    for _ in range(2):
        found = lanes.run(passes_of(model, lambda number: 0.05 * (number in slow)))
        assert torch.equal(torch.stack(found), torch.stack(losses))
        for ours, theirs in zip(gradients(model), expected, strict=True):
            assert torch.equal(ours, theirs)
    assert torch.get_num_threads() == 2


def test_the_first_error_of_a_pass_is_raised_and_the_lanes_go_on_working() -> None:
    model = Llama(CONFIG)
    model.initialize(0)
    lanes = Lanes(model, 2)
    lanes.run(passes_of(model, lambda _: 0.0))
    expected = gradients(model)

    def fail() -> Tensor:
        raise ValueError("the third pass")

    broken = passes_of(model, lambda _: 0.0)
    broken[2] = fail
    with pytest.raises(ValueError, match="the third pass"):
        lanes.run(broken)
    gradients(model)
    lanes.run(passes_of(model, lambda _: 0.0))
    for ours, theirs in zip(gradients(model), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_parameter_that_a_pass_does_not_touch_holds_nobody_up() -> None:
    model = nn.ParameterList([torch.ones(3), torch.ones(3)])

    def work(number: int) -> Tensor:
        time.sleep(0.02 * (number == 0))
        loss: Tensor = (model[number % 2] * (number + 1)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    Lanes(model, 2).run([partial(work, number) for number in range(6)])
    first, second = gradients(model)
    assert first.tolist() == [1 + 3 + 5] * 3
    assert second.tolist() == [2 + 4 + 6] * 3


def test_two_lanes_are_for_a_processor_that_one_process_has_to_itself() -> None:
    assert lanes_for(4, CPU, processes=1) == 2
    assert lanes_for(3, CPU, processes=1) == 1
    assert lanes_for(4, CPU, processes=2) == 1
    assert lanes_for(4, torch.device("cuda"), processes=1) == 1
    torch.set_num_threads(1)
    assert lanes_for(4, CPU, processes=1) == 1


@pytest.mark.parametrize("samples", [None, 16])
def test_lanes_change_a_batch_s_gradients_by_rounding_only(samples: int | None) -> None:
    settings = TrainSettings(
        max_tokens=1_000,
        sequence_tokens=32,
        batch_tokens=256,
        micro_batch_tokens=128,
        head_gradient_samples=samples,
    )
    processes = Processes.start(ParallelSettings(), CPU)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = Llama(CONFIG)
        model.initialize(0)
        passes = Passes(model, processes, torch.float32, settings)
        loss = passes.backward(a_batch(8), samples_before=24)
        found.append([loss, *gradients(model)])
    for one_lane, two_lanes in zip(*found, strict=True):
        torch.testing.assert_close(one_lane, two_lanes, rtol=1e-4, atol=1e-6)
