"""The tune stage: a base model and dialogues, or preference pairs, to a chat model."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tongwen.errors import RecipeError
from tongwen.files import write_jsonl
from tongwen.flow.stage import StageContext
from tongwen.model.device import Arithmetic
from tongwen.progress import Progress
from tongwen.stages import find_model_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.adapters.build import Adapters, FrozenFolderWeights, base_of
from tongwen.train.data.sequences import PackedSequences, Samples
from tongwen.train.data.validation import ValidationSet
from tongwen.train.forecast import PLANNED_FORECASTS
from tongwen.train.job import Job
from tongwen.train.loop import train
from tongwen.train.metrics import read_metrics
from tongwen.train.objective import Objective
from tongwen.train.weights import WeightSource, check_tokenizer
from tongwen.tune.check import check_processes
from tongwen.tune.dialogues import FileCounts, read_dialogues
from tongwen.tune.documents.conversations import conversations
from tongwen.tune.documents.headings import heading_dialogues, heading_files
from tongwen.tune.plain_text import (
    PlainText,
    ReplayedSequences,
    plain_text_of_files,
    plain_text_of_shards,
)
from tongwen.tune.preferences.data import PreferenceSequences, PreferenceValidation, read_pairs
from tongwen.tune.preferences.objective import PreferenceObjective
from tongwen.tune.settings import TuneSettings

Context = StageContext[TuneSettings]


def files(settings: TuneSettings) -> list[Path]:
    """The user's own files: dialogues, plain text, and documents that dialogues are made of."""
    paths = [*settings.dialogues, *(pair.path for pair in settings.pairs), *settings.plain_text]
    own = [Path(path) for path in paths if not path.startswith("{")]
    return own + heading_files(settings.documents)


def run(context: Context) -> Mapping[str, float]:
    """Tune on all dialogues or pairs; several epochs when `epochs` or `max_tokens` asks for them.

    Raises:
        RecipeError: no dialogues are named, sequences are longer than the model's window, or what
            the settings ask for needs one process or plain text that is not there.
        InputError: no model, or a file is missing or malformed.
    """
    settings = context.settings
    if not settings.has_dialogues:
        raise RecipeError(
            "none of tune.dialogues, pairs, documents and conversations names anything to learn",
            hint="tune.dialogues = ['my-dialogues.jsonl']",
        )
    check_processes(settings)
    tokenizer = Tokenizer.load(context.inputs["tokenizer"])
    plain_text = _plain_text(context, tokenizer)
    read = _preferences if settings.dpo is not None else _dialogues
    data = read(context, tokenizer, plain_text)
    folder, weights = _base(context.inputs["model"], settings, tokenizer)
    settings = _with_epochs(settings, data.samples.sequences, context.progress)
    measured = plain_text.measured_sets(settings.sequence_tokens, settings.validation_tokens)
    adapters = None
    if settings.lora is not None:
        adapters = Adapters(folder, settings.lora, settings.base_weights, str(folder))
    counts = train(
        Job(
            name="tune",
            settings=settings,
            weights=weights,
            data=data.samples,
            validation=data.validation,
            tokenizer_folder=context.inputs["tokenizer"],
            out=context.out,
            progress=context.progress,
            code=context.code,
            forecast=context.run_dir / PLANNED_FORECASTS,
            adapters=adapters,
            objective=data.objective,
            plain_text=measured,
            patience=settings.early_stop if data.validation else None,
        )
    )
    return {
        **data.counts,
        **_measured(context.out, counts, context.progress),
        **counts,
        **data.left_out,
    }


@dataclass(frozen=True)
class _Data:
    """What is learnt, and how.

    Attributes:
        samples: to learn from.
        validation: held out.
        objective: of pairs; None for dialogues.
        counts: for the manifest, of what is learnt.
        left_out: likewise, of what is not.
    """

    samples: Samples
    validation: Mapping[str, ValidationSet]
    objective: Objective | None
    counts: Mapping[str, float]
    left_out: Mapping[str, float]


def _dialogues(context: Context, tokenizer: Tokenizer, plain_text: PlainText) -> _Data:
    settings = context.settings
    data = read_dialogues(
        [*map(context.resolve, settings.dialogues), *_made(settings, context.out / "dialogues")],
        tokenizer,
        settings.sequence_tokens,
        pairs=[(context.resolve(pair.path), pair) for pair in settings.pairs],
        keep_empty_answers=settings.keep_empty_answers,
        maximum_bad_rows=settings.maximum_bad_rows,
        held_out_share=settings.held_out_share,
        weights=settings.weights,
    )
    held_out = data.held_out.dialogues if data.held_out else 0
    _report(data.files, held_out, "dialogues", settings, context.progress)
    packed = _packed(data.documents, settings)
    samples: Samples = packed
    if settings.replay_share:
        assert plain_text.training is not None
        text = _packed(plain_text.training, settings)
        samples = ReplayedSequences(packed, text, settings.replay_share, settings.seed)
    validation = {}
    if data.held_out is not None:
        validation["answers"] = data.held_out.validation_set(
            settings.sequence_tokens, settings.validation_tokens
        )
    counts = {"dialogues": data.dialogues, "answer_tokens": data.answer_tokens}
    return _Data(samples, validation, None, counts, data.left_out())


