"""Kernels of quantized products. Memory is given by its address, as int64."""

from typing import Any

import numpy as np

from tongwen.kernels import ZERO, inner, kernel
from tongwen.model.quantized.instructions import (
    multiply_block_1,
    multiply_block_2,
    multiply_block_4,
)
from tongwen.model.quantized.memory import floats, int8s, int32s

Number = Any
Array = Any

_ZERO = np.float32(0)
_LARGEST = np.float32(127)
_GREATEST = np.finfo(np.float32).max
_NAN = np.float32(np.nan)
_ROUNDING = np.float32(1.5 * 2**23)
_ROWS_AT_ONCE = 128
"""Rows whose activations stay in the cache while all weights pass by."""


@inner
def multiply_blocks(
    path: Number, bits: Number, weights: Number, scales: Number, x: Number, x_scales: Number,
    x_sums: Number, out: Number, rows: Number, groups: Number, out_stride: Number, first: Number,
    last: Number,
) -> None:  # fmt: skip
    """As `multiply`, for kernels."""
    weight_bytes = groups * 64 * bits
    scale_bytes = groups * 32
    for tile in range(0, rows, _ROWS_AT_ONCE):
        end = min(rows, tile + _ROWS_AT_ONCE)
        for block in range(first, last):
            w = weights + block * weight_bytes
            s = scales + block * scale_bytes
            row = tile
            while row < end:
                a = x + row * groups * 32
                b = x_scales + row * groups * 4
                c = x_sums + row * groups * 4
                o = out + (row * out_stride + block * 16) * 4
                if row + 4 <= end:
                    multiply_block_4(path, bits, w, s, a, b, c, o, groups, out_stride)
                    row += 4
                elif row + 2 <= end:
                    multiply_block_2(path, bits, w, s, a, b, c, o, groups, out_stride)
                    row += 2
                else:
                    multiply_block_1(path, bits, w, s, a, b, c, o, groups, out_stride)
                    row += 1


@kernel
def multiply(
    path: Number, bits: Number, weights: Number, scales: Number, x: Number, x_scales: Number,
    x_sums: Number, out: Number, rows: Number, groups: Number, out_stride: Number, first: Number,
    last: Number,
) -> None:  # fmt: skip
    """Blocks first..last of the product of quantized weights and activations.

    `path` is the number of the instructions, `bits` 4 or 8. `weights` and `scales` are addresses of
    `QuantizedLinear`'s buffers; `x`, `x_scales` and `x_sums` of what `quantize` makes of the rows;
    `out` of the float32 results, whose rows are `out_stride` numbers apart.
    """
    multiply_blocks(
        path, bits, weights, scales, x, x_scales, x_sums, out, rows, groups, out_stride, first, last
    )


@inner
def quantize_groups(
    x: Array, rounded: Array, scales: Array, sums: Array, first: Number, end: Number
) -> None:
    """Round groups first..end of a row of float32 numbers to int8."""
    for group in range(first, end):
        start = group * 32
        size, broken = _ZERO, False
        for place in range(start, start + 32):
            number = abs(x[place])
            size = max(size, number)
            broken = broken | (not (number <= _GREATEST))
        inverse = _LARGEST / size if size > _ZERO else _ZERO
        total = np.int32(0)
        for place in range(start, start + 32):
            # Adding 1.5 * 2^23 leaves a float32 no place for a fraction: rounds half to even.
            step = np.int32((x[place] * inverse + _ROUNDING) - _ROUNDING)
            rounded[place] = np.int8(step)
            total += step
        # Integers cannot be NaN: the scale says that a number was, or was infinite.
        scales[group] = _NAN if broken else size / _LARGEST
        sums[group] = total


@kernel
def quantize(
    x: Number,
    rounded: Number,
    scales: Number,
    sums: Number,
    groups: Number,
    first: Number,
    end: Number,
) -> None:
    """Round rows first..end to int8."""
    for row in range(first, end):
        quantize_groups(
            floats(x + row * groups * 128, groups * 32),
            int8s(rounded + row * groups * 32, groups * 32),
            floats(scales + row * groups * 4, groups),
            int32s(sums + row * groups * 4, groups),
            ZERO,
            groups,
        )
