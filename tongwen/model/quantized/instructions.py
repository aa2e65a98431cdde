"""Products of quantized weights and activations in the CPU's own instructions, as LLVM code.

numba compiles Python loops, but not to the instructions that multiply 8-bit integers. The code here
calls them by name, so that one core reads weights as fast as memory gives them.

A block is 16 output channels. All paths compute the same integers, and then the same float32
operations in the same order (no fused multiply-add), so their results are equal bit for bit:

    sum over groups g:  float(sum of weight * x in g) * (scale[channel, g] * x_scale[row, g])
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

GENERIC, AVX2, AVX_VNNI, AVX512_VNNI = range(4)
"""Paths: any CPU; x86 with `pmaddubsw`; with `vpdpbusd` in 256 or in 512 bits."""

GROUP = 32
"""Inputs that share a scale."""

BLOCK = 16
"""Output channels that are computed together."""

KIND_INT8, KIND_BFLOAT16, KIND_FLOAT32 = 8, 16, 32
"""Kinds of numbers in memory, by their bits."""

_INT4_OFFSET = 8  # int4 is stored plus 8, as in Q4_0
_LANES = 8  # float32 of an AVX register; other CPUs take two halves
# Some microseconds, less than a thread takes to wake; then others may have the core.
_SPINS = 20_000
_CHUNK_BYTES = 64  # four bytes of each of the 16 channels
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_F16, _F32 = ir.HalfType(), ir.FloatType()


def cpu_features() -> dict[str, bool]:
    """What numba may use: the CPU's features, unless numba is told to compile for another one."""
    config: Any = numba.config
    if config.CPU_NAME or config.CPU_FEATURES is not None:
        named = (config.CPU_FEATURES or "").split(",")
        return {name[1:]: True for name in named if name.startswith("+")}
    return dict(llvmlite.binding.get_host_cpu_features())


def available_paths(features: dict[str, bool]) -> list[int]:
    """The paths a CPU with these features has, the fastest first; none if it is too old.

    Without F16C an x86 CPU cannot read the scales.
    """

    def has(*names: str) -> bool:
        return all(features.get(name, False) for name in names)

    is_x86 = has("sse2") or not llvmlite.binding.get_process_triple().startswith(
        ("aarch64", "arm64")
    )
    if is_x86 and not has("f16c"):
        return []
    paths = []
    if has("avx512vnni", "avx512bw", "avx512vl"):
        paths.append(AVX512_VNNI)
    if has("avxvnni") or has("avx512vnni", "avx512vl"):
        paths.append(AVX_VNNI)
    if has("avx2"):
        paths.append(AVX2)
    return [*paths, GENERIC]


