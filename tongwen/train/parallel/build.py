"""This process's part of a model, ready to train."""

import torch
from torch import nn

from tongwen.errors import DoesNotFitError
from tongwen.model.config import ModelConfig
from tongwen.model.device import Arithmetic, free_memory_bytes
from tongwen.model.llama import DecoderLayer, Llama
from tongwen.train.optim.build import is_inner_matrix
from tongwen.train.parallel.mesh import Processes
from tongwen.train.parallel.pipeline import keep_stage
from tongwen.train.parallel.recompute import recompute_activations
from tongwen.train.parallel.shard import share_weights
from tongwen.train.parallel.tensor import local, share_matrices
from tongwen.train.settings import TrainSettings


def build_model(
    config: ModelConfig, settings: TrainSettings, processes: Processes, arithmetic: Arithmetic
) -> Llama:
    """The layers and parts of matrices that this process trains; its weights are not set yet.

    In the order in which one kind of parallelism builds on another: stages, matrices, what is
    computed again, compilation, sharded weights.

    `check_layout` has accepted the degrees.

    Raises:
        DoesNotFitError: weights, gradients and optimizer do not fit into memory.
    """
    with torch.device("meta"):
        model = Llama(config)
    keep_stage(model, processes.size("pipeline"), processes.place("pipeline"))
    if processes.size("tensor") > 1:
        share_matrices(model, processes.weight_mesh["tensor"])
    recompute_activations(model, settings.recompute)
    if settings.compile == "yes" or (
        settings.compile == "auto" and arithmetic.device.type != "cpu"
    ):
        for layer in model.model.layers:
            if isinstance(layer, DecoderLayer):
                layer.compile()
    sharing = processes.data_size * processes.size("context")
    _check_memory(model, settings, sharing // processes.size("replicate"), arithmetic)
    if config.tie_word_embeddings:  # tied weights must be tied before they are shared
        _give_memory(model, arithmetic.device)
    if sharing > 1:
        share_weights(model, processes.weight_mesh["replicate", "shard"], arithmetic.dtype)
    if not config.tie_word_embeddings:
        _give_memory(model, arithmetic.device)
    return model.train()


def _give_memory(model: Llama, device: torch.device) -> None:
    model.to_empty(device=device)
    if model.config.tie_word_embeddings and isinstance(model.lm_head, nn.Linear):
        model.lm_head.weight = model.model.embed_tokens.weight


def _check_memory(
    model: Llama, settings: TrainSettings, shares: int, arithmetic: Arithmetic
) -> None:
    """Weights, gradients and optimizer state alone; activations are the planner's to predict."""
    needed = 0
    for name, parameter in model.named_parameters():
        has_one_moment = settings.optimizer == "muon" and is_inner_matrix(name, parameter)
        needed += local(parameter).numel() * (12 if has_one_moment else 16)
    needed //= shares
    free = free_memory_bytes(arithmetic.device)
    if needed > free:
        raise DoesNotFitError(
            f"weights, gradients and optimizer need {needed / 2**30:,.1f} GiB in each process, "
            f"{free / 2**30:,.1f} GiB are free",
            hint="choose a smaller model, or more processes: parallel.shard, parallel.tensor, "
            "parallel.pipeline",
        )
