"""Loops over float32 numbers, eight at a time, in an order that no CPU changes."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tongwen.model.quantized.memory import F32, I8, I16, I32, I64, constant, typed_intrinsic

KIND_INT8, KIND_BFLOAT16, KIND_FLOAT32 = 8, 16, 32
"""Kinds of numbers in memory, by their bits."""

_LANES = 8


class _Lanes:
    """Writes loops over numbers, eight at a time, in a fixed order: no CPU adds in another."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.floats = ir.VectorType(F32, _LANES)

    def load(self, kind: int, base: Any, place: Any) -> Any:
        """Eight numbers of a kind from an address and the place of the first, as float32."""
        builder = self.builder
        item = {KIND_FLOAT32: F32, KIND_BFLOAT16: I16, KIND_INT8: I8}[kind]
        item_bytes = {KIND_FLOAT32: 4, KIND_BFLOAT16: 2, KIND_INT8: 1}[kind]
        vector = ir.VectorType(item, _LANES)
        address = builder.add(base, builder.mul(place, constant(item_bytes)))
        loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
        loaded.align = item_bytes
        if kind == KIND_FLOAT32:
            return loaded
        integers = ir.VectorType(I32, _LANES)
        if kind == KIND_INT8:
            return builder.sitofp(builder.sext(loaded, integers), self.floats)
        shift = ir.Constant(integers, [16] * _LANES)
        return builder.bitcast(builder.shl(builder.zext(loaded, integers), shift), self.floats)

    def store(self, base: Any, place: Any, value: Any) -> None:
        address = self.builder.add(base, self.builder.mul(place, constant(4)))
        stored = self.builder.store(value, self.builder.inttoptr(address, self.floats.as_pointer()))
        stored.align = 4

    def zeros(self) -> Any:
        return ir.Constant(self.floats, [0.0] * _LANES)

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(self.floats, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, _LANES), [0] * _LANES)
        return self.builder.shuffle_vector(single, undefined, places)

    def total(self, vector: Any) -> Any:
        """The sum of eight numbers, as a tree."""
        builder = self.builder
        for width in (4, 2, 1):
            places = ir.Constant(
                ir.VectorType(I32, _LANES), [(lane + width) % _LANES for lane in range(_LANES)]
            )
            other = builder.shuffle_vector(vector, ir.Constant(self.floats, ir.Undefined), places)
            vector = builder.fadd(vector, other)
        return builder.extract_element(vector, ir.Constant(I32, 0))

    def loop(self, count: Any, step: int, carried: list[Any], body: Callable[..., Any]) -> Any:
        """`carried = body(place, carried)` for place 0, step, ... below count, at least once."""
        builder = self.builder
        before = builder.block
        block = builder.append_basic_block("lanes")
        end = builder.append_basic_block("lanes_end")
        builder.branch(block)
        builder.position_at_end(block)
        place = builder.phi(I64)
        values = [builder.phi(value.type) for value in carried]
        results = body(place, values)
        following = builder.add(place, constant(step))
        place.add_incoming(constant(0), before)
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
        switch.add_case(constant(number), block)
        builder.position_at_end(block)
        write(number)
        builder.branch(done)
    builder.position_at_end(done)


@typed_intrinsic
def dot(typing: Any, kind: Any, a: Any, b: Any, count: Any) -> Any:
    """The product of `count` float32 numbers at `a` and numbers of a kind at `b`.

    `count` is a multiple of 8.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, a, b, count = arguments
        lanes = _Lanes(builder)
        result = builder.alloca(F32)

        def write(number: int) -> None:
            def body(place: Any, carried: list[Any]) -> list[Any]:
                first, second = lanes.load(KIND_FLOAT32, a, place), lanes.load(number, b, place)
                return [builder.fadd(carried[0], builder.fmul(first, second))]

            sums = lanes.loop(count, _LANES, [lanes.zeros()], body)
            builder.store(lanes.total(sums[0]), result)

        _for_each_kind(builder, kind, write)
        return builder.load(result)

    return types.float32(*[types.int64] * 4), code


@typed_intrinsic
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
                    here = builder.add(place, builder.mul(stride, constant(row)))
                    product = builder.fmul(value, lanes.load(number, weights, here))
                    results.append(builder.fadd(total, product))
                return results

            sums = lanes.loop(count, _LANES, [lanes.zeros()] * 4, body)
            for row, total in enumerate(sums):
                address = builder.add(out, constant(4 * row))
                stored = builder.store(
                    lanes.total(total), builder.inttoptr(address, F32.as_pointer())
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
                    address = builder.add(shares, builder.mul(place, constant(4)))
                    share = builder.load(builder.inttoptr(address, F32.as_pointer()))
                    share.align = 4
                    factor, start = lanes.splat(share), builder.mul(place, stride)
                    results = []
                    for vector, total in enumerate(carried):
                        here = builder.add(start, constant(vector * _LANES))
                        product = builder.fmul(factor, lanes.load(number, rows, here))
                        results.append(builder.fadd(total, product))
                    return results

                sums = lanes.loop(count, 1, [lanes.zeros()] * vectors, body)
                for vector, total in enumerate(sums):
                    lanes.store(out, constant(vector * _LANES), total)

            _for_each_kind(builder, kind, write)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), code

    return weighted_sum


weighted_sum_8: Any = intrinsic(_weighted_sum(1))
"""The sum of rows of eight numbers, each times its float32 share.

`kind, shares, rows, stride, count, out`: `stride` from row to row in numbers, `count` rows.
"""
weighted_sum_32: Any = intrinsic(_weighted_sum(4))
