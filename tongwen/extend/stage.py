"""The extend stage: a model continues on longer sequences with a larger RoPE base."""

from collections.abc import Mapping
from dataclasses import replace

from tongwen.errors import RecipeError
from tongwen.extend.settings import ExtendSettings
from tongwen.flow.stage import StageContext
from tongwen.model.folder import read_config
from tongwen.stages import find_model_folder
from tongwen.train.data.sources import ShardData
from tongwen.train.forecast import PLANNED_FORECASTS
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.weights import FolderWeights, check_tokenizer


def run(context: StageContext[ExtendSettings]) -> Mapping[str, float]:
    """Raise `rope_theta`, take `sequence_tokens` as the new window, and train on.

    Raises:
        RecipeError: the new window is not longer, or the RoPE base falls.
        InputError: no model, no shards, or another tokenizer made them.
    """
    settings = context.settings
    folder = find_model_folder(context.inputs["model"])
    config = read_config(folder)
    if settings.sequence_tokens <= config.max_position_embeddings:
        raise RecipeError(
            f"extend.sequence_tokens is {settings.sequence_tokens:,}, but the model has "
            f"{config.max_position_embeddings:,} positions already",
            hint=f"--set extend.sequence_tokens={2 * config.max_position_embeddings}",
        )
    if settings.rope_theta < config.rope_theta:
        raise RecipeError(
            f"extend.rope_theta is {settings.rope_theta:g}, below the model's "
            f"{config.rope_theta:g}",
            hint="a longer window needs a larger base",
        )
    if config.rope_scaling is not None:
        raise RecipeError(
            f"the model's RoPE is scaled by {config.rope_scaling.kind!r} with factor "
            f"{config.rope_scaling.factor:g}, and extend raises rope_theta of unscaled RoPE",
            hint="--set extend=false; its window is "
            f"{config.max_position_embeddings:,} tokens already",
        )
    shards = ShardData.open(context.inputs["shards"], context.inputs["tokenizer"])
    check_tokenizer(folder, config, pieces=shards.vocabulary_size, digest=shards.tokenizer_digest)
    longer = replace(
        config,
        rope_theta=settings.rope_theta,
        max_position_embeddings=settings.sequence_tokens,
    )
    return train(
        Job(
            name="extend",
            settings=settings,
            weights=FolderWeights(folder, longer),
            data=shards.training_sequences(settings),
            validation=shards.validation_sets(settings),
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
            code=context.code,
            forecast=context.run_dir / PLANNED_FORECASTS,
        )
    )
