"""The pretrain stage: token shards to a model."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.errors import RecipeError
from tongwen.flow.stage import StageContext
from tongwen.model.folder import read_config
from tongwen.stages import find_model_folder
from tongwen.train.data.sources import ShardData
from tongwen.train.forecast import PLANNED_FORECASTS
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.settings import PretrainJob
from tongwen.train.weights import (
    FolderWeights,
    InitialWeights,
    WeightSource,
    check_tokenizer,
    config_to_start_from,
)


def files(job: PretrainJob) -> list[Path]:
    """The files of the model to start from."""
    if job.pretrain.base is None:
        return []
    folder = find_model_folder(Path(job.pretrain.base))
    read_config(folder)
    return sorted(path for path in folder.iterdir() if path.is_file())


def run(context: StageContext[PretrainJob]) -> Mapping[str, float]:
    """Train a new model or another's weights, or go on where the last call of this was stopped.

    Raises:
        RecipeError: sequences are longer than the model's positions.
        InputError: no shards, another tokenizer made them, or the base model cannot be read.
    """
    settings = context.settings.pretrain
    shards = ShardData.open(context.inputs["shards"], context.inputs["tokenizer"])
    config = config_to_start_from(context.settings.model, settings, shards.vocabulary_size)
    weights: WeightSource = InitialWeights(config, settings)
    if settings.base is not None:
        folder = find_model_folder(Path(settings.base))
        weights = FolderWeights(folder, config)
        check_tokenizer(
            folder, config, pieces=shards.vocabulary_size, digest=shards.tokenizer_digest
        )
    window = config.max_position_embeddings
    if settings.sequence_tokens > window:
        raise RecipeError(
            f"pretrain.sequence_tokens is {settings.sequence_tokens:,}, but "
            f"model.max_position_embeddings is {window:,}",
            hint=f"--set model.max_position_embeddings={settings.sequence_tokens}"
            if settings.base is None
            else f"--set pretrain.sequence_tokens={window}, or use `tongwen extend`",
        )
    return train(
        Job(
            name="pretrain",
            settings=settings,
            weights=weights,
            data=shards.training_sequences(settings),
            validation=shards.validation_sets(settings),
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
            code=context.code,
            forecast=context.run_dir / PLANNED_FORECASTS,
        )
    )
