"""Projections and embeddings with int4 or int8 weights that do not change.

Activations are rounded to int8, one scale for each group of 32. Then every path computes the same
sums, bit for bit, for one row as for many.

Shape suffixes in this file: R rows, N inputs, O outputs, G groups of inputs, n inputs of a group.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from tongwen.model.quantized import grid, paths
from tongwen.model.quantized.grid import GROUP, Bits

_ALIGNMENT_BYTES = 64  # a cache line


class QuantizedLinear(nn.Module):
    """`x @ weight.T + bias`, the weight rounded to a grid of 4 or 8 bits.

    On a CPU x is rounded to int8 as well. Where x needs a gradient, or on a GPU, the weight is
    turned back into numbers first; gradients reach x and never the weight.

    Args:
        bytes_OGJ, scale_OG: the weight as `grid.to_bytes` and `grid.choose_scales` make them.
        inputs: of the projection; 32 G less the inputs that fill up the last group.
        bias: as the model has it, or None.
    """

    packed: Tensor
    packed_scale: Tensor
    bias: Tensor | None

    def __init__(
        self, bytes_OGJ: Tensor, scale_OG: Tensor, inputs: int, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.out_features = len(bytes_OGJ)
        self.in_features = inputs
        self.bits: Bits = 8 if bytes_OGJ.dtype == torch.int8 else 4
        packed = _aligned(grid.interleave(bytes_OGJ))
        packed_scale = _aligned(grid.interleave_scales(scale_OG.half()))
        # Model folders hold them in another order, see `stored`.
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("packed_scale", packed_scale, persistent=False)
        self.register_buffer("bias", bias)
        self.rounds_activations = True
        """Whether x is rounded where it needs no gradient; not where a model is trained, so that
        it computes the same with gradients and without."""

    @classmethod
    def of(cls, linear: nn.Linear, bits: Bits) -> "QuantizedLinear":
        """A plain projection's weight, rounded to the nearest step."""
        groups_OGn = grid.group_inputs(linear.weight.detach())
        scale_OG = grid.choose_scales(groups_OGn, bits)
        steps = grid.to_grid(groups_OGn, scale_OG, bits)
        bias = None if linear.bias is None else linear.bias.detach()
        return cls(grid.to_bytes(steps, bits), scale_OG, linear.in_features, bias)

    def stored(self) -> tuple[Tensor, Tensor]:
        """Weight bytes (O, G, J) and scales (O, G), as in a model folder."""
        rows = grid.separate(self.packed, self.out_features)
        return rows, grid.separate_scales(self.packed_scale, self.out_features)

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight as numbers, (O, N)."""
        bytes_OGJ, scale_OG = self.stored()
        weight = grid.from_bytes(bytes_OGJ).float() * scale_OG.float()[..., None]
        return weight.flatten(1)[:, : self.in_features].to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu" or not self.rounds_activations:
            out: Tensor = _FrozenProduct.apply(x, self)  # type: ignore[no-untyped-call]
        else:
            x_RN = x.reshape(-1, x.shape[-1]).float()
            out = self._product(x_RN).to(x.dtype).reshape(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def _product(self, x_RN: Tensor) -> Tensor:
        """With rounded activations, float32, (R, O)."""
        path = paths.chosen()
        if not len(x_RN):
            return x_RN.new_empty(0, self.out_features)
        if path == paths.TORCH:
            return self._torch_product(x_RN)
        from tongwen.model.quantized import kernels

        x_RN = F.pad(x_RN, (0, -self.in_features % GROUP)).contiguous()
        rows, groups = len(x_RN), x_RN.shape[1] // GROUP
        rounded = torch.empty(x_RN.shape, dtype=torch.int8)
        scales = torch.empty(rows, groups)
        sums = torch.empty(rows, groups, dtype=torch.int32)
        blocks = len(self.packed)
        width = blocks * grid.BLOCK
        out_RO = torch.empty(rows, width)
        activations = (rounded.data_ptr(), scales.data_ptr(), sums.data_ptr())
        weights = (self.packed.data_ptr(), self.packed_scale.data_ptr())
        number = paths.NAMES.index(path)
        source, target, bits = x_RN.data_ptr(), out_RO.data_ptr(), self.bits

        def quantize(thread: int, threads: int) -> None:
            first, end = paths.share(rows, thread, threads)
            kernels.quantize(source, *activations, groups, first, end)

        def multiply(thread: int, threads: int) -> None:
            first, end = paths.share(blocks, thread, threads)
            shape = (rows, groups, width, first, end)
            kernels.multiply(number, bits, *weights, *activations, target, *shape)

        paths.run_on_team(paths.threads_for(x_RN.numel()), quantize)
        paths.run_on_team(paths.threads_for(rows * self.packed.numel()), multiply)
        return out_RO[:, : self.out_features]

    def _torch_product(self, x_RN: Tensor) -> Tensor:
        """The same with torch alone. Products of small integers are exact in float32."""
        rounded_RGn, scale_RG = round_activations(x_RN)
        bytes_OGJ, scale_OG = self.stored()
        steps = grid.from_bytes(bytes_OGJ).float()
        scale_GO = scale_OG.float().t().contiguous()
        sums_GRO = torch.bmm(rounded_RGn.transpose(0, 1), steps.permute(1, 2, 0))
        out_RO = torch.zeros(len(x_RN), self.out_features)
        for group, sums_RO in enumerate(sums_GRO):
            # Group by group, each product rounded before it is added: as the kernels do.
            out_RO += sums_RO * (scale_GO[group] * scale_RG[:, group, None])
        return out_RO


class _FrozenProduct(torch.autograd.Function):
    """A product with a weight that is turned into numbers when it is used, and has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linear: QuantizedLinear) -> Tensor:
        ctx.linear = linear
        return F.linear(x, linear.dequantize(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.linear.dequantize(gradient.dtype), None


class QuantizedEmbedding(nn.Module):
    """Rows of a quantized matrix, which may be the output head's as well.

    Args:
        matrix: one output for each token of the vocabulary.
        dtype: of the rows.
    """

    def __init__(self, matrix: QuantizedLinear, dtype: torch.dtype) -> None:
        super().__init__()
        self.matrix = matrix
        self.dtype = dtype

    def forward(self, ids: Tensor) -> Tensor:
        block, channel = ids // grid.BLOCK, ids % grid.BLOCK
        bytes_GJ = self.matrix.packed[block, :, :, channel].flatten(-2)
        scale_G = self.matrix.packed_scale[block, :, channel]
        rows = grid.from_bytes(bytes_GJ).float() * scale_G.float()[..., None]
        return rows.flatten(-2)[..., : self.matrix.in_features].to(self.dtype)


def round_activations(x_RN: Tensor) -> tuple[Tensor, Tensor]:
    """Activations on a grid of -127..127 in groups: steps as float32 (R, G, n), scales (R, G).

    Numbers are rounded half to even. Multiplied by 127 / size and not divided by the scale: each
    path must do it the same way.
    """
    x_RGn = F.pad(x_RN, (0, -x_RN.shape[1] % GROUP)).reshape(len(x_RN), -1, GROUP)
    size_RG = x_RGn.abs().amax(-1)
    inverse_RG = torch.where(size_RG == 0, torch.zeros_like(size_RG), 127 / size_RG)
    return (x_RGn * inverse_RG[..., None]).round_(), size_RG / 127


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor, at an address where no 64 bytes that are read together cross a cache line."""
    return tensor if tensor.data_ptr() % _ALIGNMENT_BYTES == 0 else tensor.clone()
