"""The extend stage: a model continues on longer sequences, in one run or in several."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.extend.documents import stage_documents
from tongwen.extend.positions import extended_config
from tongwen.extend.settings import ExtendSettings
from tongwen.flow.stage import StageContext
from tongwen.model.folder import read_config
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.data.sources import ShardData
from tongwen.train.forecast import PLANNED_FORECASTS
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.weights import FolderWeights, check_tokenizer


def run(context: StageContext[ExtendSettings]) -> Mapping[str, float]:
    """Train on at each window of the settings, with positions that reach so far.

    The last run is in the stage's folder, those before it in `stages/0` and so on inside; each has
    checkpoints of its own, so that a stopped extension goes on where it was.

    Raises:
        RecipeError: a window is not longer than the one before, the RoPE base falls, or a mix has a
            language without text.
        InputError: no model, no shards, or another tokenizer made them.
    """
    settings = context.settings
    folder = find_model_folder(context.inputs["model"])
    config = read_config(folder)
    runs = settings.runs()
    planned = config
    for name, one in runs.items():  # before any of them begins
        planned = extended_config(planned, one, name)
    shards = ShardData.open(context.inputs["shards"], context.inputs["tokenizer"])
    check_tokenizer(folder, config, pieces=shards.vocabulary_size, digest=shards.tokenizer_digest)
    earlier: dict[str, float] = {}
    counts: dict[str, float] = {}
    for number, (name, one) in enumerate(runs.items()):
        is_last = number == len(runs) - 1
        out = context.out if is_last else context.out / "stages" / str(number)
        data, made = _training_data(context, shards, number, one, out)
        config = extended_config(config, one, name)
        counts = made | train(
            Job(
                name=name,
                settings=one,
                weights=FolderWeights(folder, config),
                data=data,
                validation=shards.validation_sets(one),
                tokenizer_folder=context.inputs["tokenizer"],
                out=out,
                progress=context.progress,
                code=context.code,
                forecast=context.run_dir / PLANNED_FORECASTS,
            )
        )
        if not is_last:
            folder = out / "model"
            earlier |= {f"stage_{number}_{key}": value for key, value in counts.items()}
    return earlier | counts


def _training_data(
    context: StageContext[ExtendSettings],
    shards: ShardData,
    number: int,
    settings: ExtendSettings,
    out: Path,
) -> tuple[PackedSequences, dict[str, float]]:
    """The sequences of one run, and what was found and made for them."""
    if not context.settings.stages:
        found = shards.training_sequences(settings, position_reach=settings.position_reach)
        return found, {}
    made = stage_documents(
        shards.training,
        Tokenizer.load(context.inputs["tokenizer"]),
        settings,
        context.settings.stages[number].mix,
        out / "documents",
        context.progress.say,
    )
    return made.sequences(settings), made.counts
