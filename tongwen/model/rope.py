"""RoPE's frequencies for windows longer than that of pretraining.

Sources: see `RopeScaling`. The formulas are those that published models were trained with, as
transformers has them.
"""

import math

import torch
from torch import Tensor

from tongwen.model.huggingface import RopeScaling


def scaled_frequencies(
    frequency_D: Tensor, positions_BT: Tensor, head_dim: int, theta: float, scaling: RopeScaling
) -> Tensor:
    """The angle of each channel pair for a step of one position, float32, (D / 2,).

    Dynamic scaling depends on the length of the row: (B, 1, 1, D / 2).

    Args:
        frequency_D: the same without scaling, (D / 2,).
        positions_BT: of the tokens; a row is as long as its highest.
        head_dim: D.
        theta: RoPE's base.
        scaling: what changes.
    """
    if scaling.kind == "linear":
        return frequency_D / scaling.factor
    if scaling.kind == "dynamic":
        return _dynamic(positions_BT, head_dim, theta, scaling)
    if scaling.kind == "yarn":
        return _yarn(frequency_D, head_dim, theta, scaling)
    assert scaling.kind == "llama3", scaling.kind
    return _llama3(frequency_D, scaling)


def _dynamic(positions_BT: Tensor, head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    original, factor = scaling.original_tokens, scaling.factor
    length_B = (positions_BT.amax(1) + 1).clamp(min=original)
    growth_B = factor * length_B / original - (factor - 1)
    theta_B = theta * growth_B ** (head_dim / (head_dim - 2))
    channels = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions_BT.device)
    return 1.0 / theta_B[:, None, None, None] ** (channels / head_dim)


def _yarn(frequency_D: Tensor, head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    def channel_with(turns: float) -> float:
        """The channel that turns so often within the original window."""
        wavelengths = math.log(scaling.original_tokens / (turns * 2 * math.pi))
        return head_dim * wavelengths / (2 * math.log(theta))

    low, high = channel_with(scaling.beta_fast), channel_with(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # one channel between both: no division by zero
    channels = torch.arange(head_dim // 2, dtype=torch.float32, device=frequency_D.device)
    is_slow = ((channels - low) / (high - low)).clamp(0, 1)
    return frequency_D / scaling.factor * is_slow + frequency_D * (1 - is_slow)


def _llama3(frequency_D: Tensor, scaling: RopeScaling) -> Tensor:
    turns_D = scaling.original_tokens * frequency_D / (2 * math.pi)
    low, high = scaling.low_frequency, scaling.high_frequency
    is_fast = ((turns_D - low) / (high - low)).clamp(0, 1)
    return (1 - is_fast) * frequency_D / scaling.factor + is_fast * frequency_D
