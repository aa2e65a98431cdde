"""One decoding step of a whole model: a token for each row, from its embedding to the logits.

Rows of one sequence are tokens that follow one another in it, each at its own position of one row
of the cache.

Several threads call `decode` at once and meet after each phase, so that Python is entered once a
step. Rows, heads and stretches of keys are computed in an order that depends on nothing but
themselves: a row's logits are the same bits alone, among others, and with any number of threads.

All memory is given by addresses in tables of int64. What stands where in them, `fused.py` writes.
"""

from typing import Any

import numpy as np

from tongwen.kernels import ZERO, inner, kernel
from tongwen.model.quantized.kernels import multiply_blocks, quantize_groups
from tongwen.model.quantized.lanes import (
    KIND_BFLOAT16,
    KIND_FLOAT32,
    KIND_INT8,
    dot,
    dot_rows,
    weighted_sum_8,
    weighted_sum_32,
)
from tongwen.model.quantized.memory import (
    bfloat16_bits,
    bfloat16_value,
    floats,
    half_at,
    int8s,
    int32s,
    int64s,
    meet,
    power_of_two,
    uint16s,
)

Number = Any
Table = Any

STRETCH = 256
"""Keys whose softmax is computed at once; stretches are joined as in Dao et al. 2022, flash
attention, arXiv:2205.14135, section 3.1."""

# Of the whole step.
(
    PATH, ROWS, LAYERS, HIDDEN, QUERY_HEADS, KEY_HEADS, HEAD_DIM, FEED_FORWARD, CACHE_KIND,
    CACHE_TOKENS, CACHE_ROWS, MOST_STRETCHES, TOKEN_IDS, POSITIONS, COSINES, SINES, COUNTER,
    EPSILON, SCALE, RESIDUAL, NORMED, ROUNDED, ROUNDED_SCALES, ROUNDED_SUMS, WIDTH, QUERIES,
    KEYS, VALUES, GATES, UPS, ADDED, SCORES, PARTIALS, LAST_NORM, EMBEDDING, EMBEDDING_KIND,
    EMBEDDING_SCALES, EMBEDDING_GROUPS, STEP_FIELDS,
) = range(39)  # fmt: skip

# Of a matrix.
BITS, WEIGHTS, SCALES, GROUPS, BLOCKS, BIAS, OUT, MATRIX_FIELDS = range(8)

# Of a layer; seven matrices follow.
(
    FIRST_NORM, SECOND_NORM, QUERY_NORM, KEY_NORM, CACHED_KEYS, CACHED_VALUES, KEY_SCALES,
    VALUE_SCALES, MATRICES,
) = range(9)  # fmt: skip
QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, HEAD = range(8)
LAYER_FIELDS = MATRICES + 7 * MATRIX_FIELDS

# Phases of a layer, by the products they end with.
_QUERIES, _OUTPUT, _GATES, _DOWN = range(4)

_ZERO = np.float32(0)
_ONE = np.float32(1)
_ROUNDING = np.float32(1.5 * 2**23)
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_SMALLEST = np.float32(-87)
_LARGEST_STEP = np.float32(127)
_LEAST = np.float32(-1e30)
# Coefficients of Cephes' expf; errors below 2 units in the last place.
_E0 = np.float32(1.9875691500e-4)
_E1 = np.float32(1.3981999507e-3)
_E2 = np.float32(8.3334519073e-3)
_E3 = np.float32(4.1665795894e-2)
_E4 = np.float32(1.6666665459e-1)
_E5 = np.float32(5.0000001201e-1)


@inner(forceinline=True)
def _exp(x: Number) -> Number:
    """The exponential of a float32 number up to 88; each machine's library rounds its own way.

    Cody and Waite's reduction, with the polynomial of Moshier's Cephes library, 1984.
    """
    x = max(x, _SMALLEST)
    whole = (x * _LOG2_E + _ROUNDING) - _ROUNDING
    rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    series = ((((_E0 * rest + _E1) * rest + _E2) * rest + _E3) * rest + _E4) * rest + _E5
    return ((series * rest) * rest + rest + _ONE) * power_of_two(np.int32(whole))


@inner
def _part(count: Number, thread: Number, threads: Number) -> Number:
    return count * thread // threads


