"""The grid of quantized weights: symmetric, in groups of 32 inputs with a float16 scale each.

It is the grid of GGUF's Q4_0 and Q8_0. On disk a group of int4 weights is 16 bytes in the order of
Q4_0: byte j holds input j in its low and input j + 16 in its high half, each plus 8.

In memory the channels are interleaved, 16 to a block, so that one instruction meets the same inputs
of many channels. That order is a permutation of the bytes on disk.

Shape suffixes in this file: O outputs, N inputs, G groups of inputs, J bytes a group (16 or 32),
C blocks of channels.
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from tongwen.errors import InputError

Bits = Literal[4, 8]

GROUP = 32  # as in GGUF: a scale of 16 bits costs half a bit a weight
BLOCK = 16  # as many as the instructions take at once, see `instructions`
_SMALLEST_SCALE = 2.0**-24
_SHRINKS = tuple(1 - step / 40 for step in range(13))


def largest_step(bits: Bits) -> int:
    """The grid is -8..7 for int4 and -127..127 for int8."""
    return 7 if bits == 4 else 127


def smallest_step(bits: Bits) -> int:
    return -8 if bits == 4 else -127


def group_inputs(weight_ON: Tensor) -> Tensor:
    """The weight as float32 groups, (O, G, 32), the last one filled up with zeros."""
    outputs, inputs = weight_ON.shape
    return F.pad(weight_ON.float(), (0, -inputs % GROUP)).reshape(outputs, -1, GROUP)


def choose_scales(groups_OGn: Tensor, bits: Bits, importance_Gn: Tensor | None = None) -> Tensor:
    """One float16 scale a group, (O, G).

    int8: the largest magnitude is 127 steps. int4: of the scales that map the largest value to -8
    or less, the one with the smallest squared error, each input weighted by its importance. The
    scale may be negative: the side that reaches further gets the additional step.

    Args:
        groups_OGn: weights in groups, (O, G, 32).
        bits: of the grid.
        importance_Gn: mean square of each input, (G, 32); all alike when absent.

    Raises:
        InputError: a weight is infinite, NaN, or too large for a float16 scale.
    """
    size_OG, place_OG = groups_OGn.abs().max(-1)
    if not bool((size_OG < 60_000).all()):
        raise InputError(
            f"a weight is {size_OG.max().item():g}; quantized weights must be below 60,000",
            hint="is the checkpoint damaged? `tongwen evaluate` shows whether it computes",
        )
    if bits == 8:
        return (size_OG / 127).clamp_min(_SMALLEST_SCALE).half()
    extreme_OG = groups_OGn.gather(-1, place_OG[..., None])[..., 0]
    full_OG = torch.where(size_OG == 0, torch.ones_like(size_OG), extreme_OG / -8)
    best_OG, least_OG = full_OG.half(), torch.full_like(full_OG, torch.inf)
    for shrink in _SHRINKS:
        scale_OG = _not_zero(full_OG * shrink)
        error = groups_OGn - to_grid(groups_OGn, scale_OG, bits) * scale_OG.float()[..., None]
        square = error.square_()
        if importance_Gn is not None:
            square *= importance_Gn
        total_OG = square.sum(-1)
        better = total_OG < least_OG
        best_OG = torch.where(better, scale_OG, best_OG)
        least_OG = torch.where(better, total_OG, least_OG)
    return best_OG


def _not_zero(scale_OG: Tensor) -> Tensor:
    half = scale_OG.half()
    return torch.where(half == 0, torch.full_like(half, _SMALLEST_SCALE), half)


def to_grid(values_OGn: Tensor, scale_OG: Tensor, bits: Bits) -> Tensor:
    """The nearest steps of the grid, float32."""
    steps = (values_OGn / scale_OG.float()[..., None]).round_()
    return steps.clamp_(smallest_step(bits), largest_step(bits))


def to_bytes(steps_OGn: Tensor, bits: Bits) -> Tensor:
    """Steps (O, G, 32) as on disk: uint8 (O, G, 16) for int4, int8 (O, G, 32) for int8."""
    if bits == 8:
        return steps_OGn.to(torch.int8)
    shifted = (steps_OGn + 8).to(torch.uint8)
    return shifted[..., :16] | (shifted[..., 16:] << 4)


def from_bytes(bytes_OGJ: Tensor) -> Tensor:
    """The steps of `to_bytes`, int8, (O, G, 32)."""
    if bytes_OGJ.dtype == torch.int8:
        return bytes_OGJ
    halves = torch.cat([bytes_OGJ & 15, bytes_OGJ >> 4], dim=-1)
    return halves.to(torch.int8) - 8


def interleave(bytes_OGJ: Tensor) -> Tensor:
    """The order in memory, (C, G, J / 4, 16, 4); channels are filled up to whole blocks."""
    outputs, groups, width = bytes_OGJ.shape
    # For int4 a byte of 0x88 is two zeros.
    fill = 0x88 if bytes_OGJ.dtype == torch.uint8 else 0
    padded = F.pad(bytes_OGJ, (0, 0, 0, 0, 0, -outputs % BLOCK), value=fill)
    blocks = padded.view(-1, BLOCK, groups, width // 4, 4)
    return blocks.permute(0, 2, 3, 1, 4).contiguous()


def interleave_scales(scale_OG: Tensor) -> Tensor:
    """The order in memory, (C, G, 16)."""
    padded = F.pad(scale_OG, (0, 0, 0, -len(scale_OG) % BLOCK))
    return padded.view(-1, BLOCK, scale_OG.shape[1]).transpose(1, 2).contiguous()


def separate(interleaved: Tensor, outputs: int) -> Tensor:
    """The opposite of `interleave`, (O, G, J)."""
    blocks, groups, quarters = interleaved.shape[:3]
    ordered = interleaved.permute(0, 3, 1, 2, 4).reshape(blocks * BLOCK, groups, 4 * quarters)
    return ordered[:outputs]


def separate_scales(interleaved: Tensor, outputs: int) -> Tensor:
    """The opposite of `interleave_scales`, (O, G)."""
    return interleaved.transpose(1, 2).reshape(-1, interleaved.shape[1])[:outputs]
