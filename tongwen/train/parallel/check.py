"""Whether a layout can carry a run: asked by the trainer when it starts and by the planner before.

Only numbers are needed, so a layout of thousands of processes is checked without one of them.
"""

from collections.abc import Mapping

from tongwen.errors import RecipeError
from tongwen.model.config import ModelConfig
from tongwen.train.parallel.context import check_context_degree
from tongwen.train.parallel.pipeline import check_pipeline_degree
from tongwen.train.parallel.tensor import check_tensor_degree
from tongwen.train.settings import TrainSettings


def check_layout(config: ModelConfig, settings: TrainSettings, processes: int) -> None:
    """See that the degrees of `settings.parallel` fit model, sequences, batch and processes.

    Raises:
        RecipeError: with the first that does not.
    """
    pipeline, replicate, shard, context, tensor = settings.parallel.degrees(processes)
    check_pipeline_degree(config, pipeline)
    check_tensor_degree(config, tensor)
    check_context_degree(settings, context, tensor)
    _check_architecture(config, {"tensor": tensor, "pipeline": pipeline})
    check_batch(settings, data_parts=replicate * shard, stages=pipeline)


def _check_architecture(config: ModelConfig, degrees: Mapping[str, int]) -> None:
    """Refuse what the parts of a model that is cut up do not compute.

    Raises:
        RecipeError: with the key.
    """
    is_scaled = (config.embedding_scale, config.output_scale) != (1, 1)
    for kind, key, is_there in (
        ("tensor", "biases of projections", config.biases_per_layer > 0),
        ("tensor", "scale_emb or dim_model_base", is_scaled),
        ("pipeline", "scale_emb or dim_model_base", is_scaled),
    ):
        if is_there and degrees[kind] > 1:
            raise RecipeError(
                f"parallel.{kind} is {degrees[kind]}, and the model has {key}, which only "
                "whole models compute",
                hint=f"--set parallel.{kind}=1 in the stage's section; parallel.shard fits it",
            )


def check_batch(settings: TrainSettings, *, data_parts: int, stages: int) -> None:
    """Every process takes whole micro-batches of every batch.

    Args:
        settings: of the run.
        data_parts: into how many parts the batch's sequences are cut.
        stages: of the pipeline.

    Raises:
        RecipeError: the smallest batch is not a multiple of what all take at once.
    """
    smallest = settings.initial_batch_tokens or settings.batch_tokens
    micro = settings.sequences_per_micro_batch * settings.sequence_tokens
    if smallest % (micro * data_parts):
        raise RecipeError(
            f"the batch is {smallest:,} tokens, not a multiple of what {data_parts} "
            f"processes take at once, {data_parts} x {micro:,} (micro_batch_tokens)",
            hint=_batch_hint(settings, data_parts),
        )
    micro_batches = smallest // (micro * data_parts)
    if micro_batches < stages:
        raise RecipeError(
            f"the batch of {smallest:,} tokens gives each pipeline {micro_batches} micro-batches, "
            f"fewer than its {stages} stages",
            hint=_batch_hint(settings, data_parts * stages),
        )


def _batch_hint(settings: TrainSettings, parts: int) -> str:
    """A batch of whole micro-batches for all; a smaller micro-batch only where there is one."""
    micro = settings.sequences_per_micro_batch * settings.sequence_tokens
    name = "initial_batch_tokens" if settings.initial_batch_tokens else "batch_tokens"
    now = settings.initial_batch_tokens or settings.batch_tokens
    larger = -(-now // (micro * parts)) * micro * parts
    raised = f"--set {name}={larger} in the stage's section"
    return f"lower micro_batch_tokens, or {raised}" if micro > settings.sequence_tokens else raised