def _preferences(context: Context, tokenizer: Tokenizer, plain_text: PlainText) -> _Data:
    del plain_text
    settings = context.settings
    assert settings.dpo is not None
    data = read_pairs(
        [context.resolve(path) for path in settings.dialogues],
        tokenizer,
        settings.sequence_tokens,
        maximum_bad_rows=settings.maximum_bad_rows,
        held_out_share=settings.held_out_share,
    )
    held_out = data.held_out.pairs if data.held_out else 0
    _report(data.files, held_out, "pairs", settings, context.progress)
    validation = {}
    if data.held_out is not None:
        validation["preferences"] = PreferenceValidation.of_pairs(
            data.held_out, settings.sequence_tokens, settings.validation_tokens
        )
    objective = PreferenceObjective(
        settings.dpo.beta,
        [pairs for pairs in (data.training, data.held_out) if pairs is not None],
        sequence_tokens=settings.sequence_tokens,
        sequences_at_once=settings.sequences_per_micro_batch,
        device=Arithmetic.for_training(settings.device, settings.precision).device,
        progress=context.progress,
    )
    samples = PreferenceSequences(data.training, settings.sequence_tokens, seed=settings.seed)
    return _Data(samples, validation, objective, {"pairs": data.training.pairs}, data.left_out())


def _packed(documents: Any, settings: TuneSettings) -> PackedSequences:
    return PackedSequences(
        documents,
        settings.sequence_tokens,
        seed=settings.seed,
        separate_documents=settings.separate_documents,
    )


def _plain_text(context: Context, tokenizer: Tokenizer) -> PlainText:
    settings = context.settings
    found = PlainText(None, {})
    if settings.plain_text:
        paths = [context.resolve(path) for path in settings.plain_text]
        found = plain_text_of_files(paths, tokenizer)
    elif "shards" in context.inputs:
        found = plain_text_of_shards(context.inputs["shards"], context.inputs["tokenizer"])
    if settings.replay_share and found.training is None:
        raise RecipeError(
            f"tune.replay_share is {settings.replay_share}, but there is no plain text to learn",
            hint="tune.plain_text = ['english.txt', 'chinese.txt']",
        )
    return found


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


def _report(
    files: tuple[FileCounts, ...],
    held_out: int,
    noun: str,
    settings: TuneSettings,
    progress: Progress,
) -> None:
    for file in files:
        progress.say(f"  {file.line()}")
    if any(file.too_long for file in files):
        progress.say(
            f"  too long is more than {settings.sequence_tokens:,} tokens, tune.sequence_tokens"
        )
    if held_out:
        what = "the loss on answers" if noun == "dialogues" else "how often the better one gains"
        progress.say(f"  {held_out:,} {noun} are held out to measure {what}")
    elif settings.early_stop is not None:
        progress.say(f"  too few {noun} to hold some out: tune.early_stop has no effect")


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


def _measured(out: Path, counts: Mapping[str, float], progress: Progress) -> dict[str, float]:
    """Of the weights that are written: loss on held-out data in nats, and bits per byte of plain
    text before and after; nothing without either.
    """
    rows = read_metrics(out / "metrics.jsonl")
    found: dict[str, float] = {}
    step = counts.get("best_step")
    for row in rows:
        if row.get("kind") == "validation" and step in (None, row["step"]):
            found["held_out_loss"] = round(row["loss"], 4)
            for key in ("preference_accuracy", "preference_margin"):
                if key in row:
                    found[key] = round(row[key], 4)
    shown = []
    text = [row for row in rows if row.get("kind") == "plain_text"]
    for language in dict.fromkeys(row["language"] for row in text):
        bits = [row["bits_per_byte"] for row in text if row["language"] == language]
        before, after = bits[0], bits[-1]
        found[f"{language}_bits_per_byte_before"] = round(before, 4)
        found[f"{language}_bits_per_byte_after"] = round(after, 4)
        shown.append(f"{language} {before:.3f} -> {after:.3f} ({after / before - 1:+.1%})")
    if shown:
        progress.say(f"  bits per byte of plain text before and after: {', '.join(shown)}")
    return found


def _base(folder: Path, settings: TuneSettings, tokenizer: Tokenizer) -> tuple[Path, WeightSource]:
    folder = find_model_folder(folder)
    weights = base_of(folder)
    config = weights.config
    if isinstance(weights, FrozenFolderWeights):
        if settings.lora is None:
            raise RecipeError(
                f"the weights in {folder} are quantized, so that they cannot be trained",
                hint="add [tune.lora] to train adapters on them, or give the folder with plain "
                "weights",
            )
        if settings.base_weights != "auto":
            raise RecipeError(
                f"tune.base_weights is {settings.base_weights!r}, but the weights in {folder} are "
                "quantized already",
                hint="--set tune.base_weights=auto",
            )
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
    return folder, weights
