"""Code for CPUs with VNNI: what it means, shown on any CPU, and which instructions it becomes."""

import ctypes
import re
from typing import Any

import pytest
import torch

from tongwen.model.quantized import grid, paths
from tongwen.model.quantized.linear import QuantizedLinear, round_activations

llvm: Any = pytest.importorskip("llvmlite.binding")
ir: Any = pytest.importorskip("llvmlite.ir")
instructions: Any = pytest.importorskip("tongwen.model.quantized.instructions")

VNNI = {instructions.AVX_VNNI: 256, instructions.AVX512_VNNI: 512}
I32, I64 = ir.IntType(32), ir.IntType(64)


def block_code(path: int, bits: int, rows: int) -> str:
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 8), "block")
    builder = ir.IRBuilder(function.append_basic_block())
    instructions._Block(builder, path, bits, rows, function.args).write()
    builder.ret_void()
    return str(module)


def vpdpbusd(width: int) -> str:
    """The instruction after Intel's manual: to each int32 four products u8 * s8 are added."""
    kind = ir.VectorType(I32, width // 32)
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(kind, [kind] * 3), "by_hand")
    builder = ir.IRBuilder(function.append_basic_block())
    total, unsigned, signed = function.args
    for byte in range(4):
        low, high, all_ = (
            ir.Constant(kind, [number] * kind.count) for number in (8 * byte, 24 - 8 * byte, 255)
        )
        first = builder.and_(builder.lshr(unsigned, low), all_)
        second = builder.ashr(builder.shl(signed, high), ir.Constant(kind, [24] * kind.count))
        total = builder.add(total, builder.mul(first, second))
    builder.ret(total)
    return str(function)


@pytest.mark.parametrize("path", VNNI)
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 4])
def test_vnni_code_means_the_same_sums(path: int, bits: grid.Bits, rows: int) -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    if not instructions.available_paths(instructions.cpu_features()):
        pytest.skip("this CPU cannot read float16 scales")
    code = block_code(path, bits, rows)
    name = f"llvm.x86.avx512.vpdpbusd.{VNNI[path]}"
    code, count = re.subn(rf'declare [^\n]*@"{re.escape(name)}"[^\n]*\n', "", code)
    assert count == 1
    code = code.replace(f'@"{name}"', '@"by_hand"') + vpdpbusd(VNNI[path])
    module = llvm.parse_assembly(code)
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    block = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 8)(engine.get_function_address("block"))

    plain = torch.nn.Linear(96, 16, bias=False)
    linear = QuantizedLinear.of(plain, bits)
    x = torch.randn(rows, 96)
    steps_RGn, scales_RG = round_activations(x)
    rounded = steps_RGn.to(torch.int8).contiguous()
    sums = steps_RGn.sum(-1).to(torch.int32).contiguous()
    out = torch.zeros(rows, 16)
    tensors = (linear.packed, linear.packed_scale, rounded, scales_RG.contiguous(), sums, out)
    block(*(tensor.data_ptr() for tensor in tensors), 3, 16)
    with paths.forced(paths.TORCH):
        assert torch.equal(out, linear(x))


@pytest.mark.parametrize(("path", "register"), [(2, "ymm"), (3, "zmm")])
def test_it_becomes_one_instruction_for_four_products(path: int, register: str) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu="sapphirerapids", opt=2
    )
    assembly = machine.emit_assembly(llvm.parse_assembly(block_code(path, 4, 1)))
    found = re.findall(r"vpdpbusd[^\n]*", assembly)
    assert len(found) == 8 * (512 // VNNI[path])
    assert all(register in line for line in found)