class _Block:
    """Writes the code that multiplies one block of weights by some rows of activations."""

    def __init__(self, builder: Any, path: int, bits: int, rows: int, arguments: Any) -> None:
        self.builder = builder
        self.path = path
        self.bits = bits
        self.rows = rows
        self.lanes = 16 if path == AVX512_VNNI else 8
        self.parts = BLOCK // self.lanes
        (
            self.weights,
            self.scales,
            self.x,
            self.x_scales,
            self.x_sums,
            self.out,
            self.groups,
            self.out_stride,
        ) = arguments
        self.integers = ir.VectorType(_I32, self.lanes)
        self.halves = ir.VectorType(_I16, 2 * self.lanes)
        self.bytes = ir.VectorType(_I8, 4 * self.lanes)
        self.floats = ir.VectorType(_F32, self.lanes)

    def write(self) -> None:
        """A loop over the groups; the results of each row and part are carried through it."""
        builder = self.builder
        before = builder.block
        loop = builder.append_basic_block("groups")
        end = builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        group = builder.phi(_I64)
        places = [(row, part) for row in range(self.rows) for part in range(self.parts)]
        carried = {place: builder.phi(self.floats) for place in places}
        sums = self._group_sums(group)
        results = {}
        for row, part in places:
            product = builder.fmul(
                builder.sitofp(sums[row, part], self.floats), self._scale(group, row, part)
            )
            results[row, part] = builder.fadd(carried[row, part], product)
        following = builder.add(group, _number(1))
        group.add_incoming(_number(0), before)
        group.add_incoming(following, loop)
        for place in places:
            carried[place].add_incoming(ir.Constant(self.floats, [0.0] * self.lanes), before)
            carried[place].add_incoming(results[place], loop)
        builder.cbranch(builder.icmp_unsigned("<", following, self.groups), loop, end)
        builder.position_at_end(end)
        for row, part in places:
            offset = builder.mul(_number(row), self.out_stride)
            offset = builder.add(offset, _number(part * self.lanes))
            address = self._address(self.out, offset, 4)
            store = builder.store(
                results[row, part], builder.inttoptr(address, self.floats.as_pointer())
            )
            store.align = 4

    def _group_sums(self, group: Any) -> dict[tuple[int, int], Any]:
        """The integer products of one group, summed for each row and channel."""
        builder = self.builder
        chunks = 4 if self.bits == 4 else 8
        totals: dict[tuple[int, int], Any] = {}
        narrow: dict[tuple[int, int], Any] = {}
        base = builder.mul(group, _number(chunks * _CHUNK_BYTES))
        for chunk in range(chunks):
            inputs = [self._inputs(group, row, chunk) for row in range(self.rows)]
            for part in range(self.parts):
                place = _number(chunk * _CHUNK_BYTES + part * 4 * self.lanes)
                weights = self._load(self.weights, builder.add(base, place), self.bytes)
                for row in range(self.rows):
                    here = (row, part)
                    if self.bits == 8:
                        totals[here] = self._add_int8(totals.get(here), weights, inputs[row][0])
                        continue
                    for nibbles, x in zip(self._nibbles(weights), inputs[row], strict=True):
                        if self.path in (AVX_VNNI, AVX512_VNNI):
                            totals[here] = self._dot4(totals.get(here), nibbles, x)
                        else:  # eight pairs of at most 2 * 15 * 127 fit into 16 bits
                            pairs = self._pairs(nibbles, x)
                            earlier = narrow.get(here)
                            narrow[here] = pairs if earlier is None else builder.add(earlier, pairs)
        for here, pairs in narrow.items():
            totals[here] = self._widen(pairs)
        return {here: self._without_offset(total, group, here[0]) for here, total in totals.items()}

    def _inputs(self, group: Any, row: int, chunk: int) -> tuple[Any, ...]:
        """The four activations that a chunk's weights meet, for all lanes; for int4 both fours."""
        builder = self.builder
        start = builder.add(builder.mul(_number(row), self.groups), group)
        start = builder.mul(start, _number(GROUP))
        places = (4 * chunk, 16 + 4 * chunk) if self.bits == 4 else (4 * chunk,)
        found = []
        for place in places:
            word = self._load(self.x, builder.add(start, _number(place)), _I32)
            found.append(builder.bitcast(self._splat(word, self.integers), self.bytes))
        return tuple(found)

    def _nibbles(self, weights: Any) -> tuple[Any, Any]:
        builder = self.builder
        mask = ir.Constant(self.bytes, [15] * self.bytes.count)
        shifted = builder.lshr(
            builder.bitcast(weights, self.halves), ir.Constant(self.halves, [4] * self.halves.count)
        )
        return builder.and_(weights, mask), builder.and_(builder.bitcast(shifted, self.bytes), mask)

    def _add_int8(self, total: Any, weights: Any, x: Any) -> Any:
        """Add the products of signed weights in -127..127 and activations in -127..127."""
        builder = self.builder
        if self.path in (AVX_VNNI, AVX512_VNNI):
            unsigned = builder.xor(weights, ir.Constant(self.bytes, [-128] * self.bytes.count))
            return self._dot4(total, unsigned, x)
        zero = ir.Constant(self.bytes, [0] * self.bytes.count)
        # One factor must be unsigned: |w| and x with the sign of w. No pair exceeds 2 * 127 * 127.
        is_negative = builder.icmp_signed("<", weights, zero)
        size = builder.select(is_negative, builder.sub(zero, weights), weights)
        if self.path == AVX2:
            signed = self._call("llvm.x86.avx2.psign.b", self.bytes, [x, weights])
        else:
            signed = builder.select(is_negative, builder.sub(zero, x), x)
        wide = self._widen(self._pairs(size, signed))
        return wide if total is None else builder.add(total, wide)

    def _dot4(self, total: Any, unsigned: Any, x: Any) -> Any:
        if total is None:
            total = ir.Constant(self.integers, [0] * self.lanes)
        name = f"llvm.x86.avx512.vpdpbusd.{32 * self.lanes}"
        arguments = [self.builder.bitcast(value, self.integers) for value in (unsigned, x)]
        return self._call(name, self.integers, [total, *arguments])

    def _pairs(self, unsigned: Any, x: Any) -> Any:
        """Products of neighbours, added in pairs, as 16 bits."""
        if self.path == AVX2:
            return self._call("llvm.x86.avx2.pmadd.ub.sw", self.halves, [unsigned, x])
        builder = self.builder
        wide = ir.VectorType(_I16, self.bytes.count)
        products = builder.mul(builder.zext(unsigned, wide), builder.sext(x, wide))
        return self._add_neighbours(products)

    def _widen(self, pairs: Any) -> Any:
        """Neighbouring pairs, added, as 32 bits."""
        if self.path == AVX2:
            ones = ir.Constant(self.halves, [1] * self.halves.count)
            return self._call("llvm.x86.avx2.pmadd.wd", self.integers, [pairs, ones])
        wide = ir.VectorType(_I32, self.halves.count)
        return self._add_neighbours(self.builder.sext(pairs, wide))

    def _add_neighbours(self, vector: Any) -> Any:
        builder, count = self.builder, vector.type.count
        halves = []
        for first in (0, 1):
            places = ir.Constant(ir.VectorType(_I32, count // 2), list(range(first, count, 2)))
            undefined = ir.Constant(vector.type, ir.Undefined)
            halves.append(builder.shuffle_vector(vector, undefined, places))
        return builder.add(*halves)

    def _without_offset(self, total: Any, group: Any, row: int) -> Any:
        """Weights were taken as unsigned numbers: subtract the offset times the sum of x."""
        if self.bits == 4:
            offset = _INT4_OFFSET
        elif self.path in (AVX_VNNI, AVX512_VNNI):
            offset = 128
        else:
            return total
        builder = self.builder
        place = builder.add(builder.mul(_number(row), self.groups), group)
        x_sum = self._load(self.x_sums, builder.mul(place, _number(4)), _I32)
        scaled = builder.mul(x_sum, ir.Constant(_I32, offset))
        return builder.sub(total, self._splat(scaled, self.integers))

    def _scale(self, group: Any, row: int, part: int) -> Any:
        builder = self.builder
        place = builder.mul(group, _number(2 * BLOCK))
        place = builder.add(place, _number(2 * part * self.lanes))
        halves = self._load(self.scales, place, ir.VectorType(_F16, self.lanes), align=2)
        row_place = builder.add(builder.mul(_number(row), self.groups), group)
        x_scale = self._load(self.x_scales, builder.mul(row_place, _number(4)), _F32)
        return builder.fmul(builder.fpext(halves, self.floats), self._splat(x_scale, self.floats))

    def _address(self, base: Any, offset: Any, item_bytes: int = 1) -> Any:
        return self.builder.add(base, self.builder.mul(offset, _number(item_bytes)))

    def _load(self, base: Any, offset: Any, kind: Any, align: int = 1) -> Any:
        address = self.builder.add(base, offset)
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = align
        return loaded

    def _splat(self, value: Any, kind: Any) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        places = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(single, undefined, places)

    def _call(self, name: str, result: Any, arguments: list[Any]) -> Any:
        module = self.builder.module
        function = module.globals.get(name)
        if function is None:
            kind = ir.FunctionType(result, [argument.type for argument in arguments])
            function = ir.Function(module, kind, name)
        return self.builder.call(function, arguments)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


def _write_all(builder: Any, rows: int, path: Any, bits: Any, arguments: Any) -> None:
    """Code for every path this CPU has and both widths; the numbers choose when it runs."""
    done = builder.append_basic_block("done")
    choices = [(p, b) for p in available_paths(cpu_features()) or [GENERIC] for b in (4, 8)]
    chosen = builder.add(builder.mul(path, _number(16)), bits)
    default = builder.append_basic_block("unknown")
    switch = builder.switch(chosen, default)
    for this_path, this_bits in choices:
        block = builder.append_basic_block(f"path{this_path}_int{this_bits}")
        switch.add_case(_number(this_path * 16 + this_bits), block)
        builder.position_at_end(block)
        _Block(builder, this_path, this_bits, rows, arguments).write()
        builder.branch(done)
    builder.position_at_end(default)
    builder.branch(done)
    builder.position_at_end(done)


def _multiply_block(rows: int) -> Callable[..., Any]:
    def multiply_block(
        typing: Any, path: Any, bits: Any, weights: Any, scales: Any, x: Any, x_scales: Any,
        x_sums: Any, out: Any, groups: Any, out_stride: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _write_all(builder, rows, arguments[0], arguments[1], arguments[2:])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), code

    return multiply_block


multiply_block_1: Any = intrinsic(_multiply_block(1))
"""Multiply one block of weights by one row; all arguments are int64, of memory the addresses.

`path, bits, weights, scales, x, x_scales, x_sums, out, groups, out_stride`: weights and scales of
the block, quantized activations of the rows with their scales and sums, and where the first row's
16 results go; the next row's go `out_stride` numbers behind them.
"""
multiply_block_2: Any = intrinsic(_multiply_block(2))
multiply_block_4: Any = intrinsic(_multiply_block(4))


def _array_of(dtype: Any) -> Callable[..., Any]:
    kind = types.Array(dtype, 1, "C")

    def view(typing: Any, address: Any, count: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address, count = arguments
            array = context.make_array(kind)(context, builder)
            item = context.get_data_type(dtype)
            item_bytes = context.get_abi_sizeof(item)
            data = builder.inttoptr(address, item.as_pointer())
            populate: Any = arrayobj.populate_array
            populate(
                array,
                data=data,
                shape=[count],
                strides=[_number(item_bytes)],
                itemsize=item_bytes,
                meminfo=None,
            )
            return array._getvalue()

        return kind(types.int64, types.int64), code

    return view


floats: Any = intrinsic(_array_of(types.float32))
"""An array of `count` float32 numbers at an address: `floats(address, count)`."""
int8s: Any = intrinsic(_array_of(types.int8))
int32s: Any = intrinsic(_array_of(types.int32))
int64s: Any = intrinsic(_array_of(types.int64))
uint16s: Any = intrinsic(_array_of(types.uint16))


def _intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's decorator, whose type takes the typing context for an argument of callers."""
    return intrinsic(function)


class _Lanes:
    """Writes loops over numbers, eight at a time, in a fixed order: no CPU adds in another."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.floats = ir.VectorType(_F32, _LANES)

    def load(self, kind: int, base: Any, place: Any) -> Any:
        """Eight numbers of a kind from an address and the place of the first, as float32."""
        builder = self.builder
        item = {KIND_FLOAT32: _F32, KIND_BFLOAT16: _I16, KIND_INT8: _I8}[kind]
        item_bytes = {KIND_FLOAT32: 4, KIND_BFLOAT16: 2, KIND_INT8: 1}[kind]
        vector = ir.VectorType(item, _LANES)
        address = builder.add(base, builder.mul(place, _number(item_bytes)))
        loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
        loaded.align = item_bytes
        if kind == KIND_FLOAT32:
            return loaded
        integers = ir.VectorType(_I32, _LANES)
        if kind == KIND_INT8:
            return builder.sitofp(builder.sext(loaded, integers), self.floats)
        shift = ir.Constant(integers, [16] * _LANES)
        return builder.bitcast(builder.shl(builder.zext(loaded, integers), shift), self.floats)

    def store(self, base: Any, place: Any, value: Any) -> None:
        address = self.builder.add(base, self.builder.mul(place, _number(4)))
        stored = self.builder.store(value, self.builder.inttoptr(address, self.floats.as_pointer()))
        stored.align = 4

    def zeros(self) -> Any:
        return ir.Constant(self.floats, [0.0] * _LANES)

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(self.floats, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        places = ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES)
        return self.builder.shuffle_vector(single, undefined, places)

    def total(self, vector: Any) -> Any:
        """The sum of eight numbers, as a tree."""
        builder = self.builder
        for width in (4, 2, 1):
            places = ir.Constant(
                ir.VectorType(_I32, _LANES), [(lane + width) % _LANES for lane in range(_LANES)]
            )
            other = builder.shuffle_vector(vector, ir.Constant(self.floats, ir.Undefined), places)
            vector = builder.fadd(vector, other)
        return builder.extract_element(vector, ir.Constant(_I32, 0))

    def loop(self, count: Any, step: int, carried: list[Any], body: Callable[..., Any]) -> Any:
        """`carried = body(place, carried)` for place 0, step, ... below count, at least once."""
        builder = self.builder
        before = builder.block
        block = builder.append_basic_block("lanes")
        end = builder.append_basic_block("lanes_end")
        builder.branch(block)
        builder.position_at_end(block)
        place = builder.phi(_I64)
        values = [builder.phi(value.type) for value in carried]
        results = body(place, values)
        following = builder.add(place, _number(step))
        place.add_incoming(_number(0), before)
        place.add_incoming(following, builder.block)
        for value, first, result in zip(values, carried, results, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(result, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), block, end)
        builder.position_at_end(end)
        return results


def _for_each_kind(builder: Any, kind: Any, write: Callable[[int], None]) -> None:
    """Code for each kind of number; `kind` chooses when it runs."""
    done = builder.append_basic_block("done")
    switch = builder.switch(kind, done)
    for number in (KIND_FLOAT32, KIND_BFLOAT16, KIND_INT8):
        block = builder.append_basic_block(f"kind{number}")
        switch.add_case(_number(number), block)
        builder.position_at_end(block)
        write(number)
        builder.branch(done)
    builder.position_at_end(done)


@_intrinsic
def dot(typing: Any, kind: Any, a: Any, b: Any, count: Any) -> Any:
    """The product of `count` float32 numbers at `a` and numbers of a kind at `b`.

    `count` is a multiple of 8.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, a, b, count = arguments
        lanes = _Lanes(builder)
        result = builder.alloca(_F32)

        def write(number: int) -> None:
            def body(place: Any, carried: list[Any]) -> list[Any]:
                first, second = lanes.load(KIND_FLOAT32, a, place), lanes.load(number, b, place)
                return [builder.fadd(carried[0], builder.fmul(first, second))]

            sums = lanes.loop(count, _LANES, [lanes.zeros()], body)
            builder.store(lanes.total(sums[0]), result)

        _for_each_kind(builder, kind, write)
        return builder.load(result)

    return types.float32(*[types.int64] * 4), code


@_intrinsic
def dot_rows(
    typing: Any, kind: Any, x: Any, weights: Any, stride: Any, count: Any, out: Any
) -> Any:
    """Products of the float32 numbers at `x` with four rows of weights, to four places at `out`.

    `count` is a multiple of 8, `stride` from row to row in numbers.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, x, weights, stride, count, out = arguments
        lanes = _Lanes(builder)

        def write(number: int) -> None:
            def body(place: Any, carried: list[Any]) -> list[Any]:
                value = lanes.load(KIND_FLOAT32, x, place)
                results = []
                for row, total in enumerate(carried):
                    here = builder.add(place, builder.mul(stride, _number(row)))
                    product = builder.fmul(value, lanes.load(number, weights, here))
                    results.append(builder.fadd(total, product))
                return results

            sums = lanes.loop(count, _LANES, [lanes.zeros()] * 4, body)
            for row, total in enumerate(sums):
                address = builder.add(out, _number(4 * row))
                stored = builder.store(
                    lanes.total(total), builder.inttoptr(address, _F32.as_pointer())
                )
                stored.align = 4

        _for_each_kind(builder, kind, write)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), code


def _weighted_sum(vectors: int) -> Callable[..., Any]:
    def weighted_sum(
        typing: Any, kind: Any, shares: Any, rows: Any, stride: Any, count: Any, out: Any
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind, shares, rows, stride, count, out = arguments
            lanes = _Lanes(builder)

            def write(number: int) -> None:
                def body(place: Any, carried: list[Any]) -> list[Any]:
                    address = builder.add(shares, builder.mul(place, _number(4)))
                    share = builder.load(builder.inttoptr(address, _F32.as_pointer()))
                    share.align = 4
                    factor, start = lanes.splat(share), builder.mul(place, stride)
                    results = []
                    for vector, total in enumerate(carried):
                        here = builder.add(start, _number(vector * _LANES))
                        product = builder.fmul(factor, lanes.load(number, rows, here))
                        results.append(builder.fadd(total, product))
                    return results

                sums = lanes.loop(count, 1, [lanes.zeros()] * vectors, body)
                for vector, total in enumerate(sums):
                    lanes.store(out, _number(vector * _LANES), total)

            _for_each_kind(builder, kind, write)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), code

    return weighted_sum


weighted_sum_8: Any = intrinsic(_weighted_sum(1))
"""The sum of rows of eight numbers, each times its float32 share.

`kind, shares, rows, stride, count, out`: `stride` from row to row in numbers, `count` rows.
"""
weighted_sum_32: Any = intrinsic(_weighted_sum(4))


@_intrinsic
def power_of_two(typing: Any, exponent: Any) -> Any:
    """2 to an int32 in -126..127, float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        biased = builder.add(arguments[0], ir.Constant(_I32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_I32, 23)), _F32)

    return types.float32(types.int32), code


@_intrinsic
def bfloat16_bits(typing: Any, value: Any) -> Any:
    """A float32 number rounded to bfloat16, half to even, as uint16. Not for NaN."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _I32)
        sixteen = ir.Constant(_I32, 16)
        odd = builder.and_(builder.lshr(bits, sixteen), ir.Constant(_I32, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(_I32, 0x7FFF)))
        return builder.trunc(builder.lshr(rounded, sixteen), _I16)

    return types.uint16(types.float32), code


@_intrinsic
def bfloat16_value(typing: Any, bits: Any) -> Any:
    """The float32 number that the uint16 bits of a bfloat16 number stand for."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], _I32)
        return builder.bitcast(builder.shl(wide, ir.Constant(_I32, 16)), _F32)

    return types.float32(types.uint16), code


@_intrinsic
def half_at(typing: Any, address: Any) -> Any:
    """The float16 number at an address, as float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(builder.inttoptr(arguments[0], _F16.as_pointer()))
        loaded.align = 2
        return builder.fpext(loaded, _F32)

    return types.float32(types.int64), code


@_intrinsic
def meet(typing: Any, counter: Any, expected: Any) -> Any:
    """Wait for all threads: add one to the int64 at `counter`, go on when it is `expected`.

    Spins for some microseconds and then lets other threads run, so that a machine with fewer free
    cores than threads goes on, too.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, expected = arguments
        pointer = builder.inttoptr(address, _I64.as_pointer())
        builder.atomic_rmw("add", pointer, _number(1), "seq_cst")
        module = builder.module
        kind = ir.FunctionType(_I32, [])
        give_way = module.globals.get("sched_yield") or ir.Function(module, kind, "sched_yield")
        before = builder.block
        look, wait, yields, end = (
            builder.append_basic_block(name) for name in ("look", "wait", "yields", "met")
        )
        builder.branch(look)
        builder.position_at_end(look)
        tries = builder.phi(_I64)
        seen = builder.load_atomic(pointer, "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", seen, expected), end, wait)
        builder.position_at_end(wait)
        following = builder.add(tries, _number(1))
        many = builder.icmp_signed(">", following, _number(_SPINS))
        builder.cbranch(many, yields, look)
        builder.position_at_end(yields)
        builder.call(give_way, [])
        builder.branch(look)
        tries.add_incoming(_number(0), before)
        tries.add_incoming(following, wait)
        tries.add_incoming(following, yields)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code
