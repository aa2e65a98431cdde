"""Numbers at addresses, for kernels: arrays, conversions, and a counter that threads meet at."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
_SPINS = 20_000


def constant(value: int) -> Any:
    """An int64 constant."""
    return ir.Constant(I64, value)


def typed_intrinsic(function: Callable[..., Any]) -> Any:
    """Numba's decorator, whose type takes the typing context for an argument of callers."""
    return intrinsic(function)


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
                strides=[constant(item_bytes)],
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


@typed_intrinsic
def power_of_two(typing: Any, exponent: Any) -> Any:
    """2 to an int32 in -126..127, float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        biased = builder.add(arguments[0], ir.Constant(I32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(I32, 23)), F32)

    return types.float32(types.int32), code


@typed_intrinsic
def bfloat16_bits(typing: Any, value: Any) -> Any:
    """A float32 number rounded to bfloat16, half to even, as uint16. Not for NaN."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], I32)
        sixteen = ir.Constant(I32, 16)
        odd = builder.and_(builder.lshr(bits, sixteen), ir.Constant(I32, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(I32, 0x7FFF)))
        return builder.trunc(builder.lshr(rounded, sixteen), I16)

    return types.uint16(types.float32), code


@typed_intrinsic
def bfloat16_value(typing: Any, bits: Any) -> Any:
    """The float32 number that the uint16 bits of a bfloat16 number stand for."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], I32)
        return builder.bitcast(builder.shl(wide, ir.Constant(I32, 16)), F32)

    return types.float32(types.uint16), code


@typed_intrinsic
def half_at(typing: Any, address: Any) -> Any:
    """The float16 number at an address, as float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(builder.inttoptr(arguments[0], F16.as_pointer()))
        loaded.align = 2
        return builder.fpext(loaded, F32)

    return types.float32(types.int64), code


@typed_intrinsic
def meet(typing: Any, counter: Any, expected: Any) -> Any:
    """Wait for all threads: add one to the int64 at `counter`, go on when it is `expected`.

    Spins for some microseconds and then lets other threads run, so that a machine with fewer free
    cores than threads goes on, too.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, expected = arguments
        pointer = builder.inttoptr(address, I64.as_pointer())
        builder.atomic_rmw("add", pointer, constant(1), "seq_cst")
        module = builder.module
        kind = ir.FunctionType(I32, [])
        give_way = module.globals.get("sched_yield") or ir.Function(module, kind, "sched_yield")
        before = builder.block
        look, wait, yields, end = (
            builder.append_basic_block(name) for name in ("look", "wait", "yields", "met")
        )
        builder.branch(look)
        builder.position_at_end(look)
        tries = builder.phi(I64)
        seen = builder.load_atomic(pointer, "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", seen, expected), end, wait)
        builder.position_at_end(wait)
        following = builder.add(tries, constant(1))
        many = builder.icmp_signed(">", following, constant(_SPINS))
        builder.cbranch(many, yields, look)
        builder.position_at_end(yields)
        builder.call(give_way, [])
        builder.branch(look)
        tries.add_incoming(constant(0), before)
        tries.add_incoming(following, wait)
        tries.add_incoming(following, yields)
        builder.position_at_end(end)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code