@inner
def _norm_row(step: Table, row: Number, weight: Number) -> None:
    """RMSNorm of a row of the residual stream into `NORMED`, then as int8."""
    hidden, width = step[HIDDEN], step[WIDTH]
    source = step[RESIDUAL] + row * hidden * 4
    x, normed = floats(source, hidden), floats(step[NORMED] + row * width * 4, width)
    weights = floats(weight, hidden)
    epsilon = floats(step[EPSILON], 1)[0]
    mean = dot(KIND_FLOAT32, source, source, hidden) / np.float32(hidden)
    scale = _ONE / np.sqrt(mean + epsilon)
    for place in range(hidden):
        normed[place] = (x[place] * scale) * weights[place]
    _round_row(step, row, ZERO, (hidden + 31) // 32, (hidden + 31) // 32)


@inner
def _round_row(step: Table, row: Number, first: Number, end: Number, groups: Number) -> None:
    """Groups first..end of a row of `NORMED` as int8; the row has so many groups."""
    quantize_groups(
        floats(step[NORMED] + row * step[WIDTH] * 4, groups * 32),
        int8s(step[ROUNDED] + row * groups * 32, groups * 32),
        floats(step[ROUNDED_SCALES] + row * groups * 4, groups),
        int32s(step[ROUNDED_SUMS] + row * groups * 4, groups),
        first,
        end,
    )


@inner
def _multiply(step: Table, matrix: Table, thread: Number, threads: Number) -> None:
    """This thread's part of a matrix's product with all rows."""
    rows, bits, groups, blocks = step[ROWS], matrix[BITS], matrix[GROUPS], matrix[BLOCKS]
    first, end = _part(blocks, thread, threads), _part(blocks, thread + 1, threads)
    out, stride = matrix[OUT], blocks * 16
    if bits <= KIND_INT8:
        multiply_blocks(
            step[PATH], bits, matrix[WEIGHTS], matrix[SCALES], step[ROUNDED], step[ROUNDED_SCALES],
            step[ROUNDED_SUMS], out, rows, groups, stride, first, end,
        )  # fmt: skip
    else:
        item, inputs = bits // 8, groups * 32
        for block in range(first, end):
            for row in range(rows):
                x = step[NORMED] + row * step[WIDTH] * 4
                for four in range(block * 16, block * 16 + 16, 4):
                    weights = matrix[WEIGHTS] + four * inputs * item
                    dot_rows(bits, x, weights, inputs, inputs, out + (row * stride + four) * 4)
    if matrix[BIAS] != 0:
        bias = floats(matrix[BIAS], stride)
        for row in range(rows):
            results = floats(out + row * stride * 4, stride)
            for place in range(first * 16, end * 16):
                results[place] += bias[place]


@inner
def _rotate(step: Table, head: Number, row: Number, norm: Number) -> None:
    """Norm a head's numbers, if it has a norm, and rotate them by the row's position."""
    size = step[HEAD_DIM]
    x = floats(head, size)
    if norm != 0:
        weights = floats(norm, size)
        epsilon = floats(step[EPSILON], 1)[0]
        mean = dot(KIND_FLOAT32, head, head, size) / np.float32(size)
        scale = _ONE / np.sqrt(mean + epsilon)
        for place in range(size):
            x[place] = (x[place] * scale) * weights[place]
    position = int64s(step[POSITIONS], step[ROWS])[row]
    cosines = floats(step[COSINES] + position * size * 4, size)
    sines = floats(step[SINES] + position * size * 4, size)
    half = size // 2
    for place in range(half):
        first, second = x[place], x[half + place]
        # As `apply_rope`: the sine of the first half is negated in the table.
        x[place] = first * cosines[place] + second * sines[place]
        x[half + place] = second * cosines[half + place] + first * sines[half + place]


@inner
def _store(step: Table, source: Number, target: Number, scales: Number, place: Number) -> None:
    """A head's numbers into its place of the cache, in the cache's kind."""
    size, kind = step[HEAD_DIM], step[CACHE_KIND]
    x = floats(source, size)
    if kind == KIND_FLOAT32:
        wide = floats(target + place * size * 4, size)
        for number in range(size):
            wide[number] = x[number]
    elif kind == KIND_BFLOAT16:
        halves = uint16s(target + place * size * 2, size)
        for number in range(size):
            halves[number] = bfloat16_bits(x[number])
    else:
        narrow = int8s(target + place * size, size)
        largest = _ZERO
        for number in range(size):
            largest = max(largest, abs(x[number]))
        inverse = _LARGEST_STEP / largest if largest > _ZERO else _ZERO
        for number in range(size):
            narrow[number] = np.int8(np.int32((x[number] * inverse + _ROUNDING) - _ROUNDING))
        floats(scales + place * 4, 1)[0] = largest / _LARGEST_STEP


@inner
def _place_heads(step: Table, layer: Table, thread: Number, threads: Number) -> None:
    """Rotate queries and keys; put keys and values into the cache."""
    table = int64s(layer, LAYER_FIELDS)
    rows, heads, key_heads, size = (
        step[ROWS], step[QUERY_HEADS], step[KEY_HEADS], step[HEAD_DIM]
    )  # fmt: skip
    query_stride = table[MATRICES + QUERY * MATRIX_FIELDS + BLOCKS] * 16
    key_stride = table[MATRICES + KEY * MATRIX_FIELDS + BLOCKS] * 16
    positions, cache_rows = int64s(step[POSITIONS], rows), int64s(step[CACHE_ROWS], rows)
    count = rows * (heads + key_heads)
    for item in range(_part(count, thread, threads), _part(count, thread + 1, threads)):
        row, head = item // (heads + key_heads), item % (heads + key_heads)
        if head < heads:
            query = step[QUERIES] + (row * query_stride + head * size) * 4
            _rotate(step, query, row, table[QUERY_NORM])
            continue
        head -= heads
        offset = (row * key_stride + head * size) * 4
        _rotate(step, step[KEYS] + offset, row, table[KEY_NORM])
        place = (cache_rows[row] * step[CACHE_TOKENS] + positions[row]) * key_heads + head
        _store(step, step[KEYS] + offset, table[CACHED_KEYS], table[KEY_SCALES], place)
        _store(step, step[VALUES] + offset, table[CACHED_VALUES], table[VALUE_SCALES], place)


@inner
def _attend(step: Table, layer: Table, thread: Number, threads: Number) -> None:
    """Softmax over stretches of keys, for all query heads of a key head at once."""
    rows, key_heads, most = step[ROWS], step[KEY_HEADS], step[MOST_STRETCHES]
    positions = int64s(step[POSITIONS], rows)
    table = int64s(layer, LAYER_FIELDS)
    query_stride = table[MATRICES + QUERY * MATRIX_FIELDS + BLOCKS] * 16
    count = np.int64(0)
    for row in range(rows):
        count += (positions[row] // STRETCH + 1) * key_heads
    first, end = _part(count, thread, threads), _part(count, thread + 1, threads)
    item = np.int64(0)
    for row in range(rows):
        stretches = positions[row] // STRETCH + 1
        for stretch in range(stretches):
            for head in range(key_heads):
                if first <= item < end:
                    scores = step[SCORES] + thread * STRETCH * 4
                    _attend_stretch(step, table, row, stretch, head, query_stride, scores, most)
                item += 1


@inner
def _attend_stretch(
    step: Table, table: Table, row: Number, stretch: Number, head: Number, query_stride: Number,
    scores: Number, most: Number,
) -> None:  # fmt: skip
    size, kind, key_heads = step[HEAD_DIM], step[CACHE_KIND], step[KEY_HEADS]
    group = step[QUERY_HEADS] // key_heads
    position = int64s(step[POSITIONS], step[ROWS])[row]
    start = stretch * STRETCH
    keys = min(position + 1 - start, np.int64(STRETCH))
    cache_row = int64s(step[CACHE_ROWS], step[ROWS])[row]
    first = (cache_row * step[CACHE_TOKENS] + start) * key_heads + head
    item = size * (kind // 8)
    scale = floats(step[SCALE], 1)[0]
    shares = floats(scores, STRETCH)
    for query_head in range(head * group, head * group + group):
        query = step[QUERIES] + (row * query_stride + query_head * size) * 4
        for key in range(keys):
            address = table[CACHED_KEYS] + (first + key * key_heads) * item
            score = dot(kind, query, address, size) * scale
            if kind == KIND_INT8:
                score *= floats(table[KEY_SCALES] + (first + key * key_heads) * 4, 1)[0]
            shares[key] = score
        largest = shares[0]
        for key in range(1, keys):
            largest = max(largest, shares[key])
        for key in range(keys):
            shares[key] = _exp(shares[key] - largest)
        total = _ZERO
        for key in range(keys):
            total += shares[key]
        if kind == KIND_INT8:
            for key in range(keys):
                shares[key] *= floats(table[VALUE_SCALES] + (first + key * key_heads) * 4, 1)[0]
        place = (row * step[QUERY_HEADS] + query_head) * most + stretch
        partial = step[PARTIALS] + place * (size + 2) * 4
        _sum_values(
            kind, scores, table[CACHED_VALUES] + first * item, key_heads * size, keys, partial, size
        )
        tail = floats(partial + size * 4, 2)
        tail[0], tail[1] = largest, total


@inner
def _sum_values(
    kind: Number, shares: Number, values: Number, stride: Number, keys: Number, out: Number,
    size: Number,
) -> None:  # fmt: skip
    place = np.int64(0)
    while place + 32 <= size:
        here = values + place * (kind // 8)
        weighted_sum_32(kind, shares, here, stride, keys, out + place * 4)
        place += 32
    while place < size:
        here = values + place * (kind // 8)
        weighted_sum_8(kind, shares, here, stride, keys, out + place * 4)
        place += 8


@inner
def _join_row(step: Table, row: Number) -> None:
    """A row's stretches joined into `NORMED`, and that as int8."""
    size, heads, most, width = step[HEAD_DIM], step[QUERY_HEADS], step[MOST_STRETCHES], step[WIDTH]
    stretches = int64s(step[POSITIONS], step[ROWS])[row] // STRETCH + 1
    for head in range(heads):
        out = floats(step[NORMED] + (row * width + head * size) * 4, size)
        partials = step[PARTIALS] + (row * heads + head) * most * (size + 2) * 4
        largest = _LEAST
        for stretch in range(stretches):
            largest = max(largest, floats(partials + (stretch * (size + 2) + size) * 4, 2)[0])
        total = _ZERO
        for place in range(size):
            out[place] = _ZERO
        for stretch in range(stretches):
            partial = floats(partials + stretch * (size + 2) * 4, size + 2)
            factor = _exp(partial[size] - largest)
            total += partial[size + 1] * factor
            for place in range(size):
                out[place] += partial[place] * factor
        for place in range(size):
            out[place] /= total
    groups = (heads * size + 31) // 32
    _round_row(step, row, ZERO, groups, groups)


@inner
def _gate(step: Table, layer: Table, thread: Number, threads: Number) -> None:
    """SwiGLU of gates and ups into `NORMED`, and that as int8."""
    table = int64s(layer, LAYER_FIELDS)
    size, width = step[FEED_FORWARD], step[WIDTH]
    stride = table[MATRICES + GATE * MATRIX_FIELDS + BLOCKS] * 16
    groups = (size + 31) // 32
    count = step[ROWS] * groups
    first, end = _part(count, thread, threads), _part(count, thread + 1, threads)
    item = first
    while item < end:
        row, group = item // groups, item % groups
        last = min(groups, group + end - item)
        gates = floats(step[GATES] + row * stride * 4, stride)
        ups = floats(step[UPS] + row * stride * 4, stride)
        out = floats(step[NORMED] + row * width * 4, width)
        for place in range(group * 32, min(size, last * 32)):
            gate = gates[place]
            out[place] = gate / (_ONE + _exp(min(-gate, np.float32(88)))) * ups[place]
        _round_row(step, row, group, last, groups)
        item += last - group


@inner
def _add_row(step: Table, row: Number) -> None:
    """Add a projection's output to a row of the residual stream."""
    hidden = step[HIDDEN]
    stride = (hidden + 15) // 16 * 16
    x = floats(step[RESIDUAL] + row * hidden * 4, hidden)
    added = floats(step[ADDED] + row * stride * 4, hidden)
    for place in range(hidden):
        x[place] += added[place]


@inner
def _embed_row(step: Table, row: Number) -> None:
    hidden, kind, groups = step[HIDDEN], step[EMBEDDING_KIND], step[EMBEDDING_GROUPS]
    token = int64s(step[TOKEN_IDS], step[ROWS])[row]
    out = floats(step[RESIDUAL] + row * hidden * 4, hidden)
    if kind == KIND_FLOAT32:
        wide = floats(step[EMBEDDING] + token * hidden * 4, hidden)
        for place in range(hidden):
            out[place] = wide[place]
        return
    if kind == KIND_BFLOAT16:
        halves = uint16s(step[EMBEDDING] + token * hidden * 2, hidden)
        for place in range(hidden):
            out[place] = bfloat16_value(halves[place])
        return
    block, channel = token // 16, token % 16
    group_bytes = 64 * kind
    for place in range(hidden):
        group, within = place // 32, place % 32
        scale = half_at(step[EMBEDDING_SCALES] + ((block * groups + group) * 16 + channel) * 2)
        start = step[EMBEDDING] + (block * groups + group) * group_bytes + channel * 4
        if kind == KIND_INT8:
            quant = np.int32(int8s(start + within // 4 * 64 + within % 4, 1)[0])
        else:
            low = within % 16
            byte = np.int32(int8s(start + low // 4 * 64 + low % 4, 1)[0])
            quant = ((byte >> (4 if within >= 16 else 0)) & 15) - 8
        out[place] = np.float32(quant) * scale


@inner
def _meet(step: Table, met: Number, threads: Number) -> Number:
    if threads > 1:
        meet(step[COUNTER], (met + 1) * threads)
    return met + 1


@inner
def _prepare(
    step: Table, layer: Number, phase: Number, met: Number, thread: Number, threads: Number
) -> Number:
    """What comes before the products of a phase; how often the threads have met."""
    rows, kind = step[ROWS], phase % 4
    first, end = _part(rows, thread, threads), _part(rows, thread + 1, threads)
    if kind in (_GATES, _QUERIES):
        for row in range(first, end):
            if phase == 0:
                _embed_row(step, row)
            else:
                _add_row(step, row)
            weight = step[LAST_NORM]
            if phase < 4 * step[LAYERS]:
                weight = int64s(layer, LAYER_FIELDS)[
                    FIRST_NORM if kind == _QUERIES else SECOND_NORM
                ]
            _norm_row(step, row, weight)
    elif kind == _OUTPUT:
        _place_heads(step, layer, thread, threads)
        met = _meet(step, met, threads)
        _attend(step, layer, thread, threads)
        met = _meet(step, met, threads)
        for row in range(first, end):
            _join_row(step, row)
    else:
        _gate(step, layer, thread, threads)
    return met


@kernel
def decode(table: Number, layers: Number, head: Number, thread: Number, threads: Number) -> None:
    """This thread's part of a step.

    Args:
        table: address of the step's fields.
        layers: of the layers' fields, one layer after the other.
        head: of the output head's matrix.
        thread: number of this thread, from 0.
        threads: that call this at once.
    """
    step = int64s(table, STEP_FIELDS)
    met = np.int64(0)
    # One loop over all phases, so that the products are compiled in one place only.
    for phase in range(4 * step[LAYERS] + 1):
        layer = layers + phase // 4 * LAYER_FIELDS * 8
        kind = phase % 4
        met = _prepare(step, layer, phase, met, thread, threads)
        met = _meet(step, met, threads)
        first, end = QUERY, OUTPUT
        if kind == _OUTPUT:
            first, end = OUTPUT, GATE
        elif kind == _GATES:
            first, end = GATE, DOWN
        elif kind == _DOWN:
            first, end = DOWN, HEAD
        matrices = layer + MATRICES * 8
        if phase == 4 * step[LAYERS]:
            matrices, first, end = head, 0, 1
        for number in range(first, end):
            matrix = int64s(matrices + number * MATRIX_FIELDS * 8, MATRIX_FIELDS)
            _multiply(step, matrix, thread, threads)
        met = _meet(step, met, threads)
