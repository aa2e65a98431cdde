"""Polar Express (Amsel et al. 2025, arXiv:2505.16932): a polynomial of its own for each of the five
steps, the best one for the singular values that the steps before it left. The coefficients come
from the paper's algorithm, with a safety factor of 2 %.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor

from tongwen.model.device import cpu_multiplies_bf16
from tongwen.train.optim import muon

_COEFFICIENTS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
_SAFETY = 1.02


def orthogonalized(matrices: Tensor) -> Tensor:
    """As `muon.orthogonalized`, (N, rows, columns), float32."""
    x = matrices.to(torch.bfloat16 if cpu_multiplies_bf16() else torch.float32)
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) * _SAFETY).clamp(min=1e-7)
    for a, b, c in _COEFFICIENTS:
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if is_tall else x).float()


@contextmanager
def applied() -> Iterator[None]:
    """Within it Muon orthogonalizes this way."""
    with patch.object(muon, "orthogonalized", orthogonalized):
        yield
