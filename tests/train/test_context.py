"""Attention of one process's tokens over gathered keys gives what the whole sequence gives."""

from typing import Any

import pytest
import torch

from tongwen.model.attention import Visibility, attend
from tongwen.train.parallel.context import GatheredKeys, tokens_here

TOKENS = 48
DOCUMENTS = [
    [0] * TOKENS,
    [0] * 1 + [1] * 22 + [4] * 2 + [5] * 23,  # one ends inside a chunk, one spans three
    [number // 2 for number in range(TOKENS)],
]


class Group:
    """What `GatheredKeys.begin` asks of a group."""

    def __init__(self, size: int, rank: int) -> None:
        self.size, self.rank = lambda: size, lambda: rank


@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("separate_documents", [True, False])
def test_a_share_of_the_tokens_gives_the_outputs_and_gradients_of_the_whole(
    processes: int, separate_documents: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, TOKENS, 4, 8), (3, TOKENS, 2, 8), (3, TOKENS, 2, 8))
    whole = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    documents = torch.tensor(DOCUMENTS) if separate_documents else None
    expected = attend(*whole, Visibility.among_themselves(documents))
    expected.square().sum().backward()
    here = [x.detach().clone().requires_grad_() for x in whole]
    order = torch.cat([tokens_here(TOKENS, processes, place) for place in range(processes)])
    for place in range(processes):
        group: Any = Group(processes, place)
        mine = tokens_here(TOKENS, processes, place)
        sees = GatheredKeys(documents, TOKENS, group).begin(mine.expand(3, -1))
        found = attend(here[0][:, mine], here[1][:, order], here[2][:, order], sees)
        torch.testing.assert_close(found, expected[:, mine])
        found.square().sum().backward()
    for ours, theirs in zip(here, whole, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
