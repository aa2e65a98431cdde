"""The pretrain stage: token shards to a model."""

from collections.abc import Mapping

from tongwen.errors import RecipeError
from tongwen.flow.stage import StageContext
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.train.loop import Job, train
from tongwen.train.sources import ShardData


def run(context: StageContext) -> Mapping[str, float]:
    """Train a new model, or go on where the last call of this was stopped.

    Raises:
        RecipeError: sequences are longer than the model's positions.
        InputError: no shards, or another tokenizer made them.
    """
    settings = context.recipe.pretrain
    assert settings is not None
    shape = context.recipe.model
    if settings.sequence_tokens > shape.max_position_embeddings:
        raise RecipeError(
            f"pretrain.sequence_tokens is {settings.sequence_tokens:,}, but "
            f"model.max_position_embeddings is {shape.max_position_embeddings:,}",
            hint=f"--set model.max_position_embeddings={settings.sequence_tokens}",
        )
    shards = ShardData.open(context.inputs["shards"], context.inputs["tokenizer"])
    model = Llama(ModelConfig.from_settings(shape, shards.vocabulary_size))
    model.initialize(settings.seed)
    return train(
        Job(
            name="pretrain",
            settings=settings,
            model=model,
            data=shards.training_sequences(settings),
            validation=shards.validation_sets(settings),
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
        )
    )
