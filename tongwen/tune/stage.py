"""The tune stage: a base model and dialogues to a chat model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tongwen.errors import RecipeError
from tongwen.files import write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.model.folder import read_config
from tongwen.progress import Progress
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.forecast import PLANNED_FORECASTS
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import read_metrics
from tongwen.train.weights import FolderWeights, WeightSource, check_tokenizer
from tongwen.tune.dialogues import DialogueData, read_dialogues
from tongwen.tune.documents.conversations import conversations
from tongwen.tune.documents.headings import heading_dialogues, heading_files
from tongwen.tune.settings import TuneSettings


def files(settings: TuneSettings) -> list[Path]:
    """The user's own dialogue files, and documents that dialogues are made of."""
    paths = [*settings.dialogues, *(pair.path for pair in settings.pairs)]
    own = [Path(path) for path in paths if not path.startswith("{")]
    return own + heading_files(settings.documents)


def run(context: StageContext[TuneSettings]) -> Mapping[str, float]:
    """Tune on all dialogues; several epochs when `epochs` or `max_tokens` asks for them.

    Raises:
        RecipeError: no dialogues are named, or sequences are longer than the model's window.
        InputError: no model, or a dialogue file is missing or malformed.
    """
    settings = context.settings
    if not settings.has_dialogues:
        raise RecipeError(
            "none of tune.dialogues, pairs, documents and conversations names anything to learn",
            hint="tune.dialogues = ['my-dialogues.jsonl']",
        )
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    data = read_dialogues(
        [*map(context.resolve, settings.dialogues), *_made(settings, context.out / "dialogues")],
        tokenizer,
        settings.sequence_tokens,
        pairs=[(context.resolve(pair.path), pair) for pair in settings.pairs],
        keep_empty_answers=settings.keep_empty_answers,
        maximum_bad_rows=settings.maximum_bad_rows,
        held_out_share=settings.held_out_share,
    )
    _report(data, settings, context.progress)
    weights = _base_weights(context.inputs["model"], settings, tokenizer)
    sequences = PackedSequences(
        data.documents,
        settings.sequence_tokens,
        seed=settings.seed,
        separate_documents=settings.separate_documents,
    )
    settings = _with_epochs(settings, sequences.sequences, context.progress)
    validation = {}
    if data.held_out is not None:
        validation["answers"] = data.held_out.validation_set(
            settings.sequence_tokens, settings.validation_tokens
        )
    counts = train(
        Job(
            name="tune",
            settings=settings,
            weights=weights,
            data=sequences,
            validation=validation,
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
            code=context.code,
            forecast=context.run_dir / PLANNED_FORECASTS,
        )
    )
    return {
        "dialogues": data.dialogues,
        "answer_tokens": data.answer_tokens,
        **_held_out_loss(context.out),
        **counts,
        **data.left_out(),
    }


def _made(settings: TuneSettings, folder: Path) -> list[Path]:
    """Files of the dialogues that are made here, for people to look at too."""
    made = []
    if settings.documents:
        made.append(folder / "headings.jsonl")
        write_jsonl(made[-1], heading_dialogues(heading_files(settings.documents)))
    if settings.conversations:
        made.append(folder / "conversations.jsonl")
        write_jsonl(made[-1], conversations())
    return made


def _report(data: DialogueData, settings: TuneSettings, progress: Progress) -> None:
    for file in data.files:
        progress.say(f"  {file.line()}")
    if data.too_long:
        progress.say(
            f"  too long is more than {settings.sequence_tokens:,} tokens, tune.sequence_tokens"
        )
    if data.held_out is not None:
        progress.say(
            f"  {data.held_out.dialogues:,} dialogues are held out to measure the loss on answers"
        )


def _with_epochs(settings: TuneSettings, sequences: int, progress: Progress) -> TuneSettings:
    """The settings with as many tokens as `epochs` passes over the sequences have, at most."""
    if settings.epochs is None:
        return settings
    wanted = max(1, round(settings.epochs * sequences)) * settings.sequence_tokens
    if wanted > settings.max_tokens:
        progress.say(
            f"  tune.epochs asks for {wanted:,} tokens; tune.max_tokens ends the run at "
            f"{settings.max_tokens:,}"
        )
        return settings
    if settings.batch_tokens > wanted:
        progress.say(
            f"  one batch of {settings.batch_tokens:,} tokens is more than the {wanted:,} tokens "
            "of all epochs; a smaller tune.batch_tokens gives more steps"
        )
    return replace(settings, max_tokens=wanted)


def _held_out_loss(out: Path) -> dict[str, float]:
    """The last loss on held-out answers, in nats a token; nothing without any."""
    rows = read_metrics(out / "metrics.jsonl")
    losses = [row["loss"] for row in rows if row.get("kind") == "validation"]
    return {"held_out_loss": round(losses[-1], 4)} if losses else {}


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
