"""The mean of a model's weights at several checkpoints."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Reader = Callable[[Sequence[str]], dict[str, Tensor]]
"""Whole tensors by name, float32."""


def mean_of(readers: Sequence[Reader], names: Sequence[str]) -> dict[str, Tensor]:
    """Mean of the tensors `names` over all readers; summed in float64, so their order hardly
    counts.

    Weights along the end of one run have nearly the same basin, and their mean has less of the
    noise that the last steps put into them (Izmailov et al. 2018, arXiv:1803.05407).
    """
    sums = {name: tensor.to(torch.float64) for name, tensor in readers[0](names).items()}
    for read in readers[1:]:
        for name, tensor in read(names).items():
            sums[name] += tensor
    return {name: (total / len(readers)).to(torch.float32) for name, total in sums.items()}
