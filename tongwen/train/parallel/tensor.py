"""Tensor and sequence parallelism: processes share each matrix, and the tokens between matrices.

Shoeybi et al. 2019, arXiv:1909.08053; the tokens, Korthikanti et al. 2022, arXiv:2205.05198. With
n processes and T tokens, in each block:

    x (T/n) -> norm (T/n) -> gather (T) -> q, k, v or gate, up: 1/n of W's rows -> heads/n
            -> o or down: 1/n of W's columns -> a part of the sum (T) -> sum and scatter (T/n)

Embedding and output head are cut along the vocabulary; the loss reduces over it (`loss.py`).
Weights become DTensors, so that checkpoints know how they are cut; the arithmetic sees the local
part only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.model.llama import DecoderLayer, Llama, RMSNorm, rms_normalize
from tongwen.train.loss.softmax import VocabularyShare
from tongwen.train.parallel.collectives import gather, sum_and_scatter

_TOKENS = 1
"""Dimension of (B, T, M) that is cut between the matrices."""


def check_tensor_degree(config: ModelConfig, degree: int) -> None:
    """Refuse a degree that cannot cut this model evenly.

    Raises:
        RecipeError: with the first size that it does not divide.
    """
    sizes = {
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "intermediate_size": config.intermediate_size,
        "vocabulary_size": config.vocabulary_size,
    }
    for name, size in sizes.items():
        if size % degree:
            divisors = [n for n in range(1, degree) if all(s % n == 0 for s in sizes.values())]
            raise RecipeError(
                f"parallel.tensor is {degree}, which does not divide the model's {name}, {size:,}",
                hint=f"--set parallel.tensor={divisors[-1]} in the stage's section",
            )


def share_matrices(model: Llama, mesh: DeviceMesh) -> None:
    """Cut the weights over the one-dimensional `mesh`, in place; they may be on the meta device."""
    group = mesh.get_group()
    if isinstance(model.model.embed_tokens, nn.Embedding):
        _share_embedding(model.model.embed_tokens, mesh)
    for layer in model.model.layers:
        if isinstance(layer, DecoderLayer):
            _share_layer(layer, mesh)
    if isinstance(model.model.norm, RMSNorm):
        _share_norm(model.model.norm, mesh)
        model.model.norm.register_forward_hook(
            lambda _module, _inputs, x_BTM: gather(x_BTM, group, _TOKENS)
        )
        if model.config.tie_word_embeddings:
            model.lm_head.weight = model.model.embed_tokens.weight
        else:
            _cut(model.lm_head, mesh, Shard(0))


def vocabulary_share(model: Llama, mesh: DeviceMesh) -> VocabularyShare | None:
    """Which pieces of the vocabulary this process's part of the output head scores."""
    if mesh.size() == 1:
        return None
    rows = model.config.vocabulary_size // mesh.size()
    return VocabularyShare(mesh.get_group(), mesh.get_local_rank() * rows)


def local(weight: Tensor) -> Tensor:
    """This process's part of a weight; the weight itself when it is whole."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def _share_layer(layer: DecoderLayer, mesh: DeviceMesh) -> None:
    group = mesh.get_group()
    attention, feed_forward = layer.self_attn, layer.mlp
    for linear in (attention.q_proj, attention.k_proj, attention.v_proj):
        _share_linear(linear, mesh, Shard(0))
    _share_linear(attention.o_proj, mesh, Shard(1))
    for linear in (feed_forward.gate_proj, feed_forward.up_proj):
        _share_linear(linear, mesh, Shard(0))
    _share_linear(feed_forward.down_proj, mesh, Shard(1))
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    if attention.has_qk_norm:
        norms += [attention.q_norm, attention.k_norm]
    for norm in norms:
        _share_norm(norm, mesh)
    for block in (attention, feed_forward):
        block.register_forward_pre_hook(
            lambda _module, inputs: (gather(inputs[0], group, _TOKENS), *inputs[1:])
        )
        block.register_forward_hook(
            lambda _module, _inputs, x_BTM: sum_and_scatter(x_BTM, group, _TOKENS)
        )


def _share_linear(linear: nn.Linear, mesh: DeviceMesh, placement: Placement) -> None:
    _cut(linear, mesh, placement)

    def forward(module: Any, x: Tensor) -> Tensor:
        return F.linear(x, local(module.weight).to(x.dtype))

    _replace_forward(linear, forward)


def _share_norm(norm: RMSNorm, mesh: DeviceMesh) -> None:
    """Every process has the whole weight; each adds the gradient of its own tokens or heads."""
    _cut(norm, mesh, Replicate())

    def forward(module: Any, x: Tensor) -> Tensor:
        weight = module.weight.to_local(grad_placements=[Partial()])
        return rms_normalize(x, weight, module.epsilon)

    _replace_forward(norm, forward)


def _share_embedding(embedding: nn.Embedding, mesh: DeviceMesh) -> None:
    """Each process looks up the pieces it holds; the sum over all is the embedding."""
    _cut(embedding, mesh, Shard(0))
    group, place = mesh.get_group(), mesh.get_local_rank()

    def forward(module: Any, token_ids_BT: Tensor) -> Tensor:
        weight_VM = local(module.weight)
        here_BT = token_ids_BT - place * weight_VM.shape[0]
        is_elsewhere_BT = (here_BT < 0) | (here_BT >= weight_VM.shape[0])
        x_BTM = F.embedding(here_BT.masked_fill(is_elsewhere_BT, 0), weight_VM)
        x_BTM = x_BTM.masked_fill(is_elsewhere_BT[..., None], 0.0)
        return sum_and_scatter(x_BTM, group, _TOKENS)

    _replace_forward(embedding, forward)


def _cut(module: nn.Module, mesh: DeviceMesh, placement: Placement) -> None:
    """Replace the module's weight by this process's part of it, as a DTensor."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    part = weight
    if isinstance(placement, Shard):
        part = weight.chunk(mesh.size(), dim=placement.dim)[mesh.get_local_rank()]
    shared = DTensor.from_local(part.detach().clone(), mesh, [placement], run_check=False)
    module.weight = nn.Parameter(shared, requires_grad=weight.requires_grad)


def _replace_forward(module: nn.Module, forward: Callable[..., Tensor]) -> None:
    module.forward = partial(forward, module)
