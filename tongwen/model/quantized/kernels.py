"""Kernels of quantized products. Memory is given by its address, as int64."""

import numpy as np

from tongwen.kernels import inner, kernel
from tongwen.model.quantized.instructions import (
    floats,
    int8s,
    int32s,
    multiply_block_1,
    multiply_block_2,
    multiply_block_4,
)

_ZERO = np.float32(0)
_LARGEST = np.float32(127)
_ROUNDING = np.float32(1.5 * 2**23)
_ROWS_AT_ONCE = 128
"""Rows whose activations stay in the cache while all weights pass by."""


@inner
def multiply_blocks(
    path, bits, weights, scales, x, x_scales, x_sums, out, rows, groups, out_stride, first, last
):
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
    path, bits, weights, scales, x, x_scales, x_sums, out, rows, groups, out_stride, first, last
):
    multiply_blocks(
        path, bits, weights, scales, x, x_scales, x_sums, out, rows, groups, out_stride, first, last
    )


@inner
def quantize_groups(x, rounded, scales, sums, first, end):
    """Round groups first..end of a row of float32 numbers to int8."""
    for group in range(first, end):
        start = group * 32
        size = _ZERO
        for place in range(start, start + 32):
            size = max(size, abs(x[place]))
        inverse = _LARGEST / size if size > _ZERO else _ZERO
        total = np.int32(0)
        for place in range(start, start + 32):
            # Adding 1.5 * 2^23 leaves a float32 no place for a fraction: rounds half to even.
            step = np.int32((x[place] * inverse + _ROUNDING) - _ROUNDING)
            rounded[place] = np.int8(step)
            total += step
        scales[group] = size / _LARGEST
        sums[group] = total


@kernel
def quantize(x, rounded, scales, sums, groups, first, end):
    """Round rows first..end to int8."""
    for row in range(first, end):
        quantize_groups(
            floats(x + row * groups * 128, groups * 32),
            int8s(rounded + row * groups * 32, groups * 32),
            floats(scales + row * groups * 4, groups),
            int32s(sums + row * groups * 4, groups),
            0,
            groups,
        )
