"""The tune stage: a base model and dialogues to a chat model."""

from collections.abc import Mapping
from pathlib import Path

from tongwen.errors import RecipeError
from tongwen.flow.stage import StageContext
from tongwen.model.folder import read_config
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.weights import FolderWeights, WeightSource, check_tokenizer
from tongwen.tune.dialogues import read_dialogues
from tongwen.tune.settings import TuneSettings


def files(settings: TuneSettings) -> list[Path]:
    """The user's own dialogue files."""
    paths = [*settings.dialogues, *(pair.path for pair in settings.pairs)]
    return [Path(path) for path in paths if not path.startswith("{")]


def run(context: StageContext[TuneSettings]) -> Mapping[str, float]:
    """Tune on all dialogues; several epochs when `max_tokens` asks for them.

    Raises:
        RecipeError: no dialogues are named, or sequences are longer than the model's window.
        InputError: no model, or a dialogue file is missing or malformed.
    """
    settings = context.settings
    if not settings.dialogues and not settings.pairs:
        raise RecipeError(
            "neither tune.dialogues nor tune.pairs names a file",
            hint="tune.dialogues = ['my-dialogues.jsonl']",
        )
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    data = read_dialogues(
        [context.resolve(path) for path in settings.dialogues],
        tokenizer,
        settings.sequence_tokens,
        pairs=[(context.resolve(pair.path), pair) for pair in settings.pairs],
    )
    if data.too_long:
        context.progress.say(
            f"  {data.too_long:,} of {data.too_long + data.dialogues:,} dialogues are longer "
            f"than {settings.sequence_tokens:,} tokens and left out"
        )
    weights = _base_weights(context.inputs["model"], settings, tokenizer)
    sequences = PackedSequences(
        data.documents,
        settings.sequence_tokens,
        seed=settings.seed,
        separate_documents=settings.separate_documents,
    )
    counts = train(
        Job(
            name="tune",
            settings=settings,
            weights=weights,
            data=sequences,
            validation={},
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
            code=context.code,
        )
    )
    return {
        "dialogues": data.dialogues,
        "dialogues_too_long": data.too_long,
        "answer_tokens": data.answer_tokens,
        **counts,
    }


def _base_weights(folder: Path, settings: TuneSettings, tokenizer: Tokenizer) -> WeightSource:
    folder = find_model_folder(folder)
    config = read_config(folder)
    if settings.sequence_tokens > config.max_position_embeddings:
        raise RecipeError(
            f"tune.sequence_tokens is {settings.sequence_tokens:,}, but the model has "
            f"{config.max_position_embeddings:,} positions",
            hint=f"--set tune.sequence_tokens={config.max_position_embeddings}",
        )
    check_tokenizer(
        folder,
        config,
        pieces=tokenizer.vocabulary_size,
        digest=tokenizer.digest,
        data="dialogues",
    )
    return FolderWeights(folder, config)
